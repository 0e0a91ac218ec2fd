/** The first example does what it says, with nothing but vmexit/kvm. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";

const EXAMPLE = new URL("../../examples/01-hello.ts", import.meta.url);
const source = readFileSync(EXAMPLE, "utf8");

vi.mock("vmexit/kvm", async () => await import("../../src/kvm/kvm.ts"));

test("the hello example prints what its guest says and stops at its HLT", async () => {
  let text = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  await import(fileURLToPath(EXAMPLE));
  write.mockRestore();
  expect(text).toBe("Hello from the guest!\n");
});

test("the hello example is short and uses vmexit/kvm alone", () => {
  expect(source.split("\n").length - 1).toBeLessThanOrEqual(60);
  expect([...source.matchAll(/from "(.*)"/g)].map(([, module]) => module)).toEqual(["vmexit/kvm"]);
});
