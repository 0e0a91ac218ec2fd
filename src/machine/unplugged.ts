/** A host with nothing behind its wires, for threads that only some of them concern. */
import type { AfterWrite, ByteSink, IoDevice, IrqPulse, PowerSwitch, Signal } from "../bus/io.ts";
import { hostClock } from "./clock.ts";
import type { Host } from "./host.ts";

const nowhere: Signal & IrqPulse & ByteSink & PowerSwitch & AfterWrite = {
  raise() {},
  pulse() {},
  put() {},
  off() {},
  reset() {},
  exit() {},
  settle() {},
};

const nobody: IoDevice = { read: () => 0, write() {}, reset() {} };

export const unplugged: Host = {
  driveIrq() {},
  clock: hostClock,
  power: nowhere,
  console: () => nowhere,
  receiverReady: () => nowhere,
  interrupt: () => nowhere,
  notify: () => ({ notify() {} }),
  queuesReset: () => nowhere,
  ownDevice: () => nobody,
};
