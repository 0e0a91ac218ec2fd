import { expect, test } from "vitest";
import { parsePlan, parseThread } from "../../../src/gdb/resumption.ts";

test.each([
  [";c", ["run", "run", "run"]],
  [";s:1;c", ["step", "run", "run"]],
  [";s:2", ["stay", "step", "stay"]],
  [";C05:3;s:-1", ["step", "step", "run"]],
  [";c:1;s:1", ["run", "stay", "stay"]],
  [";S0b", ["step", "step", "step"]],
])("vCont%s", (text, plan) => {
  expect(parsePlan(text, 3)).toEqual(plan);
});

test.each(["", "c", ";", ";t", ";x:1", ";c:4", ";c:-2", ";c:1:2", ";s:zz", ";C5"])(
  "vCont%s is refused",
  (text) => {
    expect(parsePlan(text, 3)).toBeUndefined();
  },
);

test("threads count from 1; 0 is any, -1 all", () => {
  expect(["1", "3", "0", "-1", "4", "", "p1.1"].map((text) => parseThread(text, 3))).toEqual([
    ...[0, 2, 0, "all"],
    ...[undefined, undefined, undefined],
  ]);
});
