import { describe, expect, test } from "vitest";
import {
  DISK_BYTES_READ,
  DISK_BYTES_WRITTEN,
  DISK_COUNTERS,
  DISK_ERRORS,
  DISK_FLUSHES,
  DISK_REQUESTS,
} from "../../../../src/disk/disk-counters.ts";
import { Throttle } from "../../../../src/disk/throttle.ts";
import { type BlkDisk, blkState, VirtioBlk } from "../../../../src/virtio/blk/blk.ts";
import type { BlkIo } from "../../../../src/virtio/blk/blk-requests.ts";
import {
  CONFIG,
  DEVICE_FEATURES,
  DEVICE_FEATURES_SEL,
} from "../../../../src/virtio/transport/mmio-registers.ts";
import { blkIo } from "../../../support/blk-io.ts";
import { MemoryDisk } from "../../../support/memory-disk.ts";
import { type Buffer, blank, Plugged, RAM, TestMemory } from "../../../support/virtio-driver.ts";

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const DISCARD = 11;
const WRITE_ZEROES = 13;
const OK = 0;
const IOERR = 1;
const UNSUPP = 2;
const UNWRITTEN = 0xee;

const F_FLUSH = 1 << 9;
const F_CONFIG_WCE = 1 << 11;
const WRITEBACK = CONFIG + 32;

const DISK_BYTES = 1 << 20;
const HEADER = RAM + 0x4000;
const DATA = RAM + 0x5000;
const STATUS = RAM + 0x4f00;

function rig(disk: Partial<BlkDisk> = {}, without = { low: 0, high: 0 }, io: Partial<BlkIo> = {}) {
  const memory = new TestMemory();
  const backend = new MemoryDisk(memory, DISK_BYTES);
  const counters = new Float64Array(DISK_COUNTERS);
  const spec = {
    size: DISK_BYTES,
    blockSize: 4096,
    readOnly: false,
    serial: "disk-0",
    queues: 1,
    writeCache: true,
    ...disk,
  };
  const reports: string[] = [];
  const report = ({ message }: { message: string }) => void reports.push(message);
  const parts = blkIo(backend, memory, { counters, report, ...io });
  const state = blkState(spec.queues, blank);
  const device = new VirtioBlk(spec, state, parts);
  const plugged = new Plugged(device, memory);
  const queue = plugged.bringUp(64, without);

  /** One request with an ordinary layout; what came back. */
  function request(type: number, sector: number, ...data: Buffer[]): { status: number; length: number } {
    header(type, sector);
    return send([{ address: HEADER, length: 16 }, ...data, { address: STATUS, length: 1, writable: true }]);
  }
  function header(type: number, sector: number): void {
    memory.at(HEADER).setUint32(0, type, true);
    memory.at(HEADER).setBigUint64(8, BigInt(sector), true);
  }
  function send(buffers: readonly Buffer[]): { status: number; length: number } {
    memory.at(STATUS).setUint8(0, UNWRITTEN);
    queue.add(buffers);
    plugged.runner.serve(0);
    return { status: memory.at(STATUS).getUint8(0), length: queue.used()[0]?.length ?? -1 };
  }
  function segments(...list: [sector: number, sectors: number, flags: number][]): Buffer {
    list.forEach(([sector, sectors, flags], i) => {
      memory.at(DATA + 16 * i).setBigUint64(0, BigInt(sector), true);
      memory.at(DATA + 16 * i).setUint32(8, sectors, true);
      memory.at(DATA + 16 * i).setUint32(12, flags, true);
    });
    return { address: DATA, length: 16 * list.length };
  }
  return {
    memory,
    backend,
    counters,
    reports,
    device,
    plugged,
    queue,
    request,
    header,
    send,
    segments,
    spec,
    state,
    parts,
  };
}

const READ_INTO = { address: DATA, length: 512, writable: true };
const WRITE_FROM = { address: DATA, length: 512 };

test("a sector that is written is on the disk, and reads back", () => {
  const { memory, backend, request, counters } = rig();
  for (let i = 0; i < 512; i++) memory.at(DATA + i).setUint8(0, i * 7);
  expect(request(OUT, 3, WRITE_FROM)).toEqual({ status: OK, length: 1 });
  expect(backend.bytes[3 * 512 + 100]).toBe((100 * 7) & 0xff);
  expect(request(IN, 3, { address: DATA + 0x1000, length: 512, writable: true })).toEqual({
    status: OK,
    length: 513,
  });
  expect(memory.at(DATA + 0x1000 + 100).getUint8(0)).toBe((100 * 7) & 0xff);
  expect(counters[DISK_REQUESTS]).toBe(2);
  expect([counters[DISK_BYTES_READ], counters[DISK_BYTES_WRITTEN], counters[DISK_ERRORS]]).toEqual([
    512, 512, 0,
  ]);
});

