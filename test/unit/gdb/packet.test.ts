import { expect, test } from "vitest";
import { frame, type Incoming, MAX_PACKET, PacketReader } from "../../../src/gdb/packet.ts";
import { random } from "../../support/random.ts";

const bytes = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const text = (data: Uint8Array) => String.fromCharCode(...data);
const read = (data: string, reader = new PacketReader()): Incoming[] => [...reader.push(bytes(data))];

test("a packet is a dollar sign, its body, and the sum of its bytes", () => {
  expect(text(frame("OK"))).toBe("$OK#9a"); // the manual's own example
  expect(text(frame(""))).toBe("$#00");
});

test("characters of the framing are escaped, and so arrive", () => {
  expect(text(frame("a$b#c}d*e"))).toBe("$a}\x04b}\x03c}]d}\x0ae#51");
  const every = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join("");
  expect(read(text(frame(every)))).toEqual([{ kind: "packet", body: every }]);
});

test("acknowledgements, Ctrl-C and packets are distinguished, whatever comes between", () => {
  expect(read("+-\x03noise$g#67")).toEqual([
    { kind: "ack" },
    { kind: "nack" },
    { kind: "interrupt" },
    { kind: "packet", body: "g" },
  ]);
});

test("bytes 0x03, + and - inside of a packet are its own", () => {
  const body = "X0,3:\x03+-";
  expect(read(text(frame(body)))).toEqual([{ kind: "packet", body }]);
});

test("a packet may come in pieces of any size", () => {
  const reader = new PacketReader();
  const pieces = [...text(frame("m1000,4"))].flatMap((byte) => read(byte, reader));
  expect(pieces).toEqual([{ kind: "packet", body: "m1000,4" }]);
});

test.each(["$g#68", "$g#6", "$g#zz", "$g#+7"])("%s is not a complete packet", (data) => {
  const seen = read(`${data}x`);
  expect(seen.filter(({ kind }) => kind === "packet")).toEqual([]);
});

test("a packet that begins anew drops what there was", () => {
  expect(read("$m10$g#67")).toEqual([{ kind: "packet", body: "g" }]);
});

test("the longest packet is taken, one byte more is damage, and the next is read again", () => {
  const longest = "A".repeat(MAX_PACKET);
  expect(read(text(frame(longest)))).toEqual([{ kind: "packet", body: longest }]);
  expect(read(text(frame(`${longest}A`)) + text(frame("g")))).toEqual([
    { kind: "damaged" },
    { kind: "packet", body: "g" },
  ]);
});

test("noise of any kind neither throws nor is kept", () => {
  const next = random(7);
  const reader = new PacketReader();
  for (let turn = 0; turn < 200; turn++) {
    const noise = Uint8Array.from({ length: 1000 }, () => Math.floor(next() * 256));
    for (const incoming of reader.push(noise)) {
      if (incoming.kind === "packet") expect(incoming.body.length).toBeLessThanOrEqual(MAX_PACKET);
    }
  }
  // Whatever it was in, two ends and a fresh packet come through.
  expect(read("#00#00$g#67", reader).at(-1)).toEqual({ kind: "packet", body: "g" });
});
