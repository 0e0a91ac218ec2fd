/** Networks that a program makes of parts: a switch, frames, a capture, and requests to a guest. */
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { CaptureFile, captured } from "../../../src/net/capture.ts";
import { FrameCompleter } from "../../../src/net/complete-frame.ts";
import { FramePort } from "../../../src/net/frame-port.ts";
import { type GuestLink, NO_OFFLOAD, type Offload } from "../../../src/net/link.ts";
import { NetworkSwitch } from "../../../src/net/network-switch.ts";
import { get16, get32, put16, put32 } from "../../../src/net/user/bytes.ts";
import { addWords, checksumOf, fold } from "../../../src/net/user/checksum.ts";
import { Packet } from "../../../src/net/user/packet.ts";
import { UserNet } from "../../../src/net/user/user-net.ts";
import { canTap, runBehind } from "../../support/tap-peer.ts";

const closers: (() => unknown)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

function guestEnd(accepts = 0) {
  const frames: { bytes: Uint8Array; offload: Offload }[] = [];
  const link: GuestLink = {
    accepts,
    mtu: 1500,
    send: (head, body, offload = NO_OFFLOAD) => {
      frames.push({
        bytes: Buffer.concat(body === undefined ? [head] : [head, body]),
        offload: { ...offload },
      });
      return true;
    },
  };
  return { link, frames };
}

function ethernet(to: number, from: number, text = "data"): Uint8Array {
  return Uint8Array.from([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5, ...Buffer.from(text)]);
}

/** One TCP segment of 4000 bytes, as a guest leaves it to its card. */
function longSegment() {
  const frame = new Uint8Array(54 + 4000);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
  put16(frame, 16, 4040);
  put16(frame, 18, 7);
  frame.set([64, 6], 22);
  frame.set([10, 0, 0, 1, 10, 0, 0, 2], 26);
  put16(frame, 24, checksumOf(addWords(frame, 14, 34, 0)));
  put16(frame, 34, 1000);
  put16(frame, 36, 2000);
  put32(frame, 38, 0xffff_fff0);
  frame.set([0x50, 0x19], 46);
  for (let n = 54; n < frame.length; n++) frame[n] = n;
  put16(frame, 50, fold(addWords(frame, 26, 34, 6 + 4020)));
  const offload: Offload = {
    needsChecksum: 1,
    checksumStart: 34,
    checksumOffset: 16,
    gsoType: 1,
    gsoSize: 1448,
    headerLength: 54,
  };
  return { frame, offload };
}

test("a long TCP segment becomes complete ones: sequence, flags and checksums are right", () => {
  const { frame, offload } = longSegment();
  const packet = new Packet();
  const seen: string[] = [];
  const bytes: number[] = [];
  new FrameCompleter().complete(frame, offload, (each) => {
    expect(packet.parse(each, false)).toBe(true);
    seen.push(`${packet.sequence} ${packet.dataBytes} ${packet.flags} ${get16(each, 18)}`);
    bytes.push(...each.subarray(packet.dataStart, packet.end));
  });
  expect(seen).toEqual(["-16 1448 16 7", "1432 1448 16 8", "2880 1104 25 9"]);
  expect(Buffer.from(bytes).equals(frame.subarray(54))).toBe(true);
});

test("a checksum that was left to the receiver is completed", () => {
  const { frame } = longSegment();
  const short = frame.slice(0, 100);
  put16(short, 16, 86);
  put16(short, 24, 0);
  put16(short, 24, checksumOf(addWords(short, 14, 34, 0)));
  put16(short, 50, fold(addWords(short, 26, 34, 6 + 66)));
  const frames: boolean[] = [];
  const offload: Offload = { ...NO_OFFLOAD, needsChecksum: 1, checksumStart: 34, checksumOffset: 16 };
  new FrameCompleter().complete(short, offload, (each) => frames.push(new Packet().parse(each, false)));
  expect(frames).toEqual([true]);
});

test("a frame whose offload makes no sense is dropped", () => {
  const { frame, offload } = longSegment();
  const completer = new FrameCompleter();
  const emit = () => expect.unreachable();
  completer.complete(frame, { ...offload, gsoSize: 0 }, emit);
  completer.complete(frame.subarray(0, 40), offload, emit);
  completer.complete(frame, { ...offload, gsoType: 0, checksumStart: 60_000 }, emit);
});

test("a switch learns where a machine is, and leaves offloads to guests that accept them", async () => {
  const net = new NetworkSwitch();
  const [a, b, c] = [guestEnd(), guestEnd(3), guestEnd()];
  const [portA, portB] = await Promise.all([a, b, c].map(({ link }) => net.plug(link)));
  portA.input(ethernet(2, 1), NO_OFFLOAD);
  expect([a, b, c].map(({ frames }) => frames.length)).toEqual([0, 1, 1]);
  portB.input(ethernet(1, 2), NO_OFFLOAD);
  portA.input(ethernet(2, 1), NO_OFFLOAD);
  expect([a, b, c].map(({ frames }) => frames.length)).toEqual([1, 2, 1]);
  const { frame, offload } = longSegment();
  portA.input(frame, offload);
  expect(b.frames[2]).toEqual({ bytes: Buffer.from(frame), offload });
  frame.set([2, 0, 0, 0, 0, 1], 0);
  frame.set([2, 0, 0, 0, 0, 2], 6);
  portB.input(frame, offload);
  expect(a.frames.length).toBe(4); // three segments
  await portB.close();
  portA.input(ethernet(2, 1), NO_OFFLOAD);
  expect(c.frames.length).toBe(2); // b's place is forgotten
});

