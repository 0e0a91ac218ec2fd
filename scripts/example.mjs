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

/** Examples that boot a whole kernel. */
const BOOT_LINUX = ["02-boot-linux", "05-boot-cirros", "06-disk-from-http"];

await main("example", async ([name, ...args]) => {
  const names = readdirSync(join(root, "examples"))
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.slice(0, -3));
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

  const script =
    demo === undefined ? join(root, "build/tools/examples", `${name}.js`) : join(root, "dist/bundle/main.js");
  if (!existsSync(script)) throw new Error(`${script} was not built`);
  const command = [process.execPath, script, ...(demo === undefined ? [] : ["demo", demo]), ...args];
  if (here) return run(command);
  console.error(`example: no ${bootsLinux ? "hardware " : ""}KVM here; running in the lab`);
  return run(inLab([], command));
});
