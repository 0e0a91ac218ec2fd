import { expect, test } from "vitest";
import { decodeRuns, encodeRuns, runsOf, runsOfBitmap } from "../../../src/state/page-runs.ts";
import { random } from "../../support/random.ts";

const PAGE = 4096;

test("runs of a bitmap are those of its pages, whatever is set", () => {
  const next = random(21);
  for (let round = 0; round < 500; round++) {
    const density = next();
    const words = Uint32Array.from({ length: 1 + Math.floor(next() * 6) }, () => {
      if (next() < 0.3) return next() < 0.5 ? 0 : 0xffff_ffff;
      let word = 0;
      for (let bit = 0; bit < 32; bit++) if (next() < density) word |= 1 << bit;
      return word;
    });
    const expected = runsOf(words.length * 32, (page) => ((words[page >> 5] >>> (page & 31)) & 1) === 1);
    expect(runsOfBitmap(words)).toEqual(expected);
    expect(decodeRuns(encodeRuns(expected), words.length * 32 * PAGE, "state")).toEqual(expected);
  }
});

test.each([
  ["half a run", new Uint8Array(4)],
  ["an empty run", encodeRuns([[1, 0]])],
  [
    "runs that overlap",
    encodeRuns([
      [1, 3],
      [3, 1],
    ]),
  ],
  [
    "runs in no order",
    encodeRuns([
      [5, 1],
      [1, 1],
    ]),
  ],
  ["a run that ends behind the RAM", encodeRuns([[15, 2]])],
  ["a run that begins far behind it", encodeRuns([[0xffff_ffff, 0xffff_ffff]])],
])("%s is refused", (_, bytes) => {
  expect(() => decodeRuns(bytes, 16 * PAGE, "dir/state")).toThrow(/^dir\/state: the list of the pages/);
});
