/**
 * One virtio-blk request, seen in memory: before, during and after.
 *
 * The guest is a driver of a hundred lines; the device is the disk that other
 * machines of this library have, too. Between them is a virtqueue: three tables in
 * the guest's own memory. At three places the guest waits in an OUT to a device of
 * this demo, which prints the tables.
 *
 * Guest: virtqueue.s. Source: VIRTIO 1.2 (OASIS): 2.7 (split virtqueues), 4.2
 * (virtio over MMIO), 5.2 (block device).
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createVm, type VirtualMachine } from "vmexit";
import type { Out } from "./demos.ts";
import { Guest } from "./guest.ts";
import { heading, hex, table } from "./print.ts";

const SECTOR_BYTES = 512;
const LIMIT_MS = 20_000; // for a guest that gets no answer

/** The state at each of the guest's stops. */
const STOPS = [
  "Before: driver and device agree, the queue is empty",
  "During: the request is offered, the device is not notified",
  "After: the device has used the request",
];

const FLAGS = ["NEXT", "WRITE", "INDIRECT"]; // of a descriptor: bits 0, 1 and 2

export async function demo(out: Out): Promise<void> {
  const guest = new Guest("virtqueue");
  const folder = await mkdtemp(join(tmpdir(), "vmexit-virtqueue-"));
  try {
    const file = join(folder, "disk.img");
    await writeFile(file, disk(guest.symbol("SECTOR")));
    await run(out, guest, file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function run(out: Out, guest: Guest, file: string): Promise<void> {
  const exitsAt: number[] = [];
  const stop = (place: number) => {
    exitsAt[place] = vm.stats().exits.MMIO ?? 0;
    heading(out, STOPS[place - 1]);
    showQueue(out, guest, vm);
    out(`Register accesses that made KVM_RUN return so far: ${exitsAt[place]}.`);
  };
  await using vm = await createVm({
    memory: "1M",
    kernel: guest.bytes,
    loadAddress: guest.origin,
    drives: [{ file }],
    devices: [
      {
        name: "stop",
        port: guest.symbol("STOP_PORT"),
        length: 1,
        handlers: { write: (_offset, _size, place) => stop(place) },
      },
    ],
  });
  let printed = "";
  vm.serial.on("data", (text: Buffer) => {
    printed += text;
  });
  const said = new Promise((resolve) => vm.serial.once("end", resolve));

  out(
    `A driver of ${guest.bytes.length} bytes, tables included, reads sector ${guest.symbol("SECTOR")} of a disk.`,
  );
  const limit = setTimeout(() => void vm.stop(), LIMIT_MS);
  await vm.start();
  const { reason, message } = await vm.exited;
  clearTimeout(limit);
  if (reason !== "exit" || exitsAt[3] === undefined)
    throw new Error(message ?? "the guest did not get its sector");
  await said;
  out("");
  out(`The guest printed what it read: ${printed.trim()}`);

  const stats = vm.stats();
  const [drive] = stats.drives;
  heading(out, "The four layers");
  table(out, [
    ["front-end driver", "the guest", "knows disks: header, data, status"],
    [
      "virtio",
      "the guest and src/virtio/transport/mmio.ts",
      `agree by ${stats.devices["virtio-blk0"]} stores to registers: exits`,
    ],
    [
      "virtio-ring",
      "the guest and src/virtio/queue/split-queue.ts",
      "three tables in guest memory: no exits",
    ],
    [
      "back-end",
      "src/virtio/blk/blk.ts, src/images/raw-disk.ts",
      `${drive.requests} request, ${drive.bytesRead} bytes read from a file`,
    ],
  ]);
  out("");
  out(
    `The driver notified the device between the second and the third stop. MMIO exits between them: ${exitsAt[3] - exitsAt[2]}.`,
  );
  out("KVM signalled an ioeventfd for it, and the thread that serves the disk woke up.");
}

/** Prints the queue's three tables and the request's buffers, as they are in guest memory. */
function showQueue(out: Out, guest: Guest, vm: VirtualMachine): void {
  const address = (name: string) => guest.symbol(name);
  const at = (name: string, length: number) => {
    const bytes = vm.memory.read(address(name), length);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
  const size = address("QUEUE_SIZE");
  const entries = Array.from({ length: size }, (_, i) => i);

  const buffers = new Map(["header", "data", "status"].map((name) => [address(name), name]));
  const descriptors = at("descriptors", 16 * size);
  out(`descriptor table at ${hex(address("descriptors"))}`);
  const rows = entries.map((i) => {
    const buffer = Number(descriptors.getBigUint64(16 * i, true));
    const flags = descriptors.getUint16(16 * i + 12, true);
    const names = FLAGS.filter((_, bit) => flags & (1 << bit)).join("+") || "0";
    const next = flags & 1 ? String(descriptors.getUint16(16 * i + 14, true)) : "-";
    const length = descriptors.getUint32(16 * i + 8, true);
    return [String(i), hex(buffer), String(length), names, next, buffers.get(buffer) ?? "unused"];
  });
  table(out, [["#", "address", "length", "flags", "next", "buffer"], ...rows]);

  const available = at("available", 4 + 2 * size);
  const heads = entries.map((i) => available.getUint16(4 + 2 * i, true));
  const offered = available.getUint16(2, true);
  out(`available ring at ${hex(address("available"))}, written by the driver`);
  out(
    `  flags ${available.getUint16(0, true)}  idx ${offered}  ring [${heads.slice(0, offered).join(", ")}]`,
  );

  const used = at("used", 4 + 8 * size);
  const done = used.getUint16(2, true);
  const elements = entries.map(
    (i) => `{id ${used.getUint32(4 + 8 * i, true)}, len ${used.getUint32(8 + 8 * i, true)}}`,
  );
  out(`used ring at ${hex(address("used"))}, written by the device`);
  out(`  flags ${used.getUint16(0, true)}  idx ${done}  ring [${elements.slice(0, done).join(", ")}]`);

  const text = Buffer.from(at("data", SECTOR_BYTES).buffer).toString("latin1").replace(/\0.*$/s, "").trim();
  out(`status byte ${hex(at("status", 1).getUint8(0), 2)}, data ${JSON.stringify(text)}`);
}

/** An image of four sectors, with a text in one of them. */
function disk(sector: number): Buffer {
  const image = Buffer.alloc(4 * SECTOR_BYTES);
  image.write(`This was sector ${sector}; it came by a virtqueue.\n`, sector * SECTOR_BYTES);
  return image;
}
