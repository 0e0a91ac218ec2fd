/**
 * A program whose guest changes a qcow2 image until the program is killed:
 *
 *   node changing-guest.mjs KERNEL IMAGE CACHE FIRST AHEAD
 *
 * KERNEL is blk-kernel.c. The program prints the guest's output: "flushed NUMBER" after
 * each flush. The guest is never more than AHEAD flushes ahead of that output.
 */
import { writeSync } from "node:fs";
import { createVm } from "vmexit";

const [kernel, file, cache, first, ahead] = process.argv.slice(2);
const vm = await createVm({ memory: "16M", kernel, drives: [{ file, format: "qcow2", cache }] });
vm.on("error", (error) => writeSync(2, `${error.message}\n`));

let rest = "";
vm.serial.on("data", (chunk) => {
  const lines = (rest + chunk).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    writeSync(1, `${line}\n`);
    vm.serial.write(line === "ready" ? `x ${Number(first).toString(16)}\n${".".repeat(ahead)}` : ".");
  }
});
await vm.start();
