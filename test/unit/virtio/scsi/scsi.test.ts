import { describe, expect, test } from "vitest";
import {
  DISK_BYTES_READ,
  DISK_BYTES_WRITTEN,
  DISK_ERRORS,
  DISK_FLUSHES,
} from "../../../../src/disk/disk-counters.ts";
import { Throttle } from "../../../../src/disk/throttle.ts";
import { DiskUnit } from "../../../../src/scsi/disk-unit.ts";
import { CONFIG } from "../../../../src/virtio/transport/mmio-registers.ts";
import {
  big,
  DATA,
  DISK_BYTES,
  HEADER,
  OK,
  READS,
  RESPONSE,
  RESPONSE_BYTES,
  scsiRig,
  WRITES,
} from "../../../support/scsi-rig.ts";

const CHECK = 2;
const BAD_TARGET = 3;
const OVERRUN = 1;
const read10 = (lba: number, sectors: number) => [0x28, 0, ...big(4, lba), 0, ...big(2, sectors), 0];
const write10 = (lba: number, sectors: number, flags = 0) => [
  0x2a,
  flags,
  ...big(4, lba),
  0,
  ...big(2, sectors),
  0,
];
const EIO = -5;
const ENOSPC = -28;

test("a sector that is written is on the disk, and reads back", () => {
  const rig = scsiRig();
  rig.ready();
  const { memory, served, send } = rig;
  const [{ backend, counters }] = served;
  for (let n = 0; n < 512; n++) memory.at(DATA + n).setUint8(0, n * 7);
  const good = { response: OK, status: 0, sense: 0, residual: 0 };
  expect(send(write10(3, 1), [WRITES])).toEqual({ ...good, used: RESPONSE_BYTES });
  expect(backend.bytes[3 * 512 + 100]).toBe((100 * 7) & 0xff);
  const elsewhere = { address: DATA + 0x1000, length: 512, writable: true };
  expect(send(read10(3, 1), [elsewhere])).toEqual({ ...good, used: RESPONSE_BYTES + 512 });
  expect(memory.at(DATA + 0x1000 + 100).getUint8(0)).toBe((100 * 7) & 0xff);
  expect([counters[DISK_BYTES_READ], counters[DISK_BYTES_WRITTEN], counters[DISK_ERRORS]]).toEqual([
    512, 512, 1,
  ]);
});

test("the first command after a reset learns of it, and INQUIRY does not", () => {
  const { send, ask } = scsiRig();
  expect(ask([0x12, 0, 0, 0, 96, 0])[0]).toBe(0);
  expect(send([0x00])).toMatchObject({ status: CHECK, sense: 0x06_29_00 });
  expect(send([0x00])).toMatchObject({ status: 0, sense: 0 });
});

test("a target that is not there is not answered for, and a unit that is not there says so", () => {
  const rig = scsiRig([
    { target: 0, lun: 0 },
    { target: 3, lun: 2 },
    { target: 3, lun: 300 },
  ]);
  rig.ready();
  expect(rig.send([0x00], [], 1, 0)).toMatchObject({ response: BAD_TARGET });
  expect(rig.send([0x00], [], 0, 1)).toMatchObject({ response: OK, status: CHECK, sense: 0x05_25_00 });
  const luns = { address: DATA, length: 64, writable: true };
  expect(rig.send([0xa0, 0, 0, 0, 0, 0, ...big(4, 64), 0, 0], [luns], 3, 0)).toMatchObject({
    residual: 64 - 24,
  });
  const bytes = Array.from({ length: 24 }, (_, n) => rig.memory.at(DATA + n).getUint8(0));
  expect(bytes).toEqual([
    0,
    0,
    0,
    16,
    0,
    0,
    0,
    0,
    0,
    2,
    ...[0, 0, 0, 0, 0, 0],
    0x41,
    0x2c,
    ...[0, 0, 0, 0, 0, 0],
  ]);
  rig.header([0x12], 3, 0);
  expect(rig.send([0x12, 0, 0, 0, 36, 0], [{ ...luns, length: 36 }], 3, 0)).toMatchObject({ status: 0 });
  expect(rig.memory.at(DATA).getUint8(0)).toBe(0x7f);
});

