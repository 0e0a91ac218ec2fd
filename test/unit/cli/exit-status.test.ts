import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { EXIT_STATUSES, exitStatusHelp, statusOf } from "../../../src/cli/exit-status.ts";

test("each ending has its status", () => {
  expect(statusOf({ reason: "poweroff" })).toBe(0);
  expect(statusOf({ reason: "reset" })).toBe(0);
  expect(statusOf({ reason: "crash", message: "triple fault" })).toBe(4);
  expect(statusOf({ reason: "stopped" })).toBe(6);
  expect(statusOf({ reason: "exit", status: 33 })).toBe(33);
});

test("a guest's own status is cut to the 8 bits that a process has", () => {
  expect(statusOf({ reason: "exit", status: 0x1ff })).toBe(0xff);
});

test("no ending of the command's own but failure can be mistaken for a guest's odd status", () => {
  const own = EXIT_STATUSES.map((row) => Number(row.status)).filter((status) => !Number.isNaN(status));
  expect(own.filter((status) => status % 2 === 1)).toEqual([1]);
});

test("help and the manual show the same table as the code", async () => {
  const manual = await readFile(new URL("../../../docs/cli.md", import.meta.url), "utf8");
  for (const { status, meaning } of EXIT_STATUSES) {
    expect(exitStatusHelp()).toContain(`${status}`);
    expect(exitStatusHelp()).toContain(meaning);
    expect(manual).toContain(`| ${status} | ${meaning} |`);
  }
});
