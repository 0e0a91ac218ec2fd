import { once } from "node:events";
import { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { SerialPort } from "../../../src/vm/serial-port.ts";
import { ConsoleGuest, pattern } from "../../support/console-guest.ts";

const MIB = 2 ** 20;

function machine(options: { capacity?: number } = {}) {
  const serial = new SerialPort("vm serial0");
  return { serial, guest: new ConsoleGuest(serial, options).plug() };
}

/** Collects all that a stream gives until it ends. */
async function collect(serial: SerialPort): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of serial) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Reads at its own pace, a small piece at a time. */
function slowWritable(into: Buffer[], delay: () => Promise<unknown>): Writable {
  return new Writable({
    highWaterMark: 1024,
    write(chunk, _encoding, done) {
      into.push(chunk);
      void delay().then(() => done());
    },
  });
}

test("what the guest sends is read, whole and in order, and then the stream ends", async () => {
  const { serial, guest } = machine();
  const sent = pattern(300_000);
  const read = collect(serial);
  await guest.sendAll(sent);
  serial.finish();
  expect(Buffer.compare(await read, sent)).toBe(0);
  expect(serial.bytesOut).toBe(sent.length);
  expect(serial.dropped).toBe(0);
});

test("a reader slower than the guest loses nothing", async () => {
  const { serial, guest } = machine();
  const sent = pattern(600_000);
  const chunks: Buffer[] = [];
  const piped = pipeline(
    serial,
    slowWritable(chunks, () => new Promise((resolve) => setImmediate(resolve))),
  );
  await guest.sendAll(sent);
  serial.finish();
  await piped;
  expect(Buffer.compare(Buffer.concat(chunks), sent)).toBe(0);
});

test("a reader that stops holds the guest, with a bounded number of bytes on the way", async () => {
  const { serial, guest } = machine();
  let delivered = 0;
  let goOn = () => {};
  const stopped = new Writable({
    highWaterMark: 1,
    write(chunk, _encoding, done) {
      delivered += chunk.length;
      goOn = done;
    },
  });
  serial.pipe(stopped);
  const sent = pattern(MIB);
  const all = guest.sendAll(sent);
  await guest.held();
  expect(serial.bytesOut - delivered).toBeLessThan(512 * 1024);

  stopped.removeAllListeners("drain");
  serial.unpipe(stopped);
  goOn();
  const rest = collect(serial);
  await all;
  serial.finish();
  expect(delivered + (await rest).length).toBe(sent.length);
});

test("bytes one at a time arrive like any others", async () => {
  const { serial, guest } = machine();
  const read = collect(serial);
  const sent = pattern(200);
  for (const byte of sent) {
    expect(guest.send(Uint8Array.of(byte))).toBe(1);
    if (byte % 3 === 0) await sleep(1);
  }
  serial.finish();
  expect(Buffer.compare(await read, sent)).toBe(0);
});

test("a guest that nobody reads runs on; the newest MiB is kept and the rest counted", async () => {
  const { serial, guest } = machine({ capacity: 1 << 16 });
  const sent = pattern(MIB + 300_000);
  await guest.sendAll(sent);
  serial.drainAll();
  expect(serial.dropped).toBe(300_000);
  serial.finish();
  expect(Buffer.compare(await collect(serial), sent.subarray(300_000))).toBe(0);
});

test("a guest that nobody reads and that sends a byte at a time leaves few pieces, not one for each byte", async () => {
  const serial = new SerialPort("vm serial0");
  const sent = pattern(100_000);
  let taken = 0;
  const oneByOne = {
    take(into: Uint8Array) {
      if (taken === sent.length) return 0;
      into[0] = sent[taken++];
      return 1;
    },
    arm: () => true,
  };
  serial.plug(oneByOne);
  serial.drainAll();
  serial.finish();
  const pieces: Buffer[] = [];
  for await (const piece of serial) pieces.push(piece);
  expect(pieces.length).toBeLessThan(100);
  expect(Buffer.compare(Buffer.concat(pieces), sent)).toBe(0);
});

test("a guest that never stops talking leaves the program time for other things", async () => {
  const endless = { take: (into: Uint8Array) => into.subarray(0, 100).fill(46).length, arm: () => false };
  const unread = new SerialPort("vm serial0");
  unread.plug(endless);
  const read = new SerialPort("vm serial1").resume();
  read.plug(endless);
  await expect(unread.waitFor("stop", { timeoutMs: 20 })).rejects.toMatchObject({ code: "ETIMEDOUT" });
  await sleep(20);
  for (const serial of [unread, read]) {
    expect(serial.bytesOut).toBeGreaterThan(0);
    serial.plug({ take: () => 0, arm: () => true });
    serial.finish();
  }
});

test("a reader that comes late gets what was kept, and then everything", async () => {
  const { serial, guest } = machine();
  await guest.sendAll(pattern(10_000));
  await sleep(10);
  const read = collect(serial);
  await guest.sendAll(pattern(10_000));
  serial.finish();
  expect(Buffer.compare(await read, Buffer.concat([pattern(10_000), pattern(10_000)]))).toBe(0);
});

