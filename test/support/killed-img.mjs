/**
 * `vmexit img` that kills itself after so many writes to files:
 *
 *   node killed-img.mjs WRITES COMMAND [WORD]…
 *
 * With "count" for WRITES it does not, and prints the number of writes.
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
