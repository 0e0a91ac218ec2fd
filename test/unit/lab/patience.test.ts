import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { patience, slowness } from "../../../lab/patience.mjs";

const folder = mkdtempSync(join(tmpdir(), "vmexit-unit-"));
const file = join(folder, "slowness");
afterAll(() => rmSync(folder, { recursive: true }));

test("limits are as much longer as the lab has measured itself to be slower", () => {
  writeFileSync(file, "250\n");
  expect(slowness(file)).toBe(2.5);
  expect(patience(180_000, file)).toBe(450_000);
});

test.each(["", "100\n", "40\n", "nonsense"])(
  "a lab that says %j is not slower than the reference",
  (text) => {
    writeFileSync(file, text);
    expect(patience(1_000, file)).toBe(1_000);
  },
);

test("outside the lab a limit is what it says", () => {
  expect(patience(1_000, join(folder, "absent"))).toBe(1_000);
});
