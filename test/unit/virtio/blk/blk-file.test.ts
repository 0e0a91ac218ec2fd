/** The whole way of a request: driver, transport, queue, device, image, a file of the host. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { GuestDisk } from "../../../../src/disk/guest-disk.ts";
import { Transfers } from "../../../../src/disk/transfers.ts";
import { RawDisk } from "../../../../src/images/raw-disk.ts";
import { AsyncIo } from "../../../../src/sys/async-io.ts";
import { GuestRam } from "../../../../src/sys/guest-ram.ts";
import { blkState, QUEUE_SIZE, VirtioBlk } from "../../../../src/virtio/blk/blk.ts";
import { blkIo } from "../../../support/blk-io.ts";
import { blank, MAPPING_BYTES, Plugged, RAM, TestMemory } from "../../../support/virtio-driver.ts";

const directory = mkdtempSync(join(tmpdir(), "vmexit-blk-"));
afterAll(() => rmSync(directory, { recursive: true }));

const DISK_BYTES = 1 << 20;
const HEADER = RAM + 0x4000;
const DATA = RAM + 0x10000;
const STATUS = RAM + 0x4f00;
let files = 0;

function rig() {
  const path = join(directory, `disk-${files++}.img`);
  writeFileSync(path, Buffer.alloc(DISK_BYTES, 0x33));
  const ram = GuestRam.create(MAPPING_BYTES);
  const memory = new TestMemory(ram);
  const io = AsyncIo.open("io_uring", ram, 64);
  const async = new Transfers(io, ram, memory, QUEUE_SIZE);
  const backend = new GuestDisk(RawDisk.open(path), io, async, { discards: true, detectZeroes: "off" });
  const disk = { size: backend.size, blockSize: backend.blockSize, readOnly: false, serial: "", queues: 1 };
  const reports: string[] = [];
  const ioSide = blkIo(backend, memory, { report: ({ message }) => void reports.push(message) });
  const device = new VirtioBlk({ ...disk, writeCache: true }, blkState(1, blank), ioSide);
  const plugged = new Plugged(device, memory);
  const queue = plugged.bringUp(16);
  const request = (type: number, sector: number, pages: readonly number[], writable: boolean) => {
    memory.at(HEADER).setUint32(0, type, true);
    memory.at(HEADER).setUint32(8, sector, true);
    queue.add([
      { address: HEADER, length: 16 },
      ...pages.map((page) => ({ address: DATA + 4096 * page, length: 4096, writable })),
      { address: STATUS, length: 1, writable: true },
    ]);
    plugged.runner.serve(0);
    plugged.runner.quiesce();
    return memory.at(STATUS).getUint8(0);
  };
  return { path, backend, memory, reports, request };
}

test("what the guest writes is in the file, page by page, and comes back", () => {
  const { path, memory, request } = rig();
  for (const page of [0, 1, 2]) memory.at(DATA + 4096 * page).setUint32(0, 0x1000 + page);
  expect(request(1, 8, [2, 0, 1], false)).toBe(0);
  expect(request(4, 0, [], false)).toBe(0);
  const content = readFileSync(path);
  expect([4096, 8192, 12288].map((offset) => content.readUInt32BE(offset))).toEqual([0x1002, 0x1000, 0x1001]);
  expect([content[4095], content[16384]]).toEqual([0x33, 0x33]);
  expect(request(0, 8, [5], true)).toBe(0);
  expect(memory.at(DATA + 4096 * 5).getUint32(0)).toBe(0x1002);
});

test("an image that fails on the host is an I/O error in the guest and a report to the user", () => {
  const { path, backend, reports, request } = rig();
  truncateSync(path, 4096);
  expect(request(0, 0, [0], true)).toBe(0);
  expect(request(0, 8, [0], true)).toBe(1);
  expect(reports).toEqual([
    "reading 4096 bytes at 4096 failed: EIO (the host's storage failed). The guest sees an I/O error.",
  ]);
  backend.close();
  expect(request(4, 0, [], false)).toBe(1);
  expect(reports[1]).toMatch(/flushing failed: EBADF/);
});