test("data scattered over the guest's pages is gathered in order", () => {
  const { backend, memory, request } = rig();
  backend.bytes.forEach((_, i) => {
    backend.bytes[i] = i >> 9;
  });
  const pages = [3, 1, 2].map((page) => ({ address: DATA + 0x1000 * page, length: 1024, writable: true }));
  expect(request(IN, 10, ...pages).status).toBe(OK);
  expect(backend.calls).toEqual(["readv 5120"]);
  const found = pages.flatMap(({ address }) => [
    memory.at(address).getUint8(0),
    memory.at(address + 512).getUint8(0),
  ]);
  expect(found).toEqual([10, 11, 12, 13, 14, 15]);
});

describe("however the driver cuts a request into descriptors", () => {
  const layouts: [string, Buffer[]][] = [
    ["header and data in one, status apart", [{ address: HEADER, length: 528 }]],
    [
      "header in two",
      [
        { address: HEADER, length: 5 },
        { address: HEADER + 5, length: 523 },
      ],
    ],
    [
      "header in bytes",
      Array.from({ length: 17 }, (_, i) => ({ address: HEADER + i, length: i < 16 ? 1 : 512 })),
    ],
    [
      "data at odd places",
      [
        { address: HEADER, length: 17 },
        { address: HEADER + 17, length: 511 },
      ],
    ],
  ];
  test.each(layouts)("a write with %s reaches the disk", (_, readable) => {
    const { memory, backend, header, send } = rig();
    for (let i = 0; i < 512; i++) memory.at(HEADER + 16 + i).setUint8(0, i);
    header(OUT, 1);
    const { status } = send([...readable, { address: STATUS, length: 1, writable: true }]);
    expect(status).toBe(OK);
    expect([...backend.bytes.subarray(512, 1024)]).toEqual(Array.from({ length: 512 }, (_, i) => i & 0xff));
  });

  test("a read with data and status in one buffer has its status at the end", () => {
    const { memory, backend, header, send } = rig();
    backend.bytes.fill(0x77, 0, 512);
    header(IN, 0);
    const { length } = send([
      { address: HEADER, length: 16 },
      { address: DATA, length: 513, writable: true },
    ]);
    expect(length).toBe(513);
    expect([511, 512].map((i) => memory.at(DATA + i).getUint8(0))).toEqual([0x77, OK]);
  });

  test("an indirect table is the same request", () => {
    const { memory, header, queue, plugged } = rig();
    header(IN, 0);
    queue.add(
      [{ address: HEADER, length: 16 }, READ_INTO, { address: STATUS, length: 1, writable: true }],
      RAM + 0x8000,
    );
    plugged.runner.serve(0);
    expect(memory.at(STATUS).getUint8(0)).toBe(OK);
  });
});

test("a flush makes the host flush", () => {
  const { backend, request, counters } = rig();
  expect(request(FLUSH, 0)).toEqual({ status: OK, length: 1 });
  expect(backend.calls).toEqual(["flush"]);
  expect(counters[DISK_FLUSHES]).toBe(1);
});

test("GET_ID answers the serial number, padded with NUL, in as much room as there is", () => {
  const { memory, request } = rig({ serial: "a-serial-number-of-20" });
  const text = (length: number) =>
    Array.from({ length }, (_, i) => String.fromCharCode(memory.at(DATA + i).getUint8(0))).join("");
  expect(request(GET_ID, 0, { address: DATA, length: 20, writable: true }).length).toBe(21);
  expect(text(20)).toBe("a-serial-number-of-2");
  memory.at(DATA + 4).setUint8(0, 1);
  expect(request(GET_ID, 0, { address: DATA, length: 4, writable: true }).length).toBe(5);
  expect(memory.at(DATA + 4).getUint8(0)).toBe(1);
  const short = rig({ serial: "x" });
  short.request(GET_ID, 0, { address: DATA, length: 20, writable: true });
  expect(short.memory.at(DATA).getUint32(0, true)).toBe("x".charCodeAt(0));
});

