import { expect, test } from "vitest";
import { decodeSections, encodeSections, type Section } from "../../../src/state/sections.ts";
import { SnapshotError } from "../../../src/state/snapshot-error.ts";
import { random } from "../../support/random.ts";

const SECTIONS: Section[] = [
  { name: "clock", version: 1, bytes: Uint8Array.of(1, 2, 3) },
  { name: "part/com1/uart16550", version: 3, bytes: new Uint8Array(32).fill(0x5a) },
  { name: "empty", version: 1, bytes: new Uint8Array() },
];

/** Seeds that found something once. */
const FOUND: readonly number[] = [];
const ROUNDS = 2000;

test("sections come back with their names, versions and bytes, in order", () => {
  expect([...decodeSections(encodeSections(SECTIONS), "state").values()]).toEqual(SECTIONS);
});

test("a name is 1 to 255 bytes", () => {
  const bytes = new Uint8Array();
  const long = { name: "n".repeat(255), version: 1, bytes };
  expect([...decodeSections(encodeSections([long]), "state").values()]).toEqual([long]);
  for (const name of ["", "n".repeat(256)]) {
    expect(() => encodeSections([{ name, version: 1, bytes }])).toThrow(RangeError);
  }
});

test("a file that was cut short anywhere is refused by name", () => {
  const file = encodeSections(SECTIONS);
  for (let length = 0; length < file.length; length++) {
    expect(() => decodeSections(file.subarray(0, length), "dir/state")).toThrow(/^dir\/state: /);
  }
});

test("a changed byte is found wherever it is, except in padding", () => {
  const file = encodeSections(SECTIONS);
  const unseen: number[] = [];
  for (let at = 0; at < file.length; at++) {
    try {
      expect([...decodeSections(file.with(at, file[at] ^ 0x10), "state").values()]).toEqual(SECTIONS);
      unseen.push(at);
    } catch (error) {
      expect(error).toBeInstanceOf(SnapshotError);
    }
  }
  // The unused word of the header, and what fills each name and each content up to 8 bytes.
  expect(unseen.length).toBe(4 + (3 + 5) + (5 + 0) + (3 + 0) + 5);
});

test("another format is named, and so is what follows the end", () => {
  const file = encodeSections(SECTIONS);
  expect(() => decodeSections(file.with(8, 9), "state")).toThrow(
    "its format is 9; this version of vmexit reads formats 1 and 2",
  );
  expect(() => decodeSections(Buffer.concat([file, file]), "state")).toThrow(/after its end/);
  const twice = encodeSections([SECTIONS[0], SECTIONS[0]]);
  expect(() => decodeSections(twice, "state")).toThrow('it has two sections "clock"');
});

test("fuzz: a damaged file is read as it was, or refused", () => {
  const file = encodeSections(SECTIONS);
  const seeds = [...FOUND, ...Array.from({ length: ROUNDS }, (_, n) => n)];
  let refused = 0;
  for (const seed of seeds) {
    const next = random(seed);
    const damaged = file.slice(0, next() < 0.2 ? next() * file.length : file.length);
    for (let n = 0; n < 1 + next() * 8; n++) damaged[Math.floor(next() * damaged.length)] = next() * 256;
    try {
      decodeSections(damaged, "state");
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw new Error(`seed ${seed}`, { cause: error });
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(0.9 * seeds.length);
});
