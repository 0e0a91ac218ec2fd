/**
 * What a guest finds in a PC at the reset vector, here and in QEMU 7.2: each difference is
 * in test/golden/pc-differences.txt, with its reason.
 *
 * QEMU's side is recorded, so that the test is the same with every QEMU. Where QEMU 7.2 is
 * installed it is compared with the record; VMEXIT_RECORD_PC=1 writes both files anew (a new
 * difference then has no reason yet).
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { fieldsOf } from "../support/iasl.ts";
import { decoded, dumpRom } from "../support/pc-dump.ts";
import { printed } from "../support/printed.ts";

const golden = (name: string) => fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
const RECORD = golden("pc-qemu-7.2.txt");
const DIFFERENCES = golden("pc-differences.txt");
const ABSENT = "-";
const TODO = "(a reason is missing)";

const folder = mkdtempSync(join(tmpdir(), "vmexit-differences-"));
const rom = join(folder, "dump.rom");
beforeAll(() => writeFileSync(rom, dumpRom(join(folder, "dump.elf"))));
afterAll(() => rmSync(folder, { recursive: true }));

const limits = { timeout: patience(60_000) };
const isRecording = process.env.VMEXIT_RECORD_PC !== undefined;

function hasQemu(): boolean {
  const { stdout } = spawnSync("qemu-system-x86_64", ["--version"], { encoding: "utf8" });
  return stdout?.startsWith("QEMU emulator version 7.2.") ?? false;
}

/** The guest ends QEMU by its debug-exit device: the status is 1. */
function runQemu(): string {
  const output = join(folder, "qemu.txt");
  const machine = ["-M", "pc-i440fx-7.2", "-accel", "tcg", "-cpu", "core2duo", "-m", "128", "-smp", "2"];
  const without = ["-nodefaults", "-net", "none", "-vga", "none", "-nographic", "-monitor", "none"];
  const exit = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-serial", `file:${output}`];
  const options = [...machine, ...without, ...exit, "-bios", rom];
  try {
    execFileSync("qemu-system-x86_64", options, { stdio: "pipe", timeout: patience(30_000) });
  } catch (error) {
    if (!(error instanceof Error && "status" in error && error.status === 1)) throw error;
  }
  return readFileSync(output, "latin1").replaceAll("\r", "");
}

async function runHere(): Promise<string> {
  await using vm = await createVm({
    ...{ machine: "pc", memory: "128M", cpus: 2, cpu: "core2duo", hpet: true, firmware: rom },
    generationId: false,
  });
  const output = printed(vm);
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  return (await output).toString("latin1").replaceAll("\r", "");
}

/** "NAME: QEMU | HERE", each under the last line that begins with "#", its reason. */
function readDifferences(): Map<string, string> {
  const reasons = new Map<string, string>();
  let reason = "";
  for (const line of readFileSync(DIFFERENCES, "utf8").split("\n")) {
    if (line.startsWith("# ")) reason = line.slice(2);
    else if (line !== "") reasons.set(line, reason);
  }
  return reasons;
}

function writeDifferences(found: readonly string[]): void {
  const known = readDifferences();
  const byReason = new Map<string, string[]>();
  for (const line of found) {
    const reason = known.get(line) ?? TODO;
    byReason.set(reason, [...(byReason.get(reason) ?? []), line]);
  }
  const text = [...byReason].map(([reason, lines]) => `# ${reason}\n${lines.join("\n")}\n`).join("\n");
  writeFileSync(DIFFERENCES, text);
}

test.runIf(hasQemu())("the record is what QEMU 7.2 shows", limits, () => {
  const dump = runQemu();
  expect(dump).toMatch(/^end$/m);
  if (isRecording) writeFileSync(RECORD, dump);
  expect(dump).toBe(readFileSync(RECORD, "latin1"));
});

test("each difference from QEMU's pc has a reason", limits, async () => {
  const theirs = decoded(readFileSync(RECORD, "latin1"), fieldsOf);
  const ours = decoded(await runHere(), fieldsOf);
  const names = new Set([...theirs.keys(), ...ours.keys()]);
  const found = [...names].flatMap((name) => {
    const [there = ABSENT, here = ABSENT] = [theirs.get(name), ours.get(name)];
    return there === here ? [] : [`${name}: ${there} | ${here}`];
  });
  if (isRecording) writeDifferences(found);
  const known = readDifferences();
  expect(found.filter((line) => !known.has(line))).toEqual([]);
  expect([...known.keys()].filter((line) => !found.includes(line))).toEqual([]);
  expect([...known].filter(([, reason]) => reason === "" || reason === TODO)).toEqual([]);
});