test.each([2, 3, 5, 10, 14, 15, 0x8000_0000, 0xffff_ffff])(
  "request type %i is answered unsupported",
  (type) => {
    const { backend, request } = rig();
    expect(request(type, 0, READ_INTO)).toEqual({ status: UNSUPP, length: 1 });
    expect(backend.calls).toEqual([]);
  },
);

describe("a driver's mistake gets an I/O error and touches nothing", () => {
  const LAST = DISK_BYTES / 512 - 1;
  test.each<[string, number, number, Buffer]>([
    ["a read past the end", IN, LAST + 1, READ_INTO],
    ["a read over the end", IN, LAST, { ...READ_INTO, length: 1024 }],
    ["a read at 2^63 sectors", IN, 2 ** 63, READ_INTO],
    ["a write over the end", OUT, LAST, { ...WRITE_FROM, length: 1024 }],
    ["a read of half a sector", IN, 0, { ...READ_INTO, length: 256 }],
    ["a write of a sector and a byte", OUT, 0, { ...WRITE_FROM, length: 513 }],
    ["a read with its data to be read", IN, 0, WRITE_FROM],
    ["a write with its data to be written", OUT, 0, READ_INTO],
  ])("%s", (what, type, sector, data) => {
    const { backend, request, counters, reports } = rig();
    const { status } = request(type, sector, data);
    // With the data in the wrong direction there is none, and doing nothing is right.
    expect(status).toBe(what.includes("with its data") ? OK : IOERR);
    expect(counters[DISK_ERRORS]).toBe(status);
    expect(backend.calls).toEqual([]);
    expect(reports).toEqual([]);
  });

  test("the last sector can be read and written", () => {
    const { request } = rig();
    expect(request(IN, LAST, READ_INTO).status).toBe(OK);
    expect(request(OUT, LAST, WRITE_FROM).status).toBe(OK);
  });
});

test("a read-only disk says so and takes no write, discard or zeroing", () => {
  const { plugged, backend, request, segments } = rig({ readOnly: true });
  plugged.write(DEVICE_FEATURES_SEL, 0);
  const features = plugged.read(DEVICE_FEATURES);
  expect([features & (1 << 5), features & (1 << 13), features & (1 << 14)]).toEqual([1 << 5, 0, 0]);
  expect(request(OUT, 0, WRITE_FROM).status).toBe(IOERR);
  expect(request(DISCARD, 0, segments([0, 8, 0])).status).toBe(IOERR);
  expect(request(WRITE_ZEROES, 0, segments([0, 8, 0])).status).toBe(IOERR);
  expect(backend.calls).toEqual([]);
  expect(request(IN, 0, READ_INTO).status).toBe(OK);
});

describe("discard and write zeroes", () => {
  test("several segments in one discard", () => {
    const { backend, request, segments } = rig();
    expect(request(DISCARD, 0, segments([8, 8, 0], [64, 16, 0])).status).toBe(OK);
    expect(backend.calls).toEqual(["discard 4096 4096", "discard 32768 8192"]);
  });

  test("zeroes are written, and storage is freed only where the driver allows it", () => {
    const { backend, request, segments } = rig();
    backend.bytes.fill(0xff);
    expect(request(WRITE_ZEROES, 0, segments([1, 2, 0])).status).toBe(OK);
    expect(request(WRITE_ZEROES, 0, segments([5, 1, 1])).status).toBe(OK);
    expect(backend.calls).toEqual(["zero 512 1024", "zero 2560 512 unmap"]);
  });

  test.each<[string, number, [number, number, number][], number]>([
    ["a discard with the unmap flag", DISCARD, [[0, 8, 1]], UNSUPP],
    ["a discard with an unknown flag", DISCARD, [[0, 8, 0x80]], UNSUPP],
    ["zeroes with an unknown flag", WRITE_ZEROES, [[0, 8, 2]], UNSUPP],
    ["a discard over the end", DISCARD, [[DISK_BYTES / 512 - 1, 2, 0]], IOERR],
    ["zeroes over the end", WRITE_ZEROES, [[2 ** 60, 1, 0]], IOERR],
    ["more zeroes than announced", WRITE_ZEROES, [[0, 0xffff_ffff, 0]], IOERR],
    [
      "two segments of zeroes",
      WRITE_ZEROES,
      [
        [0, 1, 0],
        [1, 1, 0],
      ],
      IOERR,
    ],
    ["33 segments of discard", DISCARD, Array.from({ length: 33 }, (_, i) => [i, 1, 0]), IOERR],
  ])("%s is refused", (_, type, list, status) => {
    const { backend, request, segments } = rig();
    expect(request(type, 0, segments(...list)).status).toBe(status);
    expect(backend.calls).toEqual([]);
  });

  test("a segment that is cut short is an I/O error", () => {
    const { request } = rig();
    expect(request(DISCARD, 0, { address: DATA, length: 17 }).status).toBe(IOERR);
  });

  test("what the host cannot do is unsupported, not an error", () => {
    const { backend, request, segments, reports } = rig();
    backend.failure = -95;
    expect(request(DISCARD, 0, segments([0, 8, 0])).status).toBe(UNSUPP);
    expect(reports).toEqual([]);
  });
});

