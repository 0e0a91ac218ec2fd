import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { runsOfBitmap } from "../../../src/state/page-runs.ts";
import { examineRam, loadPages, RamCopy, type RamFacts } from "../../../src/state/ram-file.ts";
import { HostFile } from "../../../src/sys/file.ts";
import { GuestRam } from "../../../src/sys/guest-ram.ts";

const MIB = 2 ** 20;
const PAGE = 4096;
const SIZE = 16 * MIB;

const folder = mkdtempSync(join(tmpdir(), "vmexit-ram-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes what is in RAM, which nobody changes meanwhile. */
async function writeRam(ram: GuestRam, memory: GuestMemory, file: string): Promise<RamFacts> {
  const copy = new RamCopy(ram, memory, file);
  await copy.copyContents(() => {});
  copy.close();
  return examineRam(file);
}

/** RAM with some bytes in it, at the border of pieces too, and pages that were touched but are zero. */
function filled(backing: "memfd" | "anonymous") {
  const ram = GuestRam.create(SIZE, { backing });
  const memory = new GuestMemory(ram, [{ address: 0, size: SIZE, offset: 0 }]);
  for (const at of [0, 3 * PAGE + 5, 2 * MIB - 1, 2 * MIB, SIZE - 1]) memory.setUint8(at, 0x5a);
  memory.setUint8(5 * MIB, 1);
  memory.setUint8(5 * MIB, 0);
  return { ram, memory };
}

test.each(["memfd", "anonymous"] as const)(
  "RAM of %s is written with holes, and found to be what it was",
  async (backing) => {
    const { ram, memory } = filled(backing);
    const file = join(folder, backing);
    const facts = await writeRam(ram, memory, file);
    expect(facts).toMatchObject({ size: SIZE, pages: 5 });
    // Nobody touched the rest. A page of anonymous memory may be a huge one.
    expect(ram.resident()).toBeLessThan(backing === "memfd" ? 256 * 1024 : SIZE);
    expect(Buffer.compare(readFileSync(file), memory.read(0, SIZE))).toBe(0);
    expect(statSync(file).blocks * 512).toBeLessThan(256 * 1024);
    const copy = `${file}-copy`; // perhaps without holes
    writeFileSync(copy, readFileSync(file));
    expect(await examineRam(copy)).toEqual(facts);
    writeFileSync(copy, readFileSync(file).fill(1, 9 * MIB, 9 * MIB + 1));
    expect(await examineRam(copy)).not.toEqual(facts);
    ram.close();
  },
);

test("a file that is mapped as RAM never changes, and what was written over it is saved", async () => {
  const { ram, memory } = filled("memfd");
  const file = join(folder, "mapped");
  await writeRam(ram, memory, file);
  ram.close();
  const before = readFileSync(file);
  const opened = HostFile.open(file, { readOnly: true });
  const mapped = GuestRam.mapFile(opened, SIZE);
  opened.close();
  const over = new GuestMemory(mapped, [{ address: 0, size: SIZE, offset: 0 }]);
  over.setUint8(7 * MIB, 0x77);
  over.setUint8(0, 0); // its only byte
  const second = join(folder, "second");
  expect(await writeRam(mapped, over, second)).toMatchObject({ pages: 5 });
  expect(Buffer.compare(readFileSync(second), over.read(0, SIZE))).toBe(0);
  mapped.discard(2 * MIB, 2 * MIB);
  expect(over.read(2 * MIB, 2 * MIB).every((byte) => byte === 0)).toBe(true);
  expect(Buffer.compare(readFileSync(file), before)).toBe(0);
  mapped.close();
});

test("a file that is shorter than the RAM cannot be mapped", () => {
  const file = join(folder, "short");
  writeFileSync(file, Buffer.alloc(PAGE));
  const opened = HostFile.open(file, { readOnly: true });
  expect(() => GuestRam.mapFile(opened, 2 * PAGE)).toThrow(/EINVAL/);
  expect(() => GuestRam.mapFile(opened, 100)).toThrow(/EINVAL/);
  opened.close();
});

test.each(["memfd", "anonymous"] as const)("forks of RAM of %s see nothing of each other", (backing) => {
  const { ram, memory } = filled(backing);
  const region = [{ address: 0, size: SIZE, offset: 0 }];
  const first = ram.fork();
  memory.setUint8(8 * MIB, 1); // after the fork
  const second = ram.fork();
  const [one, two] = [first, second].map((each) => new GuestMemory(each, region));
  expect([one.getUint8(8 * MIB), two.getUint8(8 * MIB)]).toEqual([0, 1]);
  one.setUint8(9 * MIB, 2);
  two.setUint8(9 * MIB, 3);
  memory.setUint8(9 * MIB, 4);
  expect([one, two, memory].map((each) => each.getUint8(9 * MIB))).toEqual([2, 3, 4]);
  const third = first.fork();
  expect(new GuestMemory(third, region).getUint8(9 * MIB)).toBe(2);
  for (const each of [first, second, third, ram]) each.close();
});

test("a copy of a file keeps what its RAM was", async () => {
  const { ram, memory } = filled("memfd");
  const file = join(folder, "original");
  const facts = await writeRam(ram, memory, file);
  copyFileSync(file, `${file}-2`);
  expect(await examineRam(`${file}-2`)).toEqual(facts);
  ram.close();
});

test("listed pages are written, zeros too, and change a RAM to what it was", async () => {
  const { ram, memory } = filled("memfd");
  const base = join(folder, "base");
  await writeRam(ram, memory, base);
  const pages = new Uint32Array(SIZE / PAGE / 32);
  const set = (page: number) => {
    pages[page >> 5] |= 1 << (page & 31);
  };
  memory.setUint8(0, 0); // a page that becomes zero
  set(0);
  for (let page = 500; page < 530; page++) {
    memory.setUint8(page * PAGE, page & 0xff); // over the border of a piece
    set(page);
  }
  memory.setUint8(9 * MIB, 9); // written, and not listed
  const list = runsOfBitmap(pages);
  const file = join(folder, "pages");
  const copy = new RamCopy(ram, memory, file);
  await copy.copyPages(pages, () => {});
  copy.close();
  const facts = await examineRam(file, list);
  expect(facts).toMatchObject({ size: SIZE, pages: 31 });
  const opened = HostFile.open(base, { readOnly: true });
  const mapped = GuestRam.mapFile(opened, SIZE);
  opened.close();
  loadPages(file, list, mapped);
  const over = new GuestMemory(mapped, [{ address: 0, size: SIZE, offset: 0 }]);
  memory.setUint8(9 * MIB, 0);
  expect(Buffer.compare(over.read(0, SIZE), memory.read(0, SIZE))).toBe(0);
  writeFileSync(file, readFileSync(file).fill(1, 0, 1));
  expect(await examineRam(file, list)).not.toEqual(facts);
  mapped.close();
  ram.close();
});
