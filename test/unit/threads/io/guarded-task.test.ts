import { expect, test } from "vitest";
import { AGAIN, NEVER } from "../../../../src/bus/io-task.ts";
import { GuardedTask } from "../../../../src/threads/io/guarded-task.ts";

function rig(turn: () => number) {
  const errors: unknown[] = [];
  const calls: string[] = [];
  const task = new GuardedTask(
    {
      name: "disk0",
      bells: [{}],
      turn,
      quiesce: () => void calls.push("quiesce"),
      resume: () => void calls.push("resume"),
      close: () => void calls.push("close"),
    },
    (error) => errors.push(error),
  );
  return { task, errors, calls };
}

test("a task that works is as it was", () => {
  const { task, errors, calls } = rig(() => AGAIN);
  task.resume();
  expect(task.turn(0, false)).toBe(AGAIN);
  expect(task.arm(0)).toBe(NEVER);
  expect(task.peek(0)).toBe(false);
  task.quiesce();
  expect(calls).toEqual(["resume", "quiesce"]);
  expect(errors).toEqual([]);
});

test("after an error it does nothing but close", () => {
  const { task, errors, calls } = rig(() => {
    throw new Error("a bug");
  });
  expect(task.turn(0, false)).toBe(NEVER);
  expect(task.turn(0, false)).toBe(NEVER);
  task.quiesce();
  task.close();
  expect(calls).toEqual(["close"]);
  expect(errors).toHaveLength(1);
});