describe("the write cache", () => {
  test("with FLUSH negotiated a write may wait; with the cache switched off it may not", () => {
    const { plugged, backend, request } = rig();
    expect(plugged.transport.read(WRITEBACK, 1)).toBe(1);
    request(OUT, 0, WRITE_FROM);
    plugged.transport.write(WRITEBACK, 1, 0);
    request(OUT, 1, WRITE_FROM);
    expect(backend.calls).toEqual(["writev 0", "writev 512 dsync"]);
  });

  test("a driver that cannot flush gets stable writes", () => {
    const { plugged, backend, request } = rig({}, { low: F_FLUSH, high: 0 });
    expect(plugged.transport.read(WRITEBACK, 1)).toBe(0);
    request(OUT, 0, WRITE_FROM);
    expect(backend.calls).toEqual(["writev 0 dsync"]);
  });

  test("a driver that did not ask for the switch cannot turn it", () => {
    const { plugged, backend, request } = rig({}, { low: F_CONFIG_WCE, high: 0 });
    plugged.transport.write(WRITEBACK, 1, 0);
    request(OUT, 0, WRITE_FROM);
    expect(backend.calls).toEqual(["writev 0"]);
  });

  test("a disk that starts with its cache off does", () => {
    const { plugged, request, backend } = rig({ writeCache: false });
    expect(plugged.transport.read(WRITEBACK, 1)).toBe(0);
    request(OUT, 0, WRITE_FROM);
    plugged.transport.write(WRITEBACK, 1, 1);
    request(OUT, 0, WRITE_FROM);
    expect(backend.calls).toEqual(["writev 0 dsync", "writev 0"]);
  });

  test("with the cache off, zeroes are stable when they are done", () => {
    const { backend, request, segments } = rig({ writeCache: false });
    request(WRITE_ZEROES, 0, segments([0, 1, 0]));
    expect(backend.calls).toEqual(["zero 0 512", "flush"]);
  });
});

test("an error of the host reaches the guest and is reported, at 1, 2, 4, 8 of them", () => {
  const { backend, request, reports, counters } = rig();
  backend.failure = -28;
  for (let i = 0; i < 9; i++) {
    expect(request([IN, OUT, FLUSH][i % 3], 7, i % 3 === 0 ? READ_INTO : WRITE_FROM).status).toBe(IOERR);
  }
  expect(reports.length).toBe(4);
  expect(reports[0]).toBe(
    "reading 512 bytes at 3584 failed: ENOSPC (the host's file system is full). The guest sees an I/O error.",
  );
  expect(reports[3]).toMatch(/8 such errors so far/);
  expect(counters[DISK_ERRORS]).toBe(9);
});

test("a failed read does not claim to have filled the guest's buffer", () => {
  const { backend, request } = rig();
  backend.failure = -5;
  expect(request(IN, 0, READ_INTO)).toEqual({ status: IOERR, length: 1 });
});

test.each<[string, Buffer[]]>([
  [
    "no room for a header",
    [
      { address: HEADER, length: 15 },
      { address: STATUS, length: 1, writable: true },
    ],
  ],
  ["no header at all", [{ address: STATUS, length: 1, writable: true }]],
  ["no room for a status", [{ address: HEADER, length: 16 }]],
])("a request with %s breaks the queue", (_, buffers) => {
  const { plugged, send, backend } = rig();
  send(buffers);
  expect(plugged.needsReset).toBe(true);
  expect(plugged.reports[0].message).toMatch(/no room for/);
  expect(backend.calls).toEqual([]);
});

