import { expect, test } from "vitest";
import { bytesOfText, textOfBytes } from "../../../src/base/byte-text.ts";

test.each([
  ["plain", "disk.img", [...Buffer.from("disk.img")]],
  ["UTF-8", "größe-盘.img", [...Buffer.from("größe-盘.img")]],
  ["a byte order mark is part of a name", "\ufeffa", [0xef, 0xbb, 0xbf, 0x61]],
  ["Latin-1", "b\udcf6.raw", [0x62, 0xf6, 0x2e, 0x72, 0x61, 0x77]],
  ["a sequence that ends too early", "\udce4\udcb8/", [0xe4, 0xb8, 0x2f]],
  ["an overlong slash", "\udcc0\udcaf", [0xc0, 0xaf]],
  ["a surrogate in UTF-8", "\udced\udcb3\udcb6", [0xed, 0xb3, 0xb6]],
  ["the replacement character itself", "\ufffd", [0xef, 0xbf, 0xbd]],
  ["beyond the basic plane", "😀\udcff", [0xf0, 0x9f, 0x98, 0x80, 0xff]],
])("%s: bytes and text are exchanged exactly", (_, text, bytes) => {
  expect(textOfBytes(Uint8Array.from(bytes))).toBe(text);
  expect([...bytesOfText(text)]).toEqual(bytes);
});

test("every pair of bytes comes back as it was", () => {
  const pair = new Uint8Array(2);
  for (let value = 0; value < 65536; value++) {
    pair.set([value >> 8, value & 0xff]);
    expect(Buffer.compare(bytesOfText(textOfBytes(pair)), pair)).toBe(0);
  }
});

test("half a character that stands for no byte is refused, and never changed", () => {
  expect(() => bytesOfText("a\ud800")).toThrow(RangeError);
  expect(() => bytesOfText("a\udc00")).toThrow(RangeError);
});
