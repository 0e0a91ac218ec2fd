/**
 * A snapshot of each version restores for ever, or fails with a sentence that names
 * versions. Each is of a machine that counts on COM1; its
 * files are compressed, because RAM is mostly zeros.
 *
 * `VMEXIT_WRITE_GOLDEN=snapshot npx vitest run --project kvm test/kvm/golden-snapshots.test.ts`
 * adds one of this version; `=chain` adds one that continues another. Those that are there are never written
 * again.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, expect, test } from "vitest";
import { restoreVm, type VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { flatMachine, outByte } from "../support/flat-machine.ts";

const GOLDEN = fileURLToPath(new URL("../golden/", import.meta.url));
const golden = (what: string) => readdirSync(GOLDEN).filter((name) => name.startsWith(`${what}-`));

const folder = mkdtempSync(join(tmpdir(), "vmexit-golden-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** 0, 1, 2 … on COM1: inc al; out dx, al; jmp */
const COUNT = [...outByte(0x3f8, 0), 0xfe, 0xc0, 0xee, 0xeb, 0xfb];

const version = (): string => {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return JSON.parse(text).version;
};

/** Compresses the files of a snapshot. */
function keep(dir: string, into: string): void {
  mkdirSync(into); // fails if there is one
  for (const name of readdirSync(dir)) {
    writeFileSync(join(into, `${name}.gz`), gzipSync(readFileSync(join(dir, name)), { level: 9 }));
  }
}

/** Unpacks what `keep` made. */
function unpack(from: string, dir: string): void {
  mkdirSync(dir);
  for (const file of readdirSync(from).filter((each) => each.endsWith(".gz"))) {
    writeFileSync(join(dir, basename(file, ".gz")), gunzipSync(readFileSync(join(from, file))));
  }
}

async function write(what: string): Promise<void> {
  const vm = await flatMachine(COUNT, { rng: true, serialPorts: 2, name: "golden" });
  let count = 0;
  vm.serial.on("data", (chunk: Buffer) => {
    count += chunk.length;
  });
  const more = async () => {
    const before = count;
    while (count === before) await sleep(10);
  };
  await vm.start();
  await more();
  await vm.pause();
  const into = join(GOLDEN, `${what}-${version()}`);
  const dir = join(folder, "whole");
  if (what === "snapshot") {
    await vm.snapshot({ dir });
    keep(dir, into);
  } else {
    mkdirSync(into);
    await vm.snapshot({ dir, diff: true });
    keep(dir, join(into, "whole"));
    await vm.resume();
    await more();
    await vm.pause();
    vm.memory.write(0x8000, Uint8Array.of(0x5a));
    await vm.snapshot({ dir: join(folder, "next"), diff: true });
    keep(join(folder, "next"), join(into, "next"));
  }
  await sleep(50); // what is in the ring
  await vm.stop();
  writeFileSync(join(into, what === "snapshot" ? "next" : "count"), String(count & 0xff));
}

const { VMEXIT_WRITE_GOLDEN } = process.env;
if (VMEXIT_WRITE_GOLDEN !== undefined) await write(VMEXIT_WRITE_GOLDEN);

/** Lets a machine run that prints `first` next. */
async function expectToCount(vm: VirtualMachine, first: number): Promise<void> {
  const bytes: number[] = [];
  vm.serial.on("data", (chunk: Buffer) => bytes.push(...chunk));
  await vm.resume();
  await expect.poll(() => bytes.length, { timeout: patience(20_000) }).toBeGreaterThan(300);
  expect(bytes.slice(0, 300)).toEqual(Array.from({ length: 300 }, (_, n) => (first + n) & 0xff));
}

test("there is one of each version", () => {
  expect(golden("snapshot")).toContain("snapshot-0.1.0");
  expect(golden("chain")).toContain("chain-0.1.0");
});

// They were made on another host: hence cpu: "any".
test.each(golden("snapshot"))("%s continues", async (name) => {
  const dir = join(folder, name);
  unpack(join(GOLDEN, name), dir);
  await using vm = await restoreVm(dir, { cpu: "any", verify: true });
  await expectToCount(vm, Number(readFileSync(join(GOLDEN, name, "next"), "utf8")));
});

test.each(golden("chain"))("%s continues", async (name) => {
  mkdirSync(join(folder, name));
  for (const each of ["whole", "next"]) unpack(join(GOLDEN, name, each), join(folder, name, each));
  await using vm = await restoreVm(join(folder, name, "next"), { cpu: "any", verify: true });
  expect(vm.memory.read(0x8000, 1)[0]).toBe(0x5a);
  await expectToCount(vm, Number(readFileSync(join(GOLDEN, name, "count"), "utf8")));
});
