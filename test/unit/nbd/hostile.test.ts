/** Peers that do not keep to the protocol: the client's servers, the server's clients. Seeds are kept: all of 0 to ROUNDS. */
import { createServer, type Server, type Socket } from "node:net";
import { afterAll, expect, test } from "vitest";
import type { DiskSource } from "../../../src/disk/disk-source.ts";
import { serveNbd } from "../../../src/image-tools/serve-nbd.ts";
import { connectNbd } from "../../../src/nbd/connect.ts";
import type { NbdDisk } from "../../../src/nbd/nbd-disk.ts";
import { NbdError } from "../../../src/nbd/nbd-error.ts";
import { CorruptingProxy } from "../../support/corrupting-proxy.ts";
import { NbdPeers } from "../../support/nbd-peers.ts";
import { random } from "../../support/random.ts";

const ROUNDS = 60;
const SIZE = 2 ** 20;

const peers = new NbdPeers();
const servers: Server[] = [];
afterAll(async () => {
  for (const server of servers) server.close();
  await peers.close();
});

/** Notices what nobody may ask a disk for. */
class StrictDisk implements DiskSource {
  readonly size = SIZE;
  readonly #bytes = Buffer.alloc(SIZE);
  readonly wrong: string[] = [];

  async read(offset: number, views: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    for (const view of views) {
      this.#check("read", at, view.length);
      view.set(this.#bytes.subarray(at, at + view.length));
      at += view.length;
    }
  }

  async write(offset: number, views: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    for (const view of views) {
      this.#check("write", at, view.length);
      this.#bytes.set(view, at);
      at += view.length;
    }
  }

  discard(offset: number, length: number): void {
    this.#check("discard", offset, length);
  }

  extentAt(offset: number, length: number) {
    this.#check("extentAt", offset, length);
    return { length: Math.min(length, 65536 - (offset % 65536)), zero: offset % 131072 === 0, hole: false };
  }

  #check(what: string, offset: number, length: number): void {
    const isFine =
      offset >= 0 && length > 0 && offset % 512 === 0 && length % 512 === 0 && offset + length <= SIZE;
    if (!isFine) this.wrong.push(`${what} of ${length} at ${offset}`);
  }
}

/** What a client does all day. Each promise is settled when this returns; what is read may be anything. */
async function useDisk(disk: NbdDisk, next: () => number): Promise<unknown[]> {
  const guarded = Buffer.alloc(3 * 8192, 0xa5);
  const inner = guarded.subarray(8192, 16384);
  const ends = await Promise.allSettled([
    disk.read(512 * Math.floor(next() * 1000), [inner.subarray(0, 512), inner.subarray(512)]),
    disk.write(512 * Math.floor(next() * 1000), [Buffer.alloc(4096, 1), Buffer.alloc(1024, 2)]),
    disk.extentAt(0, SIZE),
    disk.writeZeroes(0, 8192, true),
    disk.discard(65536, 65536),
    disk.read(0, [Buffer.alloc(SIZE)]),
    disk.flush(),
  ]);
  const isUntouched = (bytes: Buffer) => bytes.every((byte) => byte === 0xa5);
  expect(isUntouched(guarded.subarray(0, 8192)) && isUntouched(guarded.subarray(16384))).toBe(true);
  return ends.flatMap((end) => (end.status === "rejected" ? [end.reason] : []));
}

test.each([
  ["the handshake", 200],
  ["replies", 20_000],
])(
  "a server that garbles %s costs the client the connection, and nothing else",
  async (_what, most) => {
    const disk = new StrictDisk();
    await using server = await serveNbd(disk, { path: peers.socket() });
    const target = "path" in server.place ? server.place.path : "";
    let failures = 0;
    for (let seed = 0; seed < ROUNDS; seed++) {
      const path = peers.socket();
      const proxy = new CorruptingProxy(path, target, "server", seed, most);
      const next = random(seed);
      try {
        const client = await connectNbd({ path }, { timeoutMs: 5000 });
        const reasons = await useDisk(client, next);
        for (const reason of reasons) expect(reason).toBeInstanceOf(NbdError);
        failures += reasons.length;
        await client.close();
      } catch (error) {
        expect(error).toBeInstanceOf(NbdError);
        failures++;
      }
      await proxy.close();
    }
    expect(failures).toBeGreaterThan(ROUNDS / 2);
    expect(disk.wrong).toEqual([]);
  },
  60_000,
);

