/** Continues a machine that counts on COM1. Arguments: its snapshot, and the number that comes next. */
import { restoreVm } from "vmexit";

const [, , dir, first] = process.argv;
const vm = await restoreVm(dir);
let next = Number(first);
let wrong = 0;
let bytes = 0;
const enough = new Promise((resolve) => {
  vm.serial.on("data", (chunk) => {
    for (const byte of chunk) if (byte !== (next++ & 0xff)) wrong++;
    bytes += chunk.length;
    if (bytes > 1000) resolve(true);
  });
});
await vm.resume();
await enough;
await vm.stop();
process.send({ wrong, enough: true }, () => process.disconnect());
