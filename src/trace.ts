/** `vmexit/trace`: trace files for programs, without a machine. By name; nothing else. */
export {
  type ConnectionRecord,
  type CpuMode,
  type DroppedRecord,
  type EndRecord,
  type ExitRecord,
  encodeRecord,
  type FrameRecord,
  type Hex,
  type KernelCounters,
  type KernelRecord,
  type MapRange,
  type MemoryRecord,
  REGISTER_NAMES,
  type TraceHeader,
  type TraceRecord,
  type TraceRegisters,
} from "./trace/format.ts";
export { Histogram } from "./trace/histogram.ts";
export { NetworkCounting } from "./trace/network-counting.ts";
export { type CutRecord, parseTrace, type ReadRecord, readTrace, TraceError } from "./trace/read.ts";