test("what is still in the ring when the machine ends is delivered", async () => {
  const { serial, guest } = machine();
  guest.send("last words");
  serial.finish();
  expect((await collect(serial)).toString()).toBe("last words");
});

test("the stream ends once, however often the machine says that it ended", async () => {
  const { serial, guest } = machine();
  let ends = 0;
  serial.on("end", () => ends++);
  let text = "";
  serial.on("data", (chunk) => {
    text += chunk;
  });
  guest.send("bye");
  serial.finish();
  serial.finish();
  await sleep(10);
  expect({ ends, text }).toEqual({ ends: 1, text: "bye" });
});

test("a machine that ends without a word ends the stream too", async () => {
  const { serial } = machine();
  const read = collect(serial);
  serial.finish();
  expect((await read).length).toBe(0);
});

test("nothing that happens after the end disturbs a closed stream", async () => {
  const { serial, guest } = machine();
  const errors: Error[] = [];
  serial.on("error", (error) => errors.push(error));
  serial.resume();
  guest.send("a");
  serial.finish();
  await once(serial, "end");
  guest.send("b");
  serial.wake();
  serial.drainAll();
  serial.receiverReady();
  await sleep(10);
  expect(errors).toEqual([]);
});

test("draining for the machine's end takes everything, also past a reader that does not read", async () => {
  const { serial, guest } = machine({ capacity: 1 << 16 });
  serial.once("readable", () => {}); // attached, and never reads
  await sleep(5);
  const sent = pattern(400_000);
  const all = guest.sendAll(sent);
  await guest.held();
  const timer = setInterval(() => serial.drainAll(), 1);
  await all;
  clearInterval(timer);
  serial.finish();
  expect(Buffer.compare(await collect(serial), sent)).toBe(0);
});

test("a reader that breaks off does not hold the guest, and waitFor goes on", async () => {
  const { serial, guest } = machine();
  guest.send("first");
  for await (const chunk of serial) {
    expect(chunk.toString()).toBe("first");
    break; // Node destroys the stream
  }
  expect(serial.destroyed).toBe(true);
  await guest.sendAll(pattern(500_000));
  await guest.sendAll(Buffer.from("\r\nlogin: "));
  await serial.waitFor("login: ", { timeoutMs: 3_000 });
  expect(serial.bytesOut - serial.dropped).toBe(5);
  serial.finish();
});

test("a reader that gives up while the guest is held lets it go", async () => {
  const { serial, guest } = machine();
  serial.once("readable", () => {}); // attached, and never reads
  await sleep(5);
  const all = guest.sendAll(pattern(400_000));
  await guest.held();
  serial.destroy();
  await all;
  serial.finish();
  expect(serial.bytesOut).toBe(400_000);
});

test("a data handler that reads for itself finds text in the order it was sent", async () => {
  const { serial, guest } = machine({ capacity: 1 << 17 });
  serial.on("data", () => {
    serial.read();
  });
  await sleep(5);
  let text = "";
  serial.onText = (more) => {
    text += more;
  };
  const sent = Array.from({ length: 20_000 }, (_, i) => String(i).padStart(6)).join("");
  guest.send(sent);
  await sleep(20);
  expect(text === sent).toBe(true);
});

test("after a reset the new machine talks on the same stream", async () => {
  const { serial, guest } = machine();
  const read = collect(serial);
  guest.send("before ");
  serial.drainAll();
  const again = new ConsoleGuest(serial);
  again.send("early "); // before anybody listens
  again.plug();
  await sleep(5);
  again.send("after");
  await sleep(5);
  guest.send("a ghost");
  serial.finish();
  expect((await read).toString()).toBe("before early after");
});

test("after a reset a reader that lags still holds the guest and loses nothing", async () => {
  const { serial, guest } = machine();
  const chunks: Buffer[] = [];
  serial.pipe(slowWritable(chunks, () => new Promise((resolve) => setImmediate(resolve))));
  const all = [];
  await guest.sendAll(pattern(200_000));
  all.push(pattern(200_000));
  serial.drainAll();
  const again = new ConsoleGuest(serial).plug();
  await again.sendAll(pattern(200_000));
  all.push(pattern(200_000));
  const ended = new Promise((resolve) => serial.once("end", resolve));
  serial.finish();
  await ended;
  await sleep(20);
  expect(Buffer.compare(Buffer.concat(chunks), Buffer.concat(all))).toBe(0);
});

test("text that watches the console gets whole characters, however the bytes were cut", async () => {
  const { serial, guest } = machine();
  const pieces: string[] = [];
  serial.onText = (text) => pieces.push(text);
  for (const byte of Buffer.from("größe €5 🙂\n")) {
    guest.send(Uint8Array.of(byte));
    serial.drainAll();
  }
  expect(pieces.join("")).toBe("größe €5 🙂\n");
  expect(pieces.join("")).not.toContain("\ufffd");
});