test.each([
  ["the handshake", 100],
  ["requests", 3000],
])(
  "a client that garbles %s harms neither the disk nor other clients",
  async (_what, most) => {
    const disk = new StrictDisk();
    const errors: Error[] = [];
    const options = { path: peers.socket(), onClientError: (error: Error) => errors.push(error) };
    await using server = await serveNbd(disk, options);
    const good = await connectNbd({ path: options.path });
    for (let seed = 0; seed < ROUNDS; seed++) {
      const path = peers.socket();
      const proxy = new CorruptingProxy(path, options.path, "client", seed, most);
      try {
        const client = await connectNbd({ path }, { timeoutMs: 5000 });
        await useDisk(client, random(seed));
        await client.close();
      } catch (error) {
        expect(error).toBeInstanceOf(NbdError);
      }
      await proxy.close();
      const bytes = Buffer.alloc(512);
      await good.write(SIZE - 512, [Buffer.alloc(512, seed)]);
      await good.read(SIZE - 512, [bytes]);
      expect(bytes[0]).toBe(seed % 256);
    }
    await good.close();
    while (server.clients > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(errors.length).toBeGreaterThan(ROUNDS / 4);
    expect(disk.wrong).toEqual([]);
  },
  60_000,
);

const u16 = (value: number) => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const u64 = (value: number | bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};
const optionReply = (option: number, type: number, data = Buffer.alloc(0), length = data.length) =>
  Buffer.concat([u64(0x0003e889045565a9n), u32(option), u32(type), u32(length), data]);
const [STRUCTURED, META, GO] = [8, 10, 7];
const ACK = 1;
const greeting = Buffer.concat([Buffer.from("NBDMAGICIHAVEOPT"), u16(3)]);
const exportInfo = (size: number | bigint, flags = 0x6d) =>
  optionReply(GO, 3, Buffer.concat([u16(0), u64(size), u16(flags)]));
const blockInfo = (least: number, best: number, most: number) =>
  optionReply(GO, 3, Buffer.concat([u16(3), u32(least), u32(best), u32(most)]));
const context = optionReply(META, 4, Buffer.concat([u32(5), Buffer.from("base:allocation")]));
/** All that a client asks for, and its answers. */
const opened = Buffer.concat([
  greeting,
  optionReply(STRUCTURED, ACK),
  context,
  optionReply(META, ACK),
  exportInfo(SIZE),
  optionReply(GO, ACK),
]);

/** A server that sends this, whatever it receives, and more after a request. */
async function server(says: Buffer, replies: readonly ((cookie: Buffer) => Buffer)[] = []): Promise<string> {
  const path = peers.socket();
  const listener = createServer((socket: Socket) => {
    socket.on("error", () => {});
    socket.write(says);
    let heard = Buffer.alloc(0);
    const answers = [...replies];
    socket.on("data", (chunk) => {
      heard = Buffer.concat([heard, chunk]);
      const at = heard.lastIndexOf(u32(0x25609513));
      if (at >= 0 && heard.length >= at + 28) {
        const cookie = heard.subarray(at + 8, at + 16);
        heard = Buffer.alloc(0);
        for (const answer of answers.splice(0)) socket.write(answer(cookie));
      }
    });
  });
  servers.push(listener);
  await new Promise<void>((resolve) => listener.listen(path, resolve));
  return path;
}

const structured = [greeting, optionReply(STRUCTURED, ACK), optionReply(META, ACK)];

test.each<[string, Buffer[], RegExp]>([
  [
    "an option's reply of 4 GiB",
    [greeting, optionReply(STRUCTURED, ACK, undefined, 0xffffffff)],
    /a reply of 4294967295 bytes/,
  ],
  ["a reply to another option", [greeting, optionReply(GO, ACK)], /a reply to option 7 when asked 8/],
  ["another magic number", [greeting, Buffer.alloc(20)], /magic number/],
  [
    "endless information",
    [...structured, ...Array.from({ length: 100 }, () => exportInfo(SIZE))],
    /endless replies/,
  ],
  ["an export without a size", [...structured, optionReply(GO, ACK)], /without a size/],
  [
    "an export of 2^63 bytes",
    [...structured, exportInfo(2n ** 63n), optionReply(GO, ACK)],
    /more than vmexit can count/,
  ],
  [
    "an export without flags",
    [...structured, exportInfo(SIZE, 0), optionReply(GO, ACK)],
    /without HAS_FLAGS/,
  ],
  ["half an export", [...structured, optionReply(GO, 3, u16(0))], /INFO_EXPORT of another length/],
  [
    "blocks of 3 bytes",
    [...structured, exportInfo(SIZE), blockInfo(3, 4096, 2 ** 20), optionReply(GO, ACK)],
    /minimum block size of 3/,
  ],
  [
    "blocks of 0 bytes",
    [...structured, exportInfo(SIZE), blockInfo(0, 4096, 2 ** 20), optionReply(GO, ACK)],
    /minimum block size of 0/,
  ],
  [
    "blocks of 2 GiB",
    [...structured, exportInfo(SIZE), blockInfo(2 ** 31, 2 ** 31, 2 ** 31), optionReply(GO, ACK)],
    /minimum block size/,
  ],
  [
    "requests of no bytes",
    [...structured, exportInfo(SIZE), blockInfo(512, 512, 0), optionReply(GO, ACK)],
    /maximum block size of 0/,
  ],
  [
    "the oldstyle handshake",
    [Buffer.from("NBDMAGIC"), u64(0x00420281861253n), Buffer.alloc(136)],
    /oldstyle/,
  ],
  [
    "text with control characters",
    [...structured, optionReply(GO, 0x80000006, Buffer.from("\x1b[2Jno\n"))],
    /it says "\?\[2Jno\?"/,
  ],
])("a server with %s is refused", async (_what, says, why) => {
  const path = await server(Buffer.concat(says));
  await expect(connectNbd({ path }, { timeoutMs: 5000 })).rejects.toThrow(why);
});

const chunk = (cookie: Buffer, type: number, data: Buffer, flags = 1, length = data.length) =>
  Buffer.concat([u32(0x668e33ef), u16(flags), u16(type), cookie, u32(length), data]);
const DATA = 1;
const HOLE = 2;
const data = (at: number, length: number) => Buffer.concat([u64(at), Buffer.alloc(length, 7)]);
const hole = (at: number, length: number) => Buffer.concat([u64(at), u32(length)]);

test.each<[string, ((cookie: Buffer) => Buffer)[], RegExp]>([
  ["to what was not asked", [() => chunk(u64(99), DATA, data(4096, 1024))], /what was not asked/],
  [
    "twice",
    [(c) => Buffer.concat([chunk(c, DATA, data(4096, 1024)), chunk(c, DATA, data(4096, 1024))])],
    /^$/,
  ],
  ["before what was asked for", [(c) => chunk(c, DATA, data(3584, 1024))], /not asked for/],
  ["behind what was asked for", [(c) => chunk(c, DATA, data(4608, 1024))], /not asked for/],
  ["far behind", [(c) => chunk(c, HOLE, Buffer.concat([u64(2n ** 64n - 1n), u32(512)]))], /not asked for/],
  ["with a hole that is too large", [(c) => chunk(c, HOLE, hole(4096, 0xffffffff))], /not asked for/],
  [
    "with bytes that came already",
    [(c) => Buffer.concat([chunk(c, DATA, data(4096, 600), 0), chunk(c, HOLE, hole(4600, 520))])],
    /not asked for/,
  ],
  ["that lacks bytes", [(c) => chunk(c, DATA, data(4096, 1000))], /lacks bytes/],
  ["that is empty", [(c) => chunk(c, DATA, u64(4096))], /without bytes/],
  ["with no data at all", [(c) => chunk(c, 0, Buffer.alloc(0))], /lacks bytes/],
  ["of 4 GiB", [(c) => chunk(c, DATA, data(4096, 8), 1, 0xffffffff)], /not asked for/],
  ["with an endless error", [(c) => chunk(c, 0x8001, Buffer.alloc(6), 1, 0x7fffffff)], /an error of/],
  [
    "with an error that says another length",
    [(c) => chunk(c, 0x8001, Buffer.concat([u32(5), u16(40), Buffer.alloc(3)]))],
    /the length of an error/,
  ],
  ["with a block status", [(c) => chunk(c, 5, Buffer.concat([u32(5), u32(512), u32(0)]))], /not asked for/],
  [
    "of a simple kind",
    [(c) => Buffer.concat([u32(0x67446698), u32(0), c, Buffer.alloc(1024)])],
    /a simple reply/,
  ],
  ["of a kind that is none", [(c) => chunk(c, 77, Buffer.alloc(0))], /type 77/],
  ["that is not a reply", [() => Buffer.alloc(64, 0x20)], /magic number/],
])("a reply to a read %s ends the connection", async (what, replies, why) => {
  const disk = await connectNbd({ path: await server(opened, replies) });
  const bytes = Buffer.alloc(1024);
  const read = disk.read(4096, [bytes]);
  // The first of two answers is right, the second is one too many.
  if (what === "twice") await read;
  else await expect(read).rejects.toThrow(why);
  await expect(disk.read(0, [bytes])).rejects.toThrow(/the connection is lost/);
  await disk.close();
});

test("what comes after the disk was closed goes nowhere: the caller has its memory back", async () => {
  const half = (c: Buffer) => chunk(c, DATA, data(4096, 1024)).subarray(0, 20 + 8 + 512);
  const path = peers.socket();
  let late = () => {};
  const listener = createServer((socket: Socket) => {
    socket.on("error", () => {}).write(opened);
    late = () => socket.write(Buffer.alloc(512, 7));
    socket.on("data", (heard) => {
      const at = heard.lastIndexOf(u32(0x25609513));
      if (at >= 0 && heard.readUInt16BE(at + 6) === 0) {
        socket.pause().write(half(heard.subarray(at + 8, at + 16)));
      }
    });
  });
  servers.push(listener);
  await new Promise<void>((resolve) => listener.listen(path, resolve));
  const disk = await connectNbd({ path });
  const bytes = Buffer.alloc(1024, 1);
  const read = expect(disk.read(4096, [bytes])).rejects.toMatchObject({ code: "EIO" });
  while (bytes[511] !== 7) await new Promise((resolve) => setTimeout(resolve, 1));
  // Nobody reads it over there, so that the goodbye behind it is not out at once.
  const write = expect(disk.write(0, [Buffer.alloc(SIZE)])).rejects.toMatchObject({ code: "EIO" });
  const closed = disk.close();
  await read;
  late();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(bytes.subarray(512).equals(Buffer.alloc(512, 1))).toBe(true);
  await closed;
  await write;
});

test("chunks may come in any order, with holes between, and an error among them", async () => {
  const parts = (c: Buffer) =>
    Buffer.concat([
      chunk(c, DATA, data(4096 + 512, 256), 0),
      chunk(c, HOLE, hole(4096 + 768, 256), 0),
      chunk(c, DATA, data(4096, 512), 0),
      chunk(c, 0, Buffer.alloc(0)),
    ]);
  const disk = await connectNbd({ path: await server(opened, [parts]) });
  const bytes = Buffer.alloc(1024, 1);
  await disk.read(4096, [bytes.subarray(0, 700), bytes.subarray(700)]);
  expect(bytes.equals(Buffer.concat([Buffer.alloc(768, 7), Buffer.alloc(256)]))).toBe(true);
  await disk.close();

  const failing = (c: Buffer) =>
    Buffer.concat([
      chunk(c, DATA, data(4096, 512), 0),
      chunk(c, 0x8002, Buffer.concat([u32(28), u16(2), Buffer.from("no"), u64(4608)])),
    ]);
  const other = await connectNbd({ path: await server(opened, [failing]) });
  await expect(other.read(4096, [bytes])).rejects.toMatchObject({
    code: "ENOSPC",
    message: expect.stringContaining('"no"'),
  });
  await other.close();
});

test.each<[string, Buffer, RegExp]>([
  ["of another context", Buffer.concat([u32(6), u32(512), u32(0)]), /another context/],
  ["of no bytes", Buffer.concat([u32(5), u32(0), u32(0)]), /no bytes/],
  ["that is cut off", Buffer.concat([u32(5), u32(512)]), /8 bytes/],
])("a block status %s ends the connection", async (_what, status, why) => {
  const disk = await connectNbd({ path: await server(opened, [(c) => chunk(c, 5, status)]) });
  await expect(disk.extentAt(0, 4096)).rejects.toThrow(why);
  await disk.close();
});

test("a block status of more than was asked for is cut to that", async () => {
  const status = Buffer.concat([u32(5), u32(0xffffffff), u32(3)]);
  const disk = await connectNbd({ path: await server(opened, [(c) => chunk(c, 5, status)]) });
  expect(await disk.extentAt(512, 4096)).toEqual({ length: 4096, zero: true, hole: true });
  await disk.close();
});