test("an address of another form is not that of a target", () => {
  const rig = scsiRig();
  rig.offer([0x00]);
  rig.memory.at(HEADER).setUint8(0, 0xc1);
  rig.plugged.runner.serve(2);
  expect(rig.answer()).toMatchObject({ response: BAD_TARGET });
});

test.each([
  ["READ(6)", [0x08, 0, 0, 5, 1, 0], "readv 2560"],
  ["READ(10)", read10(5, 1), "readv 2560"],
  ["READ(12)", [0xa8, 0, ...big(4, 5), ...big(4, 1), 0, 0], "readv 2560"],
  ["READ(16)", [0x88, 0, ...big(8, 5), ...big(4, 1), 0, 0], "readv 2560"],
])("%s", (_name, cdb, call) => {
  const rig = scsiRig();
  rig.ready();
  expect(rig.send(cdb, [READS])).toMatchObject({ response: OK, status: 0, residual: 0 });
  expect(rig.served[0].backend.calls).toEqual([call]);
});

test.each([
  ["WRITE(6)", [0x0a, 0, 0, 5, 1, 0], "writev 2560"],
  ["WRITE(10) with FUA", write10(5, 1, 8), "writev 2560 dsync"],
  ["WRITE(12)", [0xaa, 0, ...big(4, 5), ...big(4, 1), 0, 0], "writev 2560"],
  ["WRITE(16)", [0x8a, 0, ...big(8, 5), ...big(4, 1), 0, 0], "writev 2560"],
  ["WRITE AND VERIFY(10)", [0x2e, 0, ...big(4, 5), 0, ...big(2, 1), 0], "writev 2560 dsync"],
  ["SYNCHRONIZE CACHE(10)", [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], "flush"],
  ["SYNCHRONIZE CACHE(16)", [0x91], "flush"],
])("%s", (_name, cdb, call) => {
  const rig = scsiRig();
  rig.ready();
  const data = call === "flush" ? [] : [WRITES];
  expect(rig.send(cdb, data)).toMatchObject({ response: OK, status: 0, residual: 0 });
  expect(rig.served[0].backend.calls).toEqual([call]);
});

describe("what a command asks for is checked", () => {
  test.each([
    ["beyond the end", read10(DISK_BYTES / 512, 1), 0x05_21_00],
    [
      "far beyond the end",
      [0x88, 0, ...[255, 255, 255, 255, 255, 255, 255, 255], ...big(4, 1), 0, 0],
      0x05_21_00,
    ],
    ["protection information", [0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0], 0x05_24_00],
    ["an operation that there is not", [0xff], 0x05_20_00],
    ["a page of vital data that there is not", [0x12, 1, 0xc0, 0, 255, 0], 0x05_24_00],
    ["a mode page that there is not", [0x1a, 0, 0x2a, 0, 255, 0], 0x05_24_00],
    ["saved mode pages", [0x1a, 0, 0xc8, 0, 255, 0], 0x05_39_00],
    ["a comparison", [0x2f, 2, 0, 0, 0, 0, 0, 0, 1, 0], 0x05_24_00],
    ["WRITE SAME of more than the limit", [0x93, 9, ...big(8, 0), ...big(4, 0x8000_0000), 0, 0], 0x05_21_00],
  ])("%s", (_name, cdb, sense) => {
    const rig = scsiRig();
    rig.ready();
    expect(rig.send(cdb, [{ ...READS, length: 255 }])).toMatchObject({ status: CHECK, sense });
    expect(rig.served[0].backend.calls).toEqual([]);
  });

  test("a disk that is read-only takes no data", () => {
    const rig = scsiRig([{ target: 0, lun: 0, readOnly: true }]);
    rig.ready();
    expect(rig.send(write10(0, 1), [WRITES])).toMatchObject({ status: CHECK, sense: 0x07_27_00 });
    expect(rig.send([0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0], [WRITES])).toMatchObject({ sense: 0x07_27_00 });
    expect(rig.ask([0x1a, 0, 0x3f, 0, 255, 0])[2] & 0x80).toBe(0x80);
  });

  test("less memory than the command moves is an overrun, and more is left over", () => {
    const rig = scsiRig();
    rig.ready();
    expect(rig.send(read10(0, 2), [READS])).toMatchObject({ response: OVERRUN });
    expect(rig.send(write10(0, 2), [WRITES])).toMatchObject({ response: OVERRUN });
    const pages = [
      { ...READS, length: 300 },
      { ...READS, address: DATA + 0x1000, length: 1000 },
    ];
    expect(rig.send(read10(0, 1), pages)).toMatchObject({
      response: OK,
      residual: 788,
      used: RESPONSE_BYTES + 512,
    });
    expect(rig.send(write10(0, 1), [{ ...WRITES, length: 5000 }])).toMatchObject({ residual: 4488 });
    expect(rig.served[0].backend.calls).toEqual(["readv 0", "writev 0"]);
  });
});

