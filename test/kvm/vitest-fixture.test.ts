/** `vmexit/vitest`, with guests of a few bytes. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect } from "vitest";
import { machineTest } from "vmexit/vitest";
import { flatOptions, inByte, outByte, say } from "../support/flat-machine.ts";

/** Says "ready", then counts the bytes that it receives, from the letter A on, and answers with the count. */
const COUNT = [
  ...say("ready"),
  ...[0xb3, 0x41], //                                 mov bl, 'A'
  ...[...inByte(0x3fd), 0xa8, 0x01, 0x74, 0xf8], // again: wait for a byte on COM1
  ...inByte(0x3f8),
  ...[0x88, 0xd8, 0xba, 0xf8, 0x03, 0xee], //         mov al, bl; out COM1, al
  ...[0xfe, 0xc3, 0xeb, 0xea], //                     inc bl; jmp again
];

const cache = mkdtempSync(join(tmpdir(), "vmexit-vitest-"));
afterAll(() => rmSync(cache, { recursive: true }));
let boots = 0;

describe("each test has a machine of its own, where the booted one was", () => {
  const test = machineTest({
    vm: flatOptions(COUNT, { name: "count" }),
    ready: (vm) => vm.serial.waitFor("ready"),
    fork: { onFork: (vm) => void vm.serial.write("!") },
  });
  for (let n = 0; n < 20; n++) {
    test(`${n}`, async ({ vm }) => {
      expect(vm.name).toMatch(/^count-fork\d+$/);
      vm.serial.write(".".repeat(n));
      await vm.serial.waitFor("ABCDEFGHIJKLMNOPQRSTUVWXYZ".slice(0, n + 1));
    });
  }
});

describe("a machine ends with its test, however that ends", () => {
  const test = machineTest({ vm: flatOptions(COUNT), ready: (vm) => vm.serial.waitFor("ready") });
  const seen: { readonly state: string }[] = [];
  test.fails("with a failure", ({ vm }) => {
    seen.push(vm);
    throw new Error("this test fails");
  });
  test("the one before has ended", ({ vm }) => {
    expect(seen.map(({ state }) => state)).toEqual(["exited"]);
    expect(vm.state).toBe("running");
  });
});

for (const round of ["the first time", "the second time"]) {
  describe(`with a cache, ${round}`, () => {
    const test = machineTest({
      vm: flatOptions(COUNT, { name: "kept" }),
      ready: async (vm) => {
        boots++;
        await vm.serial.waitFor("ready");
      },
      cache,
    });
    test("the machine has booted once", async ({ vm }) => {
      vm.serial.write(".");
      await vm.serial.waitFor("A");
      expect([boots, readdirSync(cache).filter((name) => name.startsWith("kept-")).length]).toEqual([1, 1]);
    });
  });
}

describe("with a cache, another kernel is another machine", () => {
  const test = machineTest({
    vm: flatOptions([...outByte(0x80, 0), ...COUNT], { name: "kept" }),
    ready: (vm) => vm.serial.waitFor("ready"),
    cache,
  });
  test("and boots", () => {
    expect(readdirSync(cache).filter((name) => name.startsWith("kept-"))).toHaveLength(2);
  });
});
