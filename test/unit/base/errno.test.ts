import { constants } from "node:os";
import { expect, test } from "vitest";
import * as errno from "../../../src/base/errno.ts";

test.each(Object.entries(errno))("%s is the system's own number, negative", (name, number) => {
  expect(Object.entries(constants.errno)).toContainEqual([name, -number]);
});
