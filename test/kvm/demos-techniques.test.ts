/** The demos of emulation, memory, debugging and processors: what they print is what happened. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { patience } from "../../lab/patience.mjs";
import { runDemo } from "../support/demos.ts";

/** Lines that match, cut where two or more blanks are. */
function rows(lines: readonly string[], pattern: RegExp): string[][] {
  return lines.filter((line) => pattern.test(line)).map((line) => line.trim().split(/ {2,}/));
}

const CPUINFO = readFileSync("/proc/cpuinfo", "utf8");
/** VT-x or AMD-V is there; without, KVM emulates ring 0 itself. */
const HARDWARE = /^flags\b.*\b(vmx|svm)\b/m.test(CPUINFO);
/** The processor is emulated, with gaps in what it offers debuggers of guests. */
const EMULATED = /^model name\b.*\bQEMU\b/m.test(CPUINFO);

const TIME = /^\d+(\.\d+)? (ns|µs|ms|s)$/;

test("three-ways runs one guest three times, with the same result", async () => {
  const lines = await runDemo("three-ways");
  const primes = Array.from({ length: 5000 }, (_, n) => n).filter((n) => {
    for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
    return n >= 2;
  });
  const said = `Primes below 5000: ${primes.length}`;
  expect(lines[0]).toBe(`The guest, all three times: ${said} | ${said} | ${said}`);

  const [emulated] = rows(lines, /^ {2}emulated/);
  const [paravirtualized] = rows(lines, /^ {2}paravirtualized/);
  const [assisted] = rows(lines, /^ {2}hardware-assisted/);
  // For each character the port is asked once and written once.
  const accesses = 2 * (said.length + 1);
  expect(emulated.slice(2, 4)).toEqual([`${accesses}`, "no KVM"]);
  expect(assisted.slice(2, 4)).toEqual([`${accesses}`, `${accesses + 1}`]);
  expect(paravirtualized.slice(2, 4)).toEqual(["1", "2"]);
  for (const row of [emulated, paravirtualized, assisted]) {
    expect(row.slice(4, 6)).toEqual([expect.stringMatching(TIME), expect.stringMatching(TIME)]);
  }
  expect(emulated[1]).toBe(assisted[1]);
  // Per character 9 instructions are spared; the call itself takes some.
  const spared = Number(emulated[1]) - Number(paravirtualized[1]);
  expect(spared).toBe(9 * (said.length + 1) - 2);
  expect([emulated, paravirtualized, assisted].map((row) => row.at(-1))).toEqual([
    "nothing",
    "its way to print",
    "nothing",
  ]);
});

test("three-ways shows what KVM answers to a hypercall, or that this one does not", async () => {
  const lines = await runDemo("three-ways");
  if (lines.some((line) => line.includes("gets no answer: a step over it changes neither EIP nor EAX"))) {
    expect(HARDWARE).toBe(false);
    expect(rows(lines, /^ {2}(KVM_HC|by the instruction)/)).toEqual([]);
    return;
  }
  expect(rows(lines, /^ {2}KVM_HC_VAPIC_POLL_IRQ/)[0].slice(1)).toEqual(["EAX", "0"]);
  expect(rows(lines, /which KVM does not know/)[0].slice(1)).toEqual([
    "EAX",
    "-1000",
    "-KVM_ENOSYS: no such call",
  ]);
  const [instruction] = rows(lines, /^ {2}by the instruction/);
  const [port] = rows(lines, /^ {2}by a port/);
  expect([instruction[1], instruction[2], instruction[4]]).toEqual(["1000", "1", "-1000"]);
  expect([port[1], port[2], port[4]]).toEqual(["1000", "1001", "-1000"]);
});

test("memory shows pages that come when they are touched", async () => {
  const lines = await runDemo("memory");
  const resident = rows(lines, /^ {2}(\d+ pages mapped|this program has|the guest has|the same once)/).map(
    (cells) => Number(cells[1]),
  );
  const [mapped, loaded, touched, again] = resident;
  expect(mapped).toBe(0);
  // 4 KiB pages, or more at once where the host gives huge ones.
  expect(loaded).toBeGreaterThanOrEqual(1);
  expect(touched).toBeGreaterThanOrEqual(65);
  expect(touched % 512 === 0 || touched === 65).toBe(true);
  expect(again).toBe(touched);
});

