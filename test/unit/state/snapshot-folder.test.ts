import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { differenceOf, identify } from "../../../src/state/drive-identity.ts";
import { NewSnapshotFolder } from "../../../src/state/snapshot-folder.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-folder-"));
afterAll(() => rmSync(folder, { recursive: true }));

let made = 0;
const parent = () => {
  const path = join(folder, String(made++));
  mkdirSync(path);
  return path;
};

test("nothing is in the place until all of it is", () => {
  const base = parent();
  const place = join(base, "snap");
  const written = new NewSnapshotFolder(place);
  written.write("machine.json", "1");
  expect(readdirSync(base)).not.toContain("snap");
  written.commit();
  expect([readdirSync(base), readdirSync(place)]).toEqual([["snap"], ["machine.json"]]);
});

test("a snapshot that is there stays whole until the new one is", () => {
  const base = parent();
  const place = join(base, "snap");
  const save = (text: string) => {
    const written = new NewSnapshotFolder(place);
    written.write("machine.json", text);
    return written;
  };
  save("old").commit();
  const next = save("new");
  expect(readFileSync(join(place, "machine.json"), "utf8")).toBe("old");
  next.commit();
  expect([readFileSync(join(place, "machine.json"), "utf8"), readdirSync(base)]).toEqual(["new", ["snap"]]);
  save("dropped").abandon();
  expect([readFileSync(join(place, "machine.json"), "utf8"), readdirSync(base)]).toEqual(["new", ["snap"]]);
});

test("a folder or file of somebody else's is never replaced; an empty folder is", () => {
  const base = parent();
  writeFileSync(join(base, "machine.json"), "");
  writeFileSync(join(base, "thesis.txt"), "");
  expect(() => new NewSnapshotFolder(base)).toThrow(/"thesis\.txt" is in it/);
  expect(() => new NewSnapshotFolder(join(base, "thesis.txt"))).toThrow(/not a snapshot/);
  const empty = parent();
  const written = new NewSnapshotFolder(empty);
  written.write("machine.json", "");
  written.commit();
  expect(readdirSync(empty)).toEqual(["machine.json"]);
});

test("a drive's file is the same until its size, its beginning or its time changes", () => {
  const file = join(parent(), "disk");
  writeFileSync(file, Buffer.alloc(100_000));
  const then = identify(file);
  const after = (change: () => void) => {
    change();
    return differenceOf(then, identify(file));
  };
  expect(differenceOf(then, identify(file))).toBeUndefined();
  expect(after(() => utimesSync(file, 1, 1))).toMatch(/^it was written at 1970-01-01T00:00:01/);
  expect(after(() => writeFileSync(file, Buffer.alloc(100_000, 1)))).toMatch(/first bytes/);
  expect(after(() => writeFileSync(file, ""))).toBe("it has 0 bytes, and had 100000");
});
