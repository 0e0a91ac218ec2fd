import { expect, test } from "vitest";
import { type Delivery, Inbox, seatFailure } from "../../../src/threads/inbox.ts";

const order = (seat: number, id: number): Delivery => ({
  kind: "order",
  seat,
  order: { id, part: "disk0", order: { kind: "resize", size: 0 } },
});

test("orders wait for their seat, in order, whoever asks first", () => {
  const deliveries = [order(1, 10), order(2, 20), order(1, 11)];
  const inbox = new Inbox(() => deliveries.shift());
  expect(inbox.takeOrder(2)).toMatchObject({ id: 20 });
  expect(inbox.takeOrder(2)).toBeUndefined();
  expect(inbox.takeOrder(1)).toMatchObject({ id: 10 });
  inbox.forget(1);
  expect(inbox.takeOrder(1)).toBeUndefined();
  expect(inbox.takeSeat()).toBeUndefined();
});

test("a failure keeps what an error says", () => {
  expect(seatFailure(new RangeError("too far"))).toMatchObject({ kind: "failed", message: "too far" });
  expect(seatFailure("odd")).toEqual({ kind: "failed", message: "odd", stack: undefined });
});
