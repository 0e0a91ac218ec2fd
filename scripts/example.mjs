/**
 * Builds and runs an example.
 *
 *   npm run example -- NAME [ARGUMENT...]      e.g. 01-hello, or demos/hello
 *
 * Tiny guests run on any KVM. An example that boots Linux runs in the lab where this
 * machine has no hardware KVM, and so do all examples where /dev/kvm cannot be opened.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { guestFolder, hostKvm, inLab, main, root, run, setUp } from "./setup.mjs";

/** What runs it: an example that is a test file is run by vitest. */
function commandOf(name, demo, args) {
  const test = `examples/${name}.test.ts`;
  if (demo === undefined && existsSync(join(root, test))) {
    const [folder] = args;
    if (folder !== undefined) process.env.VMEXIT_GUEST_DIR = folder;
    return [
      process.execPath,
      join(root, "node_modules/vitest/vitest.mjs"),
      "run",
      "--project",
      "example",
      test,
    ];
  }
  const script =
    demo === undefined ? join(root, "build/tools/examples", `${name}.js`) : join(root, "dist/bundle/main.js");
  if (!existsSync(script)) throw new Error(`${script} was not built`);
  return [process.execPath, script, ...(demo === undefined ? [] : ["demo", demo]), ...args];
}

/** Examples that boot a whole kernel. */
const BOOT_LINUX = [
  "02-boot-linux",
  "05-boot-cirros",
  "06-disk-from-http",
  "07-script-in-forks",
  "08-own-internet",
  "09-server-in-a-guest",
  "10-two-guests",
];

await main("example", async ([name, ...args]) => {
  const names = readdirSync(join(root, "examples"))
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.replace(/(\.test)?\.ts$/, ""));
  const demo = /^demos\/(.+)$/.exec(name ?? "")?.[1];
  if (demo === undefined && !names.includes(name)) {
    console.error(
      `usage: npm run example -- NAME [ARGUMENT...]\n\nNAME is one of: ${names.join(", ")}, demos/…`,
    );
    return 2;
  }
  const { opens, hardware } = hostKvm();
  const bootsLinux = BOOT_LINUX.includes(name);
  const here = bootsLinux ? hardware : opens;
  setUp([...(bootsLinux ? ["guest"] : []), ...(here ? [] : ["guest", "lab"])], ".");
  if (bootsLinux) process.env.VMEXIT_GUEST_DIR ??= guestFolder();

  const command = commandOf(name, demo, args);
  if (here) return run(command);
  console.error(`example: no ${bootsLinux ? "hardware " : ""}KVM here; running in the lab`);
  return run(inLab([], command));
});