test("memory shows an alias, a read-only slot and the dirty log", async () => {
  const lines = await runDemo("memory");
  const tree = rows(lines, /^ {2}[├└]─/).map(([range, ...cells]) => [range.slice(3), cells[0], cells[1]]);
  expect(tree).toEqual([
    ["0x00000000-0x007fffff", "RAM", "0"],
    ["0x00800000-0x0fffffff", "nothing: MMIO", "none"],
    ["0x10000000-0x100fffff", "RAM, once more", "1"],
    ["0x10100000-0xfffdffff", "nothing: MMIO", "none"],
    ["0xfffe0000-0xffffffff", "ROM", "2"],
  ]);
  expect(lines).toContain(
    "The guest stored 0x12345678 at 0x10002000; at offset 0x2000 of the mapping is 0x12345678.",
  );
  expect(lines).toContain("MMIO exit: the guest writes 0x55 to 0xfffe0010. This program ignores it.");
  expect(lines).toContain("The guest read 0xea before and 0xea after; neither was an exit.");
  expect(lines).toContain("Logged: 300, 301, 307, 1024."); // not 500, which this program wrote
  expect(lines).toContain("Read again: none.");
});

test("step shows every instruction of Euclid's algorithm, as the source has it", async () => {
  const lines = await runDemo("step");
  const steps = rows(lines, /^ +\d+ {2}0x10\w\w {2}[0-9a-f]{2}/);
  const source = steps.map((cells) => cells[4].split(" ")[0]);
  const [subtract, exchange] = ["cmp je jb sub jmp", "cmp je jb xchg jmp"];
  const loop = [subtract, exchange, subtract, subtract, "cmp je"].join(" ").split(" ");
  expect(source).toEqual(["mov", "mov", "call", ...loop, "ret", "mov", "hlt"]);
  for (const cells of steps) expect(cells[3].split(" ")[0]).toBe(cells[4].split(" ")[0]);
  const eax = steps.flatMap((cells) => /eax \d+ → (\d+)/.exec(cells[5] ?? "")?.[1] ?? []);
  expect(eax).toEqual(["48", "12", "36", "24", "12"]);
});

test("step stops at breakpoints and at a write, or says that this KVM does not", async () => {
  const lines = await runDemo("step");
  const hits = rows(lines, /^ {2}\d+ +0x1015 +\d+ +\d+$/).map(([, , eax, ebx]) => [eax, ebx]);
  if (hits.length === 0) {
    expect(EMULATED).toBe(true);
    expect(lines.some((line) => line.startsWith("HLT without a stop; the divisor is 12."))).toBe(true);
  } else {
    expect(hits).toEqual([
      ["48", "36"],
      ["12", "36"],
      ["36", "12"],
      ["24", "12"],
      ["12", "12"],
    ]);
    expect(lines).toContain("The loop ran 5 times; the divisor is 12.");
  }
  const has = (start: string) => lines.some((line) => line.startsWith(start));
  if (has("DEBUG at 0x1022, exception 3")) {
    expect(lines).toContain("With the byte restored: HLT; the divisor is 12.");
  } else {
    expect([has("INTERNAL_ERROR: this KVM"), has("SHUTDOWN: the exception")]).toEqual([!HARDWARE, EMULATED]);
  }
  if (!lines.includes("DEBUG at 0x1014, after the instruction that wrote 12.")) {
    expect(!HARDWARE || EMULATED).toBe(true);
    expect(has("HLT, and 12 was written without a stop.")).toBe(true);
  }
});

test("smp starts a second processor, and loses no count under LOCK", {
  timeout: patience(120_000),
}, async () => {
  const lines = await runDemo("smp");
  expect(lines).toContain("Processor 1 before: uninitialized, it waits for INIT. After: runnable.");
  const reports = rows(lines, /^ {2}\+\d/).map(([, cpu, what]) => `${cpu} ${what}`);
  const started = reports.indexOf("processor 1 begins, in real mode");
  expect(reports.filter((_, i) => i !== started).slice(0, 3)).toEqual([
    "processor 0 sends INIT to processor 1",
    "processor 0 sends a start-up IPI: begin at page 2",
    "processor 0 sends another, which is ignored",
  ]);
  expect(started).toBeGreaterThan(1); // not before the first start-up IPI
  expect(reports.filter((report) => report.endsWith("has counted"))).toHaveLength(2);

  const [[, inside, counter, lost, ending]] = rows(lines, /^ {2}lock bts/);
  expect([inside, counter, lost, ending]).toEqual(["40000", "40000", "0", "both finished"]);
  // Without LOCK: what was seen is what is said.
  const without = rows(lines, /^ {2}bts/).map((cells) => cells.slice(1, 4).map(Number));
  expect(without.length).toBeGreaterThan(0);
  for (const [made, counted, missing] of without) expect(missing).toBe(made - counted);
  const verdict = without.some(([, , missing]) => missing > 0)
    ? "Without LOCK, both were inside at once, read the same number, and wrote the same next one."
    : "Without LOCK nothing was lost either, on this host, this time: the two never met between the";
  expect(lines).toContain(verdict);
});
