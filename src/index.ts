/** The public API, by name. */
export { OptionError } from "./base/errors.ts";
export { BootError } from "./boot/plan.ts";
export type { DriveOptions } from "./config/devices/virtio-blk.ts";
export type { DeviceHandlers, DeviceOptions, UnclaimedAccess, VmOptions } from "./config/machine.ts";
export type { TraceFilter } from "./config/trace.ts";
export type { DiskSource, SourceExtent } from "./disk/disk-source.ts";
export type { Snapshot } from "./disk/image.ts";
export { ImageError } from "./disk/image-error.ts";
export type { ThrottleLimits } from "./disk/throttle.ts";
export type { GdbPlace, GdbServer } from "./gdb/server.ts";
export type { CacheMode } from "./images/cache-mode.ts";
export { KvmError } from "./kvm/errors.ts";
export type { Fpu } from "./kvm/fpu.ts";
export type { GuestDebug, Translation } from "./kvm/vcpu.ts";
export type { RegisteredSlot } from "./kvm/vm.ts";
export { NbdError } from "./nbd/nbd-error.ts";
export type { VsockConnectOptions, VsockListener } from "./net/vsock/vsock-host.ts";
export type { VsockError, VsockStream } from "./net/vsock/vsock-stream.ts";
export { SnapshotError } from "./state/snapshot-error.ts";
export { SystemError } from "./sys/errors.ts";
export { AddonError } from "./sys/native.ts";
export type { DebugStop, Ending } from "./threads/shared.ts";
export type {
  CpuMode,
  DroppedRecord,
  EndRecord,
  ExitRecord,
  Hex,
  KernelCounters,
  KernelRecord,
  MapRange,
  MemoryRecord,
  TraceHeader,
  TraceRecord,
  TraceRegisters,
} from "./trace/format.ts";
export { type CutRecord, type ReadRecord, readTrace, TraceError } from "./trace/read.ts";
export { createVm } from "./vm/create-vm.ts";
export type { GuestCpu, Registers, RegistersChange, RunOptions } from "./vm/guest-cpu.ts";
export { createPool, type MachinePool, type PoolOptions } from "./vm/machine-pool.ts";
export type { MemoryNode, MemoryTree } from "./vm/memory-tree.ts";
export { BalloonError, type BalloonStats, type VmBalloon } from "./vm/outlets/balloon.ts";
export type { VmNetwork } from "./vm/outlets/network.ts";
export type { VmVsock } from "./vm/outlets/vsock.ts";
export { type RestoreOptions, restoreVm } from "./vm/restore-vm.ts";
export type { SnapshotOptions, SnapshotReport } from "./vm/save-machine.ts";
export type { RewindReport } from "./vm/saves.ts";
export { type SerialPort, WaitError } from "./vm/serial-port.ts";
export type { DriveStats, KernelStats, SerialStats, VmStats } from "./vm/stats.ts";
export type { Trace } from "./vm/trace-stream.ts";
export {
  type ForkOptions,
  VirtualMachine,
  type VmState,
} from "./vm/virtual-machine.ts";
export type { EjectOptions, InsertOptions, VmDrive } from "./vm/vm-drive.ts";
export { DriveError, StateError, VmError } from "./vm/vm-error.ts";
export type { VmMemory } from "./vm/vm-memory.ts";
