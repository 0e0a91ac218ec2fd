import { expect, test } from "vitest";
import { type Manifest, manifestText, parseManifest } from "../../../src/state/manifest.ts";
import { SnapshotError } from "../../../src/state/snapshot-error.ts";
import { random } from "../../support/random.ts";

const MANIFEST: Manifest = {
  format: 1,
  vmexit: "0.1.0",
  time: "2026-11-30T12:00:00.000Z",
  name: "vm",
  options: { memory: 1048576, cpus: 1 },
  protocol: "flat",
  spec: { cpus: 1 },
  drives: [
    { name: "virtio-blk0", file: { path: "/a", size: 512, changed: "123", head: 7 }, overlay: false },
    { name: "virtio-blk1", file: undefined, overlay: false },
  ],
  ram: { size: 1048576, pages: 3, crc32: 99 },
  cpu: {},
};

const parse = (text: string) => parseManifest(text, "dir/machine.json");

test("what was written is read", () => {
  expect(parse(manifestText(MANIFEST))).toEqual(MANIFEST);
  const continued = { ...MANIFEST, format: 2, parent: { name: "base", state: 7 } };
  expect(parse(manifestText(continued))).toEqual(continued);
});

test.each([
  ["not JSON", "{", "it is not JSON"],
  ["another thing", "[]", "it is not an object"],
  [
    "a field that is missing",
    manifestText({ ...MANIFEST, ram: JSON.parse("{}") }),
    '"size" of "ram" is missing',
  ],
  [
    "memory that is not whole pages",
    manifestText({ ...MANIFEST, ram: { ...MANIFEST.ram, size: 5000 } }),
    "ram.size 5000 is not a multiple of 4096",
  ],
  [
    "a later format",
    manifestText({ ...MANIFEST, format: 3, vmexit: "9.0" }),
    "its format is 3, of vmexit 9.0",
  ],
  ["a parent that is missing", manifestText({ ...MANIFEST, format: 2 }), '"parent" of it is missing'],
  ...["", ".", "..", "a/b", "/etc", "a\0"].map((name) => [
    `a parent ${JSON.stringify(name)}`,
    manifestText({ ...MANIFEST, format: 2, parent: { name, state: 1 } }),
    '"name" of "parent" is not the name of a folder',
  ]),
])("%s is refused with what is wrong", (_, text, message) => {
  expect(() => parse(text)).toThrow(`dir/machine.json: ${message}`);
});

test("fuzz: any value in any place is read, or refused in a sentence", () => {
  const values = [null, -1, 2 ** 60, 1.5, "", "x", [], {}, [1], { a: 1 }, true, undefined];
  const paths = pathsOf(MANIFEST);
  const next = random(7);
  for (let round = 0; round < 3000; round++) {
    const copy: object = JSON.parse(manifestText(MANIFEST));
    const path = paths[Math.floor(next() * paths.length)];
    let at: object = copy;
    for (const key of path.slice(0, -1)) at = Object(Reflect.get(at, key));
    Reflect.set(at, path[path.length - 1], values[Math.floor(next() * values.length)]);
    try {
      parse(JSON.stringify(copy));
    } catch (error) {
      expect(error).toBeInstanceOf(SnapshotError);
    }
  }
});

function pathsOf(value: object, path: string[] = []): string[][] {
  return Object.entries(value).flatMap(([key, inner]: [string, unknown]) => {
    const here = [...path, key];
    return typeof inner === "object" && inner !== null ? [here, ...pathsOf(inner, here)] : [here];
  });
}