test("machines on a switch share a user network", async () => {
  const net = new NetworkSwitch();
  await net.uplink(new UserNet().plug);
  const [a, b] = [guestEnd(), guestEnd()];
  const [port] = await Promise.all([net.plug(a.link), net.plug(b.link)]);
  const ask = [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
  port.input(
    Uint8Array.from([...ask, 2, 0, 0, 0, 0, 1, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]),
    NO_OFFLOAD,
  );
  expect(Array.from(a.frames[0].bytes.subarray(0, 12))).toEqual([2, 0, 0, 0, 0, 1, 0x52, 0x55, 10, 0, 2, 2]);
  expect(b.frames.length).toBe(1); // the question
  await net.close();
});

test("frames of a guest are iterated over, and any is sent to it", async () => {
  const port = new FramePort();
  const { link, frames } = guestEnd();
  const network = await port.plug(link);
  network.input(ethernet(2, 1, "first"), NO_OFFLOAD);
  network.input(ethernet(2, 1, "second"), NO_OFFLOAD);
  const seen: string[] = [];
  const reading = (async () => {
    for await (const frame of port) seen.push(Buffer.from(frame.subarray(14)).toString());
  })();
  await port.sendAll([ethernet(1, 2, "answer")]);
  await network.close();
  await reading;
  expect(seen).toEqual(["first", "second"]);
  expect(frames.length).toBe(1);
});

test("a capture has each frame, its direction and its time", async () => {
  const folder = mkdtempSync(join(tmpdir(), "capture-"));
  closers.push(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "net.pcapng");
  const { link } = guestEnd();
  const port = new FramePort();
  const network = await captured(port.plug, new CaptureFile(path))(link);
  network.input(ethernet(2, 1, "to the network"), NO_OFFLOAD);
  port.send(ethernet(1, 2, "to the guest"));
  await network.close();
  const file = readFileSync(path);
  const blocks: Buffer[] = [];
  for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4)) {
    const length = file.readUInt32LE(at + 4);
    expect(file.readUInt32LE(at + length - 4)).toBe(length);
    blocks.push(file.subarray(at, at + length));
  }
  expect(blocks.map((block) => block.readUInt32LE(0))).toEqual([0x0a0d0d0a, 1, 6, 6]);
  const [out, into] = blocks.slice(2);
  expect(out.subarray(28, 28 + out.readUInt32LE(20))).toEqual(Buffer.from(ethernet(2, 1, "to the network")));
  expect([out.readUInt32LE(out.length - 12), into.readUInt32LE(into.length - 12)]).toEqual([2, 1]);
  const microseconds = out.readUInt32LE(12) * 2 ** 32 + out.readUInt32LE(16);
  expect(Math.abs(microseconds / 1000 - Date.now())).toBeLessThan(60_000);
  expect(get32(file, 8) >>> 0).toBe(0x4d3c2b1a);
});

test.skipIf(!canTap)("fetch reaches an HTTP server in the guest, by a forward too", async () => {
  const net = new UserNet();
  const answers: Promise<string>[] = [];
  await runBehind(net.plug, ["python3", "-c", SERVER], {
    printed: (line) => {
      if (line !== "listening") return;
      const body = "x".repeat(100_000);
      answers.push(
        net.fetch("http://guest:8000/a?b", { method: "POST", body }).then((response) => response.text()),
        net
          .forward(0, 8000)
          .then(async ({ hostPort }) => (await fetch(`http://127.0.0.1:${hostPort}/c`)).text()),
      );
    },
  });
  expect(await Promise.all(answers)).toEqual(["POST /a?b 100000", "GET /c 0"]);
});

test.skipIf(!canTap)(
  "a server that knows no chunks gets the length of a body; one that resets closes the stream",
  async () => {
    const net = new UserNet();
    const answers: Promise<unknown>[] = [];
    const request = { method: "POST", body: "x".repeat(1_000_000) };
    await runBehind(net.plug, ["python3", "-c", PLAIN_SERVER], {
      printed: (line) => {
        if (line !== "listening") return;
        answers.push(
          net.fetch("http://guest:8000/", request).then((response) => response.text()),
          net.fetch("http://guest:8001/", request).catch(({ code }) => code),
          net.connect(8002).then((stream) => once(stream, "close").then(() => "closed")),
        );
      },
    });
    expect(await Promise.all(answers)).toEqual(["got 1000000", "ECONNRESET", "closed"]);
  },
);

/** Reads what Content-Length says at 8000; 8001 resets with a request unread, and 8002 at once. */
const PLAIN_SERVER = `
import re, socket, struct
servers = [socket.create_server(("10.0.2.15", port)) for port in (8000, 8001, 8002)]
print("listening", flush=True)
plain, unread, resetting = [server.accept()[0] for server in servers]
resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
resetting.close()
unread.recv(10)
unread.close()
data = b""
while b"\\r\\n\\r\\n" not in data:
    data += plain.recv(65536)
head, body = data.split(b"\\r\\n\\r\\n", 1)
length = re.search(rb"content-length: (\\d+)", head, re.I)
length = int(length.group(1)) if length else 0
while len(body) < length:
    body += plain.recv(65536)
plain.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\ngot %d" % len(body))
plain.close()
`;

const SERVER = `
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size) if size else b""
        while "chunked" in self.headers.get("transfer-encoding", ""):
            part = self.rfile.read(int(self.rfile.readline(), 16) + 2)[:-2]
            if not part:
                break
            body += part
        text = ("%s %s %d" % (self.command, self.path, len(body))).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_POST = answer
    def log_message(self, *rest):
        pass
server = http.server.HTTPServer(("10.0.2.15", 8000), Handler)
print("listening", flush=True)
server.handle_request()
server.handle_request()
`;
