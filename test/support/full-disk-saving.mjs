/**
 * Saves a machine on a small file system, which is full in the middle of it. Arguments: where that is
 * mounted; options of vm.snapshot as JSON. Sends what happened.
 */
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createVm, restoreVm } from "vmexit";

const [, , folder, given] = process.argv;
const options = JSON.parse(given);
const MIB = 2 ** 20;
const vm = await createVm({ memory: "16M", kernel: Uint8Array.of(0xeb, 0xfe), loadAddress: 0x1000 });
await vm.start();
const fill = (byte) => {
  for (let at = MIB; at < 4 * MIB; at += MIB) vm.memory.write(at, new Uint8Array(MIB).fill(byte));
};
const first = join(folder, "first");
const second = join(folder, options.diff ? "second" : "first");
/** The byte of one of these pages in a snapshot. Everything in it is compared with its checksums. */
const byteIn = async (dir) => {
  const copy = await restoreVm(dir, { verify: true });
  const [byte] = copy.memory.read(2 * MIB, 1);
  await copy.close();
  return byte;
};

fill(1);
await vm.snapshot({ ...options, dir: first });
fill(2);
const ballast = join(folder, "ballast");
writeFileSync(ballast, new Uint8Array(3 * MIB));
let code = "it was saved";
try {
  await vm.snapshot({ ...options, dir: second });
} catch (error) {
  code = error.code;
}
rmSync(ballast);
const left = readdirSync(folder);
const old = await byteIn(first);
const { state } = vm;
await vm.snapshot({ ...options, dir: second }); // now there is room
process.stdout.write(JSON.stringify({ code, left, old, state, now: await byteIn(second) }));
await vm.stop();
