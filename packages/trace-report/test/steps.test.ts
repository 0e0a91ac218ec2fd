import { expect, test } from "vitest";
import { StepRegisters } from "../page/step-registers.ts";
import { accessLine, story } from "../page/step-text.ts";
import type { Step } from "../src/report-data.ts";

function step(seq: number, more: Partial<Step> = {}): Step {
  return { seq, vcpu: 0, t: seq, inside: 1, outside: 1, reason: 0, rip: "0x0", mode: "real", ...more };
}

const port = { space: "port", direction: "out", address: 0x3f8, size: 1, count: 1, values: [0x48] } as const;

test("registers at a step are all changes of its vCPU up to it, however far it is", () => {
  const steps = Array.from({ length: 2000 }, (_, n) =>
    step(n + 1, {
      vcpu: n % 2,
      changed: n < 2 ? { rax: "0x0", rbx: `0x${n}` } : { rax: `0x${n.toString(16)}` },
    }),
  );
  const registers = new StepRegisters(steps);
  for (const index of [1999, 0, 1, 511, 512, 513, 1024, 2]) {
    expect(registers.at(index)).toEqual({
      rax: `0x${index < 2 ? 0 : index.toString(16)}`,
      rbx: `0x${index % 2}`,
    });
  }
});

test("the next step of a vCPU is its own, not the list's", () => {
  const registers = new StepRegisters([step(1), step(2, { vcpu: 1 }), step(3), step(4, { vcpu: 1 })]);
  expect([0, 1, 2, 3].map((index) => registers.next(index))).toEqual([2, 3, undefined, undefined]);
  expect(registers.at(0)).toBeUndefined();
});

test("an access is shown with its value, and as a character where it is one", () => {
  expect(accessLine(step(1, { access: port, register: "THR" }))).toBe("out 0x3f8 ← 0x48 ‘H’");
  expect(accessLine(step(1, { access: { ...port, values: [0x0a] } }))).toBe("out 0x3f8 ← 0x0a ‘\\n’");
  expect(accessLine(step(1, { access: { ...port, direction: "in" }, register: "LSR" }))).toBe(
    "in 0x3f8 → 0x48",
  );
  expect(accessLine(step(1))).toBeUndefined();
});

test("the story names the device that answered, or says that there is none", () => {
  const at = { access: port, device: "com1", register: "THR" };
  expect(story(step(1, at), "IO")).toBe(
    "The guest wrote 0x48 ‘H’ to port 0x3f8 (1 byte). It went to com1, register THR.",
  );
  const none = {
    access: { ...port, direction: "in", size: 4, values: [0xffffffff] } as const,
    device: "unclaimed",
  };
  expect(story(step(1, none), "IO")).toBe(
    "The guest read port 0x3f8 (4 bytes). There is no device, so it got 0xffffffff.",
  );
  expect(story(step(1), "HLT")).toContain("halted");
  expect(story(step(1), "NEW_REASON")).toBe("KVM_RUN returned with KVM_EXIT_NEW_REASON.");
});

test("a rep shows the first values and says that there are more", () => {
  const access = { ...port, count: 100, values: [1, 2, 3] };
  expect(story(step(1, { access, device: "com1" }), "IO")).toBe(
    "The guest wrote 0x01, 0x02, 0x03, … to port 0x3f8 (100 times 1 byte). It went to com1.",
  );
});
