/** The answer comes at once here; test/kvm/control-threads.test.ts lets a thread wait for it. */
import { expect, test } from "vitest";
import { MAILBOX_BYTES, Mailbox, OwnDevice } from "../../../src/threads/mailbox.ts";

/** A device whose program answers every question with `answer`. */
function device(answer: (mailbox: Mailbox) => void, index = 0) {
  const mailbox = new Mailbox(new SharedArrayBuffer(MAILBOX_BYTES), 0);
  return { mailbox, device: new OwnDevice(mailbox, index, () => answer(mailbox)) };
}

test("a question arrives as the guest asked it", () => {
  const asked: unknown[] = [];
  const { device: d } = device((mailbox) => {
    asked.push(mailbox.question);
    mailbox.answer(0);
  }, 7);
  d.read(0x1000, 2);
  d.write(3, 4, 0xffff_fffe);
  expect(asked).toEqual([
    { device: 7, isWrite: false, offset: 0x1000, size: 2, value: 0 },
    { device: 7, isWrite: true, offset: 3, size: 4, value: 0xffff_fffe },
  ]);
});

test.each([
  [0x1_2345, 1, 0x45],
  [0x1_2345, 2, 0x2345],
  [0xffff_ffff, 4, 0xffff_ffff],
  [-1, 4, 0xffff_ffff],
  [-1, 1, 0xff],
  [Number.NaN, 4, 0],
  [1.9, 1, 1],
  [2 ** 40 + 5, 4, 5],
] as const)("whatever a program answers (%d), the guest reads %i bytes of it", (answer, size, value) => {
  const { device: d } = device((mailbox) => mailbox.answer(answer));
  expect(d.read(0, size)).toBe(value);
});

test("a machine that ends answers with an empty slot, and asks nobody", () => {
  let asked = 0;
  const { device: d, mailbox } = device((box) => {
    asked++;
    box.close();
  });
  expect(d.read(0, 2)).toBe(0xffff);
  expect(d.read(0, 4)).toBe(0xffff_ffff);
  d.write(0, 1, 0);
  expect(asked).toBe(1);
  mailbox.answer(3); // a handler that was still at work
  expect(d.read(0, 4)).toBe(0xffff_ffff);
});

test("one question follows another", () => {
  let count = 0;
  const { device: d } = device((mailbox) => mailbox.answer(++count));
  expect([d.read(0, 4), d.read(0, 4), d.read(0, 4)]).toEqual([1, 2, 3]);
});
