/**
 * A snapshot of each version restores for ever, or fails with a sentence that names
 * versions. Each is of a machine that counts on COM1; its
 * files are compressed, because RAM is mostly zeros.
 *
 * `VMEXIT_WRITE_GOLDEN=1 npx vitest run --project kvm test/kvm/golden-snapshots.test.ts`
 * adds one of this version. Those that are there are never written again.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, expect, test } from "vitest";
import { restoreVm } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { flatMachine, outByte } from "../support/flat-machine.ts";

const GOLDEN = fileURLToPath(new URL("../golden/", import.meta.url));
const snapshots = () => readdirSync(GOLDEN).filter((name) => name.startsWith("snapshot-"));

const folder = mkdtempSync(join(tmpdir(), "vmexit-golden-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** 0, 1, 2 … on COM1: inc al; out dx, al; jmp */
const COUNT = [...outByte(0x3f8, 0), 0xfe, 0xc0, 0xee, 0xeb, 0xfb];

if (process.env.VMEXIT_WRITE_GOLDEN !== undefined) {
  const { version }: { version: string } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  const into = join(GOLDEN, `snapshot-${version}`);
  mkdirSync(into); // fails if there is one
  const vm = await flatMachine(COUNT, { rng: true, serialPorts: 2, name: "golden" });
  let last = 0;
  vm.serial.on("data", (chunk: Buffer) => {
    last = chunk[chunk.length - 1];
  });
  await vm.start();
  while (last === 0) await sleep(10);
  await vm.pause();
  const dir = join(folder, "made");
  await vm.snapshot({ dir });
  await vm.stop();
  for (const name of readdirSync(dir)) {
    writeFileSync(join(into, `${name}.gz`), gzipSync(readFileSync(join(dir, name)), { level: 9 }));
  }
  writeFileSync(join(into, "next"), String((last + 1) & 0xff));
}

test("there is one of each version", () => {
  expect(snapshots()).toContain("snapshot-0.1.0");
});

test.each(snapshots())("%s continues", async (name) => {
  const dir = join(folder, name);
  mkdirSync(dir);
  for (const file of readdirSync(join(GOLDEN, name)).filter((each) => each.endsWith(".gz"))) {
    writeFileSync(join(dir, basename(file, ".gz")), gunzipSync(readFileSync(join(GOLDEN, name, file))));
  }
  // It was made on another host.
  await using vm = await restoreVm(dir, { cpu: "any", verify: true });
  const bytes: number[] = [];
  vm.serial.on("data", (chunk: Buffer) => bytes.push(...chunk));
  await vm.resume();
  await expect.poll(() => bytes.length, { timeout: patience(20_000) }).toBeGreaterThan(300);
  const first = Number(readFileSync(join(GOLDEN, name, "next"), "utf8"));
  expect(bytes.slice(0, 300)).toEqual(Array.from({ length: 300 }, (_, n) => (first + n) & 0xff));
});
