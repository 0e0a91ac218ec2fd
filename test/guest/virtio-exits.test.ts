/** What a disk costs a Linux guest in exits to user space. */
import { writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { runScript, Scratch } from "../support/guest.ts";

const READS = 500;

/** One request at a time, each with an interrupt of its own. */
const READ = `
echo 0 >/sys/block/vda/queue/read_ahead_kb
count() { awk '/virtio0/ { print $2 }' /proc/interrupts; }
before=$(count)
dd if=/dev/vda of=/dev/null bs=4k count=${READS} 2>/dev/null
echo "interrupts $(($(count) - before))"`;

test("the requests of a disk and their interrupts cost no exits", async () => {
  using scratch = new Scratch();
  const file = scratch.path("disk.img");
  writeFileSync(file, Buffer.alloc(READS * 4096, 1));
  const { output, errors, stats } = await runScript(READ, { drives: [{ file }] });
  expect(errors).toEqual([]);
  const interrupts = Number(/^interrupts (\d+)$/m.exec(output)?.[1]);
  expect(interrupts).toBeGreaterThan(0.9 * READS);
  expect(stats.drives[0].requests).toBeGreaterThanOrEqual(READS);
  // Linux brought the device up by writing its registers; nothing else exited.
  expect(stats.devices["virtio-blk0"]).toBeGreaterThan(10);
  expect(stats.devices["virtio-blk0"]).toBeLessThan(60);
});
