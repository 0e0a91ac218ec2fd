/** Ports that do nothing, for tests and for threads that use only some ports. */
import type {
  AfterWrite,
  ByteSink,
  IoDevice,
  IrqPulse,
  MessageSink,
  PowerSwitch,
  Signal,
} from "../bus/io.ts";
import { hostClock } from "./clock.ts";
import type { Ports } from "./ports.ts";

const nowhere: Signal & IrqPulse & MessageSink & ByteSink & PowerSwitch & AfterWrite = {
  raise() {},
  pulse() {},
  send() {},
  put() {},
  off() {},
  reset() {},
  exit() {},
  settle() {},
};

const nobody: IoDevice = { read: () => 0, write() {}, reset() {} };

export const unplugged: Ports = {
  clock: hostClock,
  power: nowhere,
  driveIrq() {},
  replacePit() {},
  pulse: () => nowhere,
  messages: nowhere,
  sink: () => nowhere,
  ready: () => nowhere,
  notify: () => ({ notify() {} }),
  settle: () => nowhere,
  moved: nowhere,
  shadow: () => undefined,
  boardMemory: () => undefined,
  latch: () => undefined,
  counters: (_part, fields) => new Float64Array(fields.length),
  own: () => nobody,
};