test("the configuration describes the disk", () => {
  const { plugged } = rig({ size: 2 ** 41, blockSize: 4096, queues: 4 });
  const config = (offset: number, size: 1 | 2 | 4) => plugged.transport.read(CONFIG + offset, size);
  expect([config(0, 4), config(4, 4)]).toEqual([0, 1]); // 2^32 sectors
  expect(config(12, 4)).toBe(254); // seg_max: what fits an indirect table with header and status
  expect(config(20, 4)).toBe(512); // blk_size
  expect(config(24, 1)).toBe(3); // 2^3 of them in what the host writes at once
  expect(config(34, 2)).toBe(4); // num_queues
  expect(config(56, 1)).toBe(1); // write_zeroes_may_unmap
  for (const offset of [57, 60, 64, 100, 255]) expect(config(offset, 1)).toBe(0);
  plugged.write(DEVICE_FEATURES_SEL, 0);
  expect(plugged.read(DEVICE_FEATURES) & (1 << 12)).not.toBe(0); // MQ
});

test("each queue of several is served", () => {
  const { plugged, device } = rig({ queues: 3 });
  expect(device.queueSizes).toEqual([256, 256, 256]);
  expect(plugged.runner.queues).toBe(3);
});

describe("a back end that takes its time", () => {
  test("answers requests in the order in which they end, with one interrupt for all", () => {
    const { memory, backend, plugged, queue, header } = rig();
    backend.later = true;
    backend.bytes.fill(0x5a, 512, 1024);
    header(IN, 1);
    memory.at(HEADER + 16).setUint32(0, FLUSH, true);
    const read = queue.add([
      { address: HEADER, length: 16 },
      READ_INTO,
      { address: STATUS, length: 1, writable: true },
    ]);
    const flush = queue.add([
      { address: HEADER + 16, length: 16 },
      { address: STATUS + 1, length: 1, writable: true },
    ]);
    plugged.runner.serve(0);
    expect(queue.used()).toEqual([
      { id: flush, length: 1 },
      { id: read, length: 513 },
    ]);
    expect(plugged.interrupts).toBe(1);
    expect([0, 1].map((i) => memory.at(STATUS + i).getUint8(0))).toEqual([OK, OK]);
    expect(memory.at(DATA + 511).getUint8(0)).toBe(0x5a);
  });

  test("is waited for when the queues are let go, and nothing is lost", () => {
    const { backend, plugged, queue, memory } = rig();
    backend.later = true;
    backend.slow = true;
    memory.at(HEADER).setUint32(0, FLUSH, true);
    const head = queue.add([
      { address: HEADER, length: 16 },
      { address: STATUS, length: 1, writable: true },
    ]);
    plugged.runner.serve(0);
    expect(queue.used()).toEqual([]);
    plugged.runner.quiesce();
    expect(queue.used()).toEqual([{ id: head, length: 1 }]);
  });

  test("a chain that is offered a second time while it is in flight breaks the queue", () => {
    const { backend, plugged, queue, memory } = rig();
    backend.later = true;
    backend.slow = true;
    memory.at(HEADER).setUint32(0, FLUSH, true);
    const head = queue.add([
      { address: HEADER, length: 16 },
      { address: STATUS, length: 1, writable: true },
    ]);
    queue.offer(head);
    plugged.runner.serve(0);
    expect(plugged.needsReset).toBe(true);
    expect(plugged.reports[0].message).toContain("offered again while it is in flight");
  });

  test("a discard on a disk without a write cache completes when it is stable", () => {
    const { backend, request, segments } = rig({ writeCache: false });
    backend.later = true;
    expect(request(DISCARD, 0, segments([0, 8, 0], [16, 8, 0])).status).toBe(OK);
    expect(backend.calls).toEqual(["discard 0 4096", "discard 8192 4096", "flush"]);
  });
});

