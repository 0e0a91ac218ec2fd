/** The demo `interrupts`: what it prints is what happened. */
import { expect, test } from "vitest";
import { runDemo } from "../support/demos.ts";

/** The rows of the traces without their times: thread, what happened, note. */
function trace(lines: readonly string[]): string[][] {
  return lines
    .filter((line) => /^ +\d+\.\d{3} {2}(cpu|host) /.test(line))
    .map((line) => line.trim().split(/ {2,}/).slice(1))
    .map((row) => row.map((cell) => cell.replace(/\d+(\.\d+)? (ns|µs|ms|s)\b/, "TIME")));
}

function number(lines: readonly string[], what: string): number {
  const [, value] = lines.map((line) => line.trim().split(/ {2,}/)).find(([first]) => first === what) ?? [];
  return Number(value);
}

const ASLEEP = ["cpu", "INTERRUPTED after TIME in KVM_RUN", "the CPU is halted; next: cli"];
const exit = (byte: string) => `IO out 0xe9 1 '${byte}' after TIME in KVM_RUN`;
const BACK = ["cpu", exit("z"), "on its way back to HLT"];

test("interrupts shows a halted guest, woken once by each edge, by KVM_IRQ_LINE and by irqfd", async () => {
  const lines = await runDemo("interrupts");
  // A guest that had not reached its HLT at a kick was kicked again.
  const rows = trace(lines).filter(
    (row, i, all) => !row[2]?.includes("not halted yet") && !all[i + 1]?.[2]?.includes("not halted yet"),
  );
  expect(rows).toEqual([
    ["cpu", exit("z"), "IDT and PIC are ready, STI and HLT are next"],
    ["host", "kick"],
    ASLEEP,
    ["host", "KVM_IRQ_LINE: input 5 high", "the call took TIME"],
    ["cpu", exit("L"), "the handler, TIME later"],
    BACK,
    ["host", "KVM_IRQ_LINE: input 5 high", "it was high already"],
    ["host", "kick"],
    ASLEEP,
    ["host", "KVM_IRQ_LINE: input 5 low"],
    ["host", "write to the irqfd of input 6", "the call took TIME"],
    ["cpu", exit("E"), "the handler, TIME later"],
    BACK,
  ]);

  // Each interrupt was one of the kernel's injections, each sleep one of its HLT exits; none was a return of KVM_RUN.
  const raised = number(lines, "interrupts raised here");
  const kicks = rows.filter(([, what]) => what === "kick").length;
  expect(raised).toBeGreaterThan(10);
  expect(number(lines, "returns of KVM_RUN seen here")).toBeGreaterThanOrEqual(2 * raised + 1 + kicks);
  expect(number(lines, "irq_injections")).toBeGreaterThanOrEqual(raised);
  expect(number(lines, "halt_exits")).toBeGreaterThanOrEqual(raised);
}, 30_000);

test("interrupts times both ways on the same clock", async () => {
  const lines = await runDemo("interrupts");
  for (const way of ["KVM_IRQ_LINE", "irqfd"]) {
    const row = lines.map((line) => line.trim().split(/ {2,}/)).find(([first]) => first === way) ?? [];
    expect(row.slice(1)).toEqual([expect.stringMatching(/^\d.* .?s$/), expect.stringMatching(/^\d.* .?s$/)]);
  }
}, 30_000);
