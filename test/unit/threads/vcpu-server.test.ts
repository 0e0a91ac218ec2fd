/** A thread that serves several vCPUs, with a queue and vCPUs that the tests play. */
import { expect, test } from "vitest";
import { ByteRing } from "../../../src/base/ring.ts";
import type { ExitQueue } from "../../../src/kvm/exit-queue.ts";
import { NOBODY, WOKEN } from "../../../src/kvm/exit-queue.ts";
import { CONTROL_WORDS, Control, END, PARK, RUN } from "../../../src/threads/control.ts";
import type { LoopGate } from "../../../src/threads/vcpu-loop.ts";
import { VcpuServer } from "../../../src/threads/vcpu-server.ts";

const RING_BYTES = 1 << 16;

function rig() {
  const tags: number[] = [];
  const log: string[] = [];
  const queue = {
    wanted: false,
    take(timeoutMs: number) {
      queue.wanted = false;
      log.push(timeoutMs < 0 ? "sleep" : "nap");
      return tags.shift() ?? NOBODY;
    },
  };
  const server = new VcpuServer(queue as unknown as ExitQueue);
  const seat = (name: string, run: (gate: LoopGate, control: Control) => void = () => {}) => {
    const control = new Control(new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS)));
    const ring = new ByteRing(new Int32Array(new SharedArrayBuffer(4 * ByteRing.words(RING_BYTES))));
    const tag = server.size;
    const note = (what: string) => () => void log.push(`${name} ${what}`);
    const side = {
      control,
      vcpu: { attend: note("attended") } as never,
      runApart: note("apart"),
      blocks: { parts: { rings: new Map([["com1", ring]]) } as never },
      run(gate: LoopGate = control) {
        log.push(`${name} runs`);
        run(gate, control);
        if (!control.mayRun) control.park();
      },
      close: note("closed"),
    };
    server.add(tag, { side, ended: note("ended"), failed: (error) => void log.push(`${name}: ${error}`) });
    return { control, ring, exit: () => tags.push(tag) };
  };
  const step = () => {
    log.length = 0;
    server.step();
    return log.slice();
  };
  const wake = () => tags.unshift(WOKEN);
  return { queue, server, seat, step, wake };
}

test("a vCPU that may run is in the guest without the thread, until it exits", () => {
  const { seat, step, wake } = rig();
  const a = seat("a");
  a.control.request(RUN);
  wake();
  expect(step()).toEqual(["sleep", "a apart"]);
  a.exit();
  expect(step()).toEqual(["sleep", "a attended", "a runs", "a apart"]);
});

test("the thread stays with a vCPU until another one needs it", () => {
  const { queue, seat, step, wake } = rig();
  let rounds = 0;
  const a = seat("a", (gate) => {
    for (; gate.running; rounds++) if (rounds === 7) queue.wanted = true;
  });
  a.control.request(RUN);
  wake();
  step();
  a.exit();
  step();
  expect(rounds).toBe(8);
});

test("a vCPU that parked starts again when its owner asks, and is closed at the end", () => {
  const { server, seat, step, wake } = rig();
  const a = seat("a");
  a.control.request(RUN);
  wake();
  step();
  a.control.request(PARK);
  a.exit(); // kicked
  expect(step()).toEqual(["sleep", "a attended", "a runs"]);
  expect(a.control.parked).toBe(true);
  wake();
  expect(step()).toEqual(["sleep"]);
  a.control.request(RUN);
  wake();
  expect(step()).toEqual(["sleep", "a apart"]);
  a.control.request(END);
  a.exit();
  expect(step()).toEqual(["sleep", "a attended", "a runs", "a closed", "a ended"]);
  expect(server.size).toBe(0);
});

test("a guest whose console nobody reads makes nobody else wait", () => {
  const { seat, step, wake } = rig();
  const flood = seat("flood");
  let answered = 0;
  const other = seat("other", (gate) => {
    for (; gate.running; answered++);
  });
  flood.control.request(RUN);
  other.control.request(RUN);
  wake();
  step();
  while (flood.ring.put(0x2e));
  flood.exit();
  expect(step()).toEqual(["sleep"]); // its exit stays unanswered
  other.exit();
  // Nothing wakes the thread when there is room, so it stays with no vCPU.
  expect(step()).toEqual(["nap", "other attended", "other runs", "other apart"]);
  expect(answered).toBe(1);
  flood.ring.take(new Uint8Array(RING_BYTES));
  expect(step()).toEqual(["nap", "flood attended", "flood runs", "flood apart"]);
});

test("a guest that waits for its reader can be paused and ended", () => {
  const { seat, step, wake } = rig();
  const a = seat("a");
  a.control.request(RUN);
  wake();
  step();
  while (a.ring.put(0x2e));
  a.exit();
  step();
  a.control.request(PARK);
  wake();
  expect(step()).toEqual(["nap", "a attended", "a runs"]);
  a.control.request(END);
  wake();
  expect(step()).toEqual(["sleep", "a closed", "a ended"]);
});

test("an error of the monitor ends the machine that met it, and no other", () => {
  const { server, seat, step, wake } = rig();
  const bad = seat("bad", () => {
    throw new Error("a bug");
  });
  const good = seat("good");
  bad.control.request(RUN);
  good.control.request(RUN);
  wake();
  step();
  bad.exit();
  good.exit();
  expect(step()).toEqual([
    "sleep",
    "bad attended",
    "bad runs",
    "bad: Error: a bug",
    "bad closed",
    "bad ended",
  ]);
  expect(step()).toEqual(["sleep", "good attended", "good runs", "good apart"]);
  expect(server.size).toBe(1);
});