describe.each([false, true])("a request that the host fails (later: %s)", (later) => {
  const EIO = -5;
  const ENOSPC = -28;

  test("counts as done where errors are ignored, and is reported", () => {
    const { backend, request, reports } = rig({}, undefined, { werror: "ignore" });
    backend.later = later;
    backend.failure = ENOSPC;
    expect(request(OUT, 0, WRITE_FROM).status).toBe(OK);
    expect(reports).toEqual([
      "writing 512 bytes at 0 failed: ENOSPC (the host's file system is full). The guest sees no error.",
    ]);
  });

  test.each([
    ["stop", EIO],
    ["enospc", ENOSPC],
  ] as const)(
    "waits for the machine to be resumed under werror=%s, and is tried again",
    (werror, failure) => {
      const { backend, request, reports, queue, plugged, memory } = rig({}, undefined, { werror });
      backend.later = later;
      backend.failure = failure;
      expect(request(OUT, 0, WRITE_FROM)).toEqual({ status: UNWRITTEN, length: -1 });
      expect(reports).toEqual([expect.stringContaining("The machine pauses, and tries the request again")]);
      expect(plugged.runner.serve(0)).toBe(Number.POSITIVE_INFINITY);
      plugged.runner.quiesce();
      backend.failure = 0;
      plugged.runner.resume();
      plugged.runner.serve(0);
      expect(queue.used()).toHaveLength(1);
      expect(memory.at(STATUS).getUint8(0)).toBe(OK);
      expect(backend.calls.filter((call) => call === "writev 0")).toHaveLength(2);
    },
  );

  test("waits in the machine's state, where another device over the same state finds it", () => {
    const { backend, request, plugged, queue, memory, spec, state, parts } = rig({}, undefined, {
      werror: "stop",
    });
    backend.later = later;
    backend.failure = EIO;
    request(OUT, 0, WRITE_FROM);
    plugged.runner.quiesce();
    backend.failure = 0;
    const restored = plugged.newRunner(new VirtioBlk(spec, state, parts));
    restored.serve(0);
    expect(queue.used()).toHaveLength(1);
    expect(memory.at(STATUS).getUint8(0)).toBe(OK);
    expect(state.deferred[0].length).toBe(0);
  });

  test("is forgotten with its queue when the driver resets the device meanwhile", () => {
    const { backend, request, plugged, memory } = rig({}, undefined, { werror: "stop" });
    backend.later = later;
    backend.failure = EIO;
    request(OUT, 0, WRITE_FROM);
    memory.bytes.fill(0); // the old rings' too
    plugged.bringUp(64);
    backend.failure = 0;
    backend.calls.length = 0;
    plugged.runner.resume();
    plugged.runner.serve(0);
    expect(backend.calls).toEqual([]);
  });

  test("is reported under werror=enospc unless it is for want of room", () => {
    const { backend, request } = rig({}, undefined, { werror: "enospc" });
    backend.later = later;
    backend.failure = EIO;
    expect(request(OUT, 0, WRITE_FROM).status).toBe(IOERR);
  });
});

test("a throttled disk makes requests wait, the first ones first, and says how long", () => {
  let now = 0;
  const throttle = new Throttle({ iopsTotal: 20 });
  const { backend, plugged, queue, memory } = rig({}, undefined, { throttle, now: () => now });
  const requests = 6;
  for (let i = 0; i < requests; i++) {
    memory.at(HEADER + 16 * i).setUint32(0, IN, true);
    memory.at(HEADER + 16 * i).setUint32(8, i, true);
    queue.add([
      { address: HEADER + 16 * i, length: 16 },
      READ_INTO,
      { address: STATUS, length: 1, writable: true },
    ]);
  }
  const served: number[] = [];
  for (;;) {
    const wait = plugged.runner.serve(0);
    served.push(queue.used().length);
    if (wait === Number.POSITIVE_INFINITY) break;
    expect(wait).toBeCloseTo(50);
    now += wait;
  }
  expect(served).toEqual([3, 1, 1, 1]);
  expect(backend.calls).toEqual(Array.from({ length: requests }, (_, i) => `readv ${512 * i}`));
});

test("a disk that was resized says so in its configuration, and takes requests up to there", () => {
  const { plugged, request } = rig();
  const capacity = () => [0, 4].map((i) => plugged.read(CONFIG + i));
  expect(capacity()).toEqual([DISK_BYTES / 512, 0]);
  const before = plugged.interrupts;
  plugged.runner.resize(2 * DISK_BYTES);
  expect(capacity()).toEqual([(2 * DISK_BYTES) / 512, 0]);
  expect(plugged.interrupts).toBe(before + 1);
  plugged.runner.resize(DISK_BYTES / 2);
  expect(request(IN, DISK_BYTES / 1024, READ_INTO).status).toBe(IOERR);
});
