import { expect, test } from "vitest";
import { Lock } from "../../../src/base/lock.ts";
import { Guarded } from "../../../src/bus/guarded.ts";
import { isHeld } from "../../support/locks.ts";

function guarded() {
  const lock = new Lock(new Int32Array(new SharedArrayBuffer(4)), 0);
  const held: Record<string, boolean> = {};
  const note = (what: string) => {
    held[what] = isHeld(lock);
  };
  const chip = new Guarded(
    {
      read: () => {
        note("read");
        return 7;
      },
      write: () => {
        note("write");
        return { settle: () => note("settle") };
      },
      reset: () => note("reset"),
    },
    lock,
  );
  return { chip, lock, held };
}

test("the device works under its lock, and what it leaves to do is done without", () => {
  const { chip, lock, held } = guarded();
  expect(chip.read(0, 1)).toBe(7);
  chip.write(0, 1, 0);
  chip.reset();
  expect(held).toEqual({ read: true, write: true, settle: false, reset: true });
  expect(isHeld(lock)).toBe(false);
});

test("a device that throws, which is our mistake, gives its lock back", () => {
  const lock = new Lock(new Int32Array(new SharedArrayBuffer(4)), 0);
  const fail = () => {
    throw new Error("our mistake");
  };
  const chip = new Guarded({ read: fail, write: fail, reset: fail }, lock);
  for (const use of [() => chip.read(0, 1), () => chip.write(0, 1, 0), () => chip.reset()]) {
    expect(use).toThrow("our mistake");
    expect(isHeld(lock)).toBe(false);
  }
});
