/**
 * `vmexit img` that kills itself before its next-but-so-many write to a file:
 *
 *   node killed-img.mjs WRITES COMMAND [WORD]…
 *
 * With "count" for WRITES it lives, and says how many there were.
 */
import { imgCommand } from "../../dist/cli/img/img.js";
import { HostFile } from "../../dist/sys/file.js";

const [writes, ...argv] = process.argv.slice(2);
let done = 0;
for (const name of ["write", "writev", "discard", "writeZeroes", "truncate"]) {
  const original = HostFile.prototype[name];
  HostFile.prototype[name] = function (...args) {
    if (String(done++) === writes) process.kill(process.pid, "SIGKILL");
    return original.apply(this, args);
  };
}
process.exitCode = imgCommand(argv, process.stdout, process.stderr);
if (writes === "count") process.stdout.write(`${done}\n`);
