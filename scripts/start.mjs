/**
 * From a fresh clone to a shell in a Linux guest, on this terminal.
 *
 *   npm start [-- OPTION...]         OPTIONs are for `vmexit run`, after the guest's own
 *   npm start -- --smoke [OPTION...] the same without a terminal: logs in, runs a few
 *                                    commands, powers off; exit status 0 or 1
 *
 * The guest's disk is kept in the cache folder, and has at the next start what was written
 * to it. Without hardware KVM all this happens in the lab.
 */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { guestFolder, hostKvm, inLab, main, root, run, setUp } from "./setup.mjs";
import { smoke } from "./smoke.mjs";

const CPUS = 2;

/** Seconds that a guest may take to print what is expected next, on hardware KVM. */
const PATIENCE = 120;

/** flock's exit status when another process holds the lock; ours are all below. */
const LOCKED = 97;

/** lab/lab's exit status when the lab itself died, which an emulator now and then does. */
const LAB_DIED = 125;

/** The command that runs the guest on the disk in `folder`. */
function vmexitRun(guest, folder, lab, options) {
  const { cmdline, memoryMib } = JSON.parse(readFileSync(join(guest, "config.json"), "utf8"));
  const { rows, columns } = process.stdout;
  // A serial line cannot report the size of the terminal.
  const size = rows > 0 && columns > 0 ? ` vmexit.size=${rows}x${columns}` : "";
  const command = [
    process.execPath,
    join(root, "dist/bundle/main.js"),
    ...["run", "-name", "guest", "-m", `${memoryMib}`, "-smp", `${CPUS}`],
    ...["-kernel", join(guest, "vmlinuz"), "-initrd", join(guest, "initrd.img"), "-append", cmdline + size],
    // In the lab only /out outlives it, which is this folder.
    ...["-drive", `file=${join(lab ? "/out" : folder, "disk.img")},format=raw,if=virtio`],
    "-nographic",
    ...options,
  ];
  return lab ? inLab(["--share", folder, ...lab], command) : command;
}

/** The user's own disk: made once, then theirs. */
function persistentDisk(guest) {
  const folder = join(dirname(guest), "disk");
  const disk = join(folder, "disk.img");
  const origin = join(folder, "made-from");
  if (!existsSync(disk)) {
    mkdirSync(folder, { recursive: true });
    copyFileSync(join(guest, "root.img"), disk);
    writeFileSync(origin, basename(guest));
  } else if (!existsSync(origin) || readFileSync(origin, "utf8") !== basename(guest)) {
    console.error(`start: the disk was made from an earlier guest; to start with a new one, delete ${disk}`);
  }
  return folder;
}

async function interactive(guest, lab, options) {
  const folder = persistentDisk(guest);
  console.error("start: booting; Ctrl-A x ends the machine, Ctrl-A h says more");
  const lock = ["flock", "--nonblock", "--conflict-exit-code", `${LOCKED}`, join(folder, "lock")];
  const status = await run([...lock, ...vmexitRun(guest, folder, lab ? [] : false, options)]);
  if (status === LOCKED) throw new Error(`another guest is using the disk in ${folder}`);
  return status;
}

/** On a disk of its own, which is then read from outside. */
async function smokeTest(guest, lab, options, retries = 2) {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-smoke-"));
  try {
    const disk = join(folder, "disk.img");
    copyFileSync(join(guest, "root.img"), disk);
    const [command, ...args] = vmexitRun(
      guest,
      folder,
      lab ? ["--no-tty", "--timeout", "600"] : false,
      options,
    );
    // In the lab its own limit counts, which is longer on a busy machine.
    const written = await smoke(CPUS, command, args, lab ? Number.POSITIVE_INFINITY : PATIENCE);
    const found = spawnSync("debugfs", ["-R", "cat /root/smoke", disk], {
      encoding: "utf8",
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    }).stdout;
    if (found.trim() !== written)
      throw new Error(`the guest wrote "${written}"; its disk has "${found.trim()}"`);
    console.error("\nsmoke: passed: booted, logged in, ran commands, wrote to the disk, powered off");
    return 0;
  } catch (error) {
    console.error(`\nsmoke: failed: ${error.message}`);
    if (lab && error.status === LAB_DIED && retries > 0) {
      console.error("smoke: the lab died, not the guest; starting again");
      return smokeTest(guest, lab, options, retries - 1);
    }
    return 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main("start", async (args) => {
  const { opens, hardware } = hostKvm();
  const lab = !hardware;
  setUp(["guest", ...(lab ? ["lab"] : [])], "src");
  const guest = guestFolder();
  if (lab) {
    const why = opens ? "/dev/kvm has no vmx or svm behind it" : "/dev/kvm cannot be opened";
    console.error(`start: ${why}; running in the lab, an emulated machine with KVM (slower)`);
  }
  const options = args.filter((arg) => arg !== "--smoke");
  return options.length < args.length ? smokeTest(guest, lab, options) : interactive(guest, lab, options);
});
