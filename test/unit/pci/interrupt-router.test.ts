/** The lines that PCI functions share, and their routes to the interrupt controllers. */
import { expect, test } from "vitest";
import { Lock } from "../../../src/base/lock.ts";
import { InterruptRouter, InterruptRouterState, SCI } from "../../../src/pci/interrupt-router.ts";

function router() {
  const log: string[] = [];
  const regs = InterruptRouterState.view(new SharedArrayBuffer(InterruptRouterState.size), 0);
  const lock = new Lock(new Int32Array(new SharedArrayBuffer(4)), 0);
  const made = new InterruptRouter(regs, lock, (input, level) =>
    log.push(`${input} ${level ? "up" : "down"}`),
  );
  made.reset(9);
  const source = (line: number) => made.source(line, { asserted: 0 });
  return { router: made, source, take: () => log.splice(0) };
}

test("an input is asserted while any source of any line that is routed to it is", () => {
  const { router: routes, source, take } = router();
  const [a, b, c] = [source(0), source(0), source(1)];
  a.set(true);
  expect(take()).toEqual([]);
  routes.route(0, 11);
  expect(take()).toEqual(["11 up"]);
  routes.route(1, 11);
  c.set(true);
  b.set(true);
  a.set(false);
  b.set(false);
  expect(take()).toEqual([]);
  c.set(false);
  expect(take()).toEqual(["11 down"]);
});

test("a new route moves the level, and a disabled one drops it", () => {
  const { router: routes, source, take } = router();
  routes.route(2, 10);
  source(2).set(true);
  routes.route(2, 5);
  expect(take()).toEqual(["10 up", "5 up", "10 down"]);
  routes.route(2, 0x85);
  expect(take()).toEqual(["5 down"]);
});

test("the system control interrupt keeps its input when a line is routed there too", () => {
  const { router: routes, source, take } = router();
  const sci = source(SCI);
  const function3 = source(3);
  routes.route(3, 9);
  sci.set(true);
  function3.set(true);
  sci.set(false);
  expect(take()).toEqual(["9 up"]);
  function3.set(false);
  expect(take()).toEqual(["9 down"]);
});

test("pins of neighbouring devices are on different lines, as QEMU 11.1 has them", () => {
  expect(InterruptRouter.lineOf(1, 1)).toBe(0);
  expect(InterruptRouter.lineOf(2, 1)).toBe(1);
  expect(InterruptRouter.lineOf(3, 1)).toBe(2);
  expect(InterruptRouter.lineOf(3, 4)).toBe(1);
});

test("after a restore, inputs that are asserted are driven again", () => {
  const { router: routes, source, take } = router();
  routes.route(0, 10);
  source(0).set(true);
  take();
  routes.drive();
  expect(take()).toEqual(["10 up"]);
});
