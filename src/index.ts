/** The public API, by name. */
export { OptionError } from "./base/errors.ts";
export { BootError } from "./boot/plan.ts";
export { KvmError } from "./kvm/errors.ts";
export { SystemError } from "./sys/errors.ts";
export { AddonError } from "./sys/native.ts";
export type { Ending } from "./threads/shared.ts";
export type {
  DeviceHandlers,
  DeviceOptions,
  DriveOptions,
  UnclaimedAccess,
  VmOptions,
} from "./vm/options.ts";
export { type SerialPort, WaitError } from "./vm/serial-port.ts";
export type { DriveStats, SerialStats, VmStats } from "./vm/stats.ts";
export { createVm, StateError, VirtualMachine, VmError, type VmState } from "./vm/virtual-machine.ts";
