/** A network that is loaded when the guest sends its first frame. */
import { expect, test, vi } from "vitest";
import { connectLate } from "../../../src/net/late-network.ts";
import { NO_OFFLOAD } from "../../../src/net/link.ts";
import type { ConnectNetwork } from "../../../src/net/program-network.ts";

const LINK = { send: () => true, accepts: 0, mtu: 1500 };

/** A network that notes its calls, and how often it was loaded. */
function recorder() {
  const calls: string[] = [];
  const load = vi.fn(
    async (): Promise<ConnectNetwork> => (_link) => ({
      input: (frame) => void calls.push(`input ${frame.join(" ")}`),
      batchEnd: () => void calls.push("batchEnd"),
      room: () => void calls.push("room"),
      reset: () => void calls.push("reset"),
      pause: () => void calls.push("pause"),
      close: () => void calls.push("close"),
    }),
  );
  return { calls, load };
}

test("it is loaded once, by the first frame, and gets all frames in order", async () => {
  const { calls, load } = recorder();
  const network = await connectLate(load, () => {})(LINK);
  network.reset();
  expect(load).not.toHaveBeenCalled();
  const frame = Uint8Array.of(1, 2);
  network.input(frame, NO_OFFLOAD);
  frame.fill(9); // it was lent
  network.input(Uint8Array.of(3), NO_OFFLOAD);
  await vi.waitFor(() => expect(calls).toContain("batchEnd"));
  network.input(Uint8Array.of(4), NO_OFFLOAD);
  network.room();
  await network.close();
  expect(calls).toEqual(["input 1 2", "input 3", "batchEnd", "input 4", "room", "close"]);
  expect(load).toHaveBeenCalledTimes(1);
});

test("a machine that ends before, or is paused, is not forgotten", async () => {
  const { calls, load } = recorder();
  const paused = await connectLate(load, () => {})(LINK);
  paused.pause?.();
  paused.input(Uint8Array.of(1), NO_OFFLOAD);
  await vi.waitFor(() => expect(calls).toEqual(["pause", "input 1", "batchEnd"]));
  calls.length = 0;
  const ended = await connectLate(load, () => {})(LINK);
  ended.input(Uint8Array.of(1), NO_OFFLOAD);
  await ended.close();
  await vi.waitFor(() => expect(calls).toEqual(["close"]));
});

test("a failure is reported once", async () => {
  const failed = vi.fn();
  const network = await connectLate(() => Promise.reject(new Error("no")), failed)(LINK);
  for (let n = 0; n < 100; n++) network.input(Uint8Array.of(n), NO_OFFLOAD);
  await vi.waitFor(() => expect(failed).toHaveBeenCalledTimes(1));
});
