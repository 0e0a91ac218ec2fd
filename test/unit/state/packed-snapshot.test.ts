import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { packSnapshot, unpackSnapshot } from "../../../src/state/packed-snapshot.ts";
import { SnapshotError } from "../../../src/state/snapshot-error.ts";
import { random } from "../../support/random.ts";

const base = mkdtempSync(join(tmpdir(), "vmexit-packed-"));
afterAll(() => rmSync(base, { recursive: true }));

let made = 0;
function folder(): string {
  const path = join(base, String(made++));
  mkdirSync(path);
  return path;
}

/** A RAM of 1 MiB with a page here and there, and two small files. */
function snapshot(): string {
  const path = folder();
  const ram = new Uint8Array(1 << 20);
  for (const page of [0, 3, 100, 255]) ram.fill(page + 1, 4096 * page, 4096 * (page + 1));
  writeFileSync(join(path, "ram"), "");
  truncateSync(join(path, "ram"), ram.length);
  writeFileSync(join(path, "ram"), ram, { flag: "r+" });
  writeFileSync(join(path, "machine.json"), "{}");
  writeFileSync(join(path, "state"), Uint8Array.of(1, 2, 3));
  return path;
}

function pack(): { from: string; path: string } {
  const from = snapshot();
  const path = join(base, `${made++}.packed`);
  packSnapshot(from, path);
  return { from, path };
}

test("what was packed comes out, byte for byte", () => {
  const { from, path } = pack();
  const to = folder();
  unpackSnapshot(path, to, "image");
  expect(readdirSync(to)).toEqual(readdirSync(from));
  for (const name of readdirSync(from)) {
    expect(Buffer.compare(readFileSync(join(to, name)), readFileSync(join(from, name))), name).toBe(0);
  }
});

test.each<[string, (bytes: Buffer) => void, RegExp]>([
  ["another program's state", (bytes) => bytes.write("QEVM"), /^image: its VM state is not of vmexit/],
  ["a later format", (bytes) => bytes.writeUInt32LE(2, 8), /its VM state has format 2/],
  ["a name outside of the folder", (bytes) => bytes.write("../r", bytes.indexOf('"ram"')), /was altered/],
  ["a run beyond the end", (bytes) => bytes.write('"size":1,  ', bytes.indexOf('"size":1048576')), /altered/],
])("%s is refused, and nothing is written", (_, alter, message) => {
  const { path } = pack();
  const bytes = readFileSync(path);
  alter(bytes);
  writeFileSync(path, bytes);
  const to = folder();
  expect(() => unpackSnapshot(path, to, "image")).toThrow(message);
  expect(readdirSync(to)).toEqual([]);
});

test("fuzz: any bytes in its head are unpacked, or refused in a sentence", () => {
  const { path } = pack();
  const whole = readFileSync(path);
  const next = random(3);
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(whole);
    for (let n = 0; n < 3; n++) bytes[Math.floor(next() * 300)] = next() * 256;
    writeFileSync(path, bytes);
    const to = folder();
    try {
      unpackSnapshot(path, to, "image");
    } catch (error) {
      expect(error).toBeInstanceOf(SnapshotError);
    }
    for (const name of readdirSync(to)) expect(name).toMatch(/^(machine\.json|state|ram|drive\d+\.qcow2)$/);
    rmSync(to, { recursive: true });
  }
});