test("what a disk says of itself", () => {
  const rig = scsiRig();
  rig.ready();
  const { ask } = rig;
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");
  const inquiry = ask([0x12, 0, 0, 0, 96, 0]);
  expect(text(inquiry.subarray(8))).toBe("VMEXIT  HARDDISK        1.0 ");
  expect([...ask([0x12, 1, 0, 0, 255, 0]).subarray(4)]).toEqual([0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
  expect(text(ask([0x12, 1, 0x80, 0, 255, 0]).subarray(4))).toBe("disk-0");
  expect(text(ask([0x12, 1, 0x83, 0, 255, 0]).subarray(8))).toBe("VMEXIT  HARDDISK        disk-0");
  const limits = new DataView(ask([0x12, 1, 0xb0, 0, 255, 0]).buffer);
  expect([6, 28].map((at) => (at === 6 ? limits.getUint16(at) : limits.getUint32(at)))).toEqual([8, 8]);
  expect([20, 24].map((at) => limits.getUint32(at))).toEqual([2 ** 22, 32]);
  expect(ask([0x12, 1, 0xb1, 0, 255, 0])[5]).toBe(1);
  expect([...ask([0x12, 1, 0xb2, 0, 255, 0]).subarray(4)]).toEqual([0, 0xe0, 2, 0]);
  expect([...ask([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0])]).toEqual([...big(4, 2047), ...big(4, 512)]);
  const capacity = ask([0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, ...big(4, 32), 0, 0]);
  expect([...capacity.subarray(0, 16)]).toEqual([...big(8, 2047), ...big(4, 512), 0, 3, 0x80, 0]);
  expect(ask([0x1a, 8, 0x08, 0, 255, 0])[4 + 2]).toBe(4); // the write cache
  expect(ask([0x5a, 0, 0x3f, 0, 0, 0, 0, ...big(2, 255), 0]).length).toBe(8 + 8 + 24 + 20 + 12);
  expect([...ask([0x03, 0, 0, 0, 18, 0])].slice(0, 3)).toEqual([0x70, 0, 0]);
});

test("an answer is cut to what the command asks for", () => {
  const rig = scsiRig();
  expect(rig.ask([0x12, 0, 0, 0, 5, 0]).length).toBe(5);
});

test("UNMAP frees ranges, and WRITE SAME makes zeros", () => {
  const rig = scsiRig();
  rig.ready();
  const ranges = [...big(8, 8), ...big(4, 8), ...big(4, 0), ...big(8, 64), ...big(4, 16), ...big(4, 0)];
  const list = rig.put([...big(2, 38), ...big(2, 32), 0, 0, 0, 0, ...ranges]);
  expect(rig.send([0x42, 0, 0, 0, 0, 0, 0, ...big(2, 40), 0], [list])).toMatchObject({
    status: 0,
    residual: 0,
  });
  const zeros = rig.put(new Array(512).fill(0));
  expect(rig.send([0x93, 8, ...big(8, 8), ...big(4, 16), 0, 0], [zeros])).toMatchObject({
    status: 0,
    residual: 0,
  });
  expect(rig.send([0x93, 1, ...big(8, 8), ...big(4, 16), 0, 0])).toMatchObject({ status: 0 });
  const [{ backend }] = rig.served;
  expect(backend.calls).toEqual([
    "discard 4096 4096",
    "discard 32768 8192",
    "zero 4096 8192 unmap",
    "zero 4096 8192",
  ]);
  expect(
    rig.send([0x41, 0, ...big(4, 0), 0, ...big(2, 1), 0], [rig.put(new Array(512).fill(7))]),
  ).toMatchObject({
    sense: 0x05_24_00,
  });
});

test("MODE SELECT switches the write cache, and writes are then on stable storage", () => {
  const rig = scsiRig();
  rig.ready();
  const page = [0x08, 18, 0, ...new Array(17).fill(0)];
  const pages = rig.put([0, 0, 0, 0, ...page]);
  expect(rig.send([0x15, 0x10, 0, 0, 24, 0], [pages])).toMatchObject({ status: 0, residual: 0 });
  expect(rig.send(write10(0, 1), [WRITES])).toMatchObject({ status: 0 });
  expect(rig.served[0].backend.calls).toEqual(["flush", "writev 0 dsync"]);
  const wrong = rig.put([0, 0, 0, 0, 0x3a, 2, 0, 0]);
  expect(rig.send([0x15, 0x10, 0, 0, 8, 0], [wrong])).toMatchObject({ sense: 0x05_26_00 });
});

test("requests that complete later are answered when they do", () => {
  const rig = scsiRig();
  rig.ready();
  const [{ backend, counters }] = rig.served;
  backend.later = true;
  backend.slow = true;
  rig.offer(read10(1, 1), [READS]);
  rig.plugged.runner.serve(2);
  expect(rig.answer()).toMatchObject({ response: 0xee, used: -1 });
  backend.slow = false;
  rig.plugged.runner.poll();
  expect(rig.answer()).toMatchObject({ response: OK, used: RESPONSE_BYTES + 512 });
  expect(rig.send([0x35])).toMatchObject({ status: 0 });
  expect(counters[DISK_FLUSHES]).toBe(1);
});

describe("when the host fails", () => {
  test("the guest gets sense data that says how", () => {
    const rig = scsiRig();
    rig.ready();
    const [{ backend }] = rig.served;
    backend.failure = EIO;
    expect(rig.send(read10(0, 1), [READS])).toMatchObject({
      status: CHECK,
      sense: 0x03_11_00,
      residual: 512,
    });
    expect(rig.send(write10(0, 1), [WRITES])).toMatchObject({ status: CHECK, sense: 0x03_0c_00 });
    backend.failure = ENOSPC;
    expect(rig.send(write10(0, 1), [WRITES])).toMatchObject({ status: CHECK, sense: 0x07_27_07 });
    expect(rig.reports[0]).toContain("reading 512 bytes at 0 failed");
  });

  test("with stop the request waits, and other disks go on", () => {
    const rig = scsiRig([
      { target: 0, lun: 0, werror: "stop" },
      { target: 1, lun: 0 },
    ]);
    rig.ready();
    const [{ backend }] = rig.served;
    backend.failure = ENOSPC;
    expect(rig.send(write10(0, 1), [WRITES])).toMatchObject({ response: 0xee, used: -1 });
    expect(rig.send(write10(0, 1), [WRITES], 1)).toMatchObject({ status: 0 });
    backend.failure = 0;
    rig.plugged.runner.resume();
    rig.plugged.runner.serve(2);
    expect(rig.answer()).toMatchObject({ status: 0, used: RESPONSE_BYTES });
  });

  test("a request that waits is served again in a machine that continues from a snapshot", () => {
    const rig = scsiRig([{ target: 0, lun: 0, werror: "stop" }]);
    rig.ready();
    const [{ backend }] = rig.served;
    backend.failure = ENOSPC;
    rig.send(write10(2, 1), [WRITES]);
    rig.plugged.runner.quiesce();
    backend.failure = 0;
    const runner = rig.plugged.newRunner(rig.another());
    runner.resume();
    runner.serve(2);
    expect(rig.answer()).toMatchObject({ status: 0, used: RESPONSE_BYTES });
    expect(backend.calls.at(-1)).toBe("writev 1024");
  });
});

test("a throttled disk waits, and another on the same controller does not", () => {
  let now = 1000;
  const limits = { iopsTotal: 1, iopsRead: 0, iopsWrite: 0, bpsTotal: 0, bpsRead: 0, bpsWrite: 0 };
  const throttle = new Throttle(limits);
  const rig = scsiRig(
    [
      { target: 0, lun: 0, throttle },
      { target: 1, lun: 0 },
    ],
    () => now,
  );
  rig.ready();
  let waited = 0;
  for (let n = 0; n < 50 && waited === 0; n++) {
    rig.offer(read10(n, 1), [READS]);
    const wait = rig.plugged.runner.serve(2);
    if (rig.queues[2].used().length === 0) waited = wait;
  }
  expect(waited).toBeGreaterThan(0);
  expect(rig.send(read10(0, 1), [READS], 1)).toMatchObject({ status: 0 });
  now += waited + 1;
  rig.plugged.runner.serve(2);
  expect(rig.queues[2].used()).toHaveLength(1);
});

describe("task management", () => {
  const tmf = (rig: ReturnType<typeof scsiRig>, subtype: number, id = 0, target = 0, lun = 0) => {
    const request = HEADER + 0x400;
    const view = rig.memory.at(request);
    view.setUint32(0, 0, true);
    view.setUint32(4, subtype, true);
    [1, target, 0x40, lun].forEach((byte, n) => {
      view.setUint8(8 + n, byte);
    });
    view.setBigUint64(16, BigInt(id), true);
    rig.memory.at(request + 32).setUint8(0, 0xee);
    rig.queues[0].add([
      { address: request, length: 24 },
      { address: request + 32, length: 1, writable: true },
    ]);
    rig.plugged.runner.serve(0);
    expect(rig.queues[0].used()).toHaveLength(1);
    return rig.memory.at(request + 32).getUint8(0);
  };

  test("ABORT TASK ends a request that waits before it answers", () => {
    const rig = scsiRig([{ target: 0, lun: 0, werror: "stop" }]);
    rig.ready();
    rig.served[0].backend.failure = ENOSPC;
    rig.offer(write10(0, 1), [WRITES], 0, 0, 7);
    rig.plugged.runner.serve(2);
    expect(tmf(rig, 6, 7)).toBe(10); // QUERY TASK: it is there
    expect(tmf(rig, 6, 8)).toBe(0);
    expect(tmf(rig, 0, 7)).toBe(0);
    expect(rig.answer()).toMatchObject({ response: 2, used: RESPONSE_BYTES });
    expect(tmf(rig, 7)).toBe(0); // QUERY TASK SET: nothing is there
  });

  test("what is in flight completes before the answer", () => {
    const rig = scsiRig();
    rig.ready();
    rig.served[0].backend.later = true;
    rig.served[0].backend.slow = true;
    rig.offer(write10(0, 1), [WRITES], 0, 0, 7);
    rig.plugged.runner.serve(2);
    expect(rig.answer().used).toBe(-1);
    expect(tmf(rig, 1)).toBe(0);
    expect(rig.answer()).toMatchObject({ response: OK, used: RESPONSE_BYTES });
  });

  test("a reset of the unit, or of the target, is learnt by the next command", () => {
    const rig = scsiRig();
    for (const subtype of [5, 4]) {
      rig.ready();
      expect(tmf(rig, subtype)).toBe(0);
      expect(rig.send([0x00])).toMatchObject({ sense: 0x06_29_00 });
    }
  });

  test("what is not there, and what is not known", () => {
    const rig = scsiRig();
    expect([tmf(rig, 5, 0, 4), tmf(rig, 5, 0, 0, 1), tmf(rig, 99), tmf(rig, 2)]).toEqual([3, 12, 11, 0]);
  });
});

test("another size is a unit attention and an event", () => {
  const rig = scsiRig();
  rig.ready();
  const event = HEADER + 0x600;
  rig.queues[1].add([{ address: event, length: 16, writable: true }]);
  rig.plugged.runner.serve(1);
  expect(rig.queues[1].used()).toEqual([]);
  const [{ unit }] = rig.served;
  if (unit instanceof DiskUnit) unit.resize(2 * DISK_BYTES);
  rig.device.capacityChanged(0);
  rig.plugged.runner.serve(1);
  expect(rig.queues[1].used()).toEqual([{ id: 0, length: 16 }]);
  const bytes = Array.from({ length: 16 }, (_, n) => rig.memory.at(event + n).getUint8(0));
  expect(bytes).toEqual([3, 0, 0, 0, 1, 0, 0x40, 0, 0, 0, 0, 0, 0x2a, 0x09, 0, 0]);
  expect(rig.send([0x00])).toMatchObject({ sense: 0x06_2a_09 });
  expect([...rig.ask([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0])]).toEqual([...big(4, 4095), ...big(4, 512)]);
});

test("the configuration says what there is, and takes the sizes that a driver chooses", () => {
  const rig = scsiRig();
  const words = Array.from({ length: 9 }, (_, n) => rig.plugged.read(CONFIG + 4 * n));
  expect(words).toEqual([1, 62, 0xffff, 128, 16, 96, 32, 255 << 16, 16383]);
  rig.plugged.write(CONFIG + 20, 18);
  rig.plugged.write(CONFIG + 24, 16);
  rig.plugged.write(CONFIG + 24, 100_000);
  expect([rig.device.senseSize, rig.device.cdbSize]).toEqual([18, 16]);
  rig.header([0x00]);
  rig.queues[2].add([
    { address: HEADER, length: 35 },
    { address: RESPONSE, length: 30, writable: true },
  ]);
  rig.plugged.runner.serve(2);
  expect(rig.answer()).toMatchObject({ status: CHECK, sense: 0x06_29_00, used: 30 });
});

test("a response may be spread over a few buffers, and no more", () => {
  const rig = scsiRig();
  rig.header([0x00]);
  rig.queues[2].add([
    { address: HEADER, length: 20 },
    { address: HEADER + 20, length: 31 },
    { address: RESPONSE, length: 11, writable: true },
    { address: RESPONSE + 11, length: 97, writable: true },
  ]);
  rig.plugged.runner.serve(2);
  expect(rig.answer()).toMatchObject({ status: CHECK, sense: 0x06_29_00 });
  const bytes = Array.from({ length: 108 }, (_, n) => ({ address: RESPONSE + n, length: 1, writable: true }));
  rig.queues[2].add([{ address: HEADER, length: 51 }, ...bytes.slice(0, 60)]);
  rig.plugged.runner.serve(2);
  expect(rig.plugged.reports[0].message).toContain("no room for a response of 108 bytes");
  expect(rig.plugged.needsReset).toBe(true);
});

test("a driver that resets the device while requests wait finds all heads free", () => {
  const rig = scsiRig([{ target: 0, lun: 0, werror: "stop" }]);
  rig.ready();
  rig.served[0].backend.failure = ENOSPC;
  rig.send(write10(0, 1), [WRITES]);
  rig.served[0].backend.failure = 0;
  rig.plugged.runner.resume();
  rig.bringUp();
  rig.ready();
  expect(rig.send(write10(0, 1), [WRITES])).toMatchObject({ status: 0 });
  expect(rig.plugged.reports).toEqual([]);
});
