/**
 * The addon, typed: handles over system calls, as native/ exports them.
 *
 * Every method returns a result >= 0 or -errno and never throws; the classes in
 * this folder and in src/kvm turn that into exceptions and names. An unopened
 * object is made with `new`; its opening method fills it.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The methods of all handles. */
export interface NativeHandle {
  close(): number;
  /** A number that names the open state in every thread of the process. */
  token(): number;
  /** Shares the open state of another thread's object. */
  attach(token: number): number;
}

export interface NativeGuestRam extends NativeHandle {
  create(size: number, flags: number): number;
  mapFile(file: NativeFileIo, size: number, shared: boolean): number;
  fork(child: NativeGuestRam): number;
  size(): number;
  view(offset: number, length: number): ArrayBuffer | number;
  discard(offset: number, length: number): number;
  hostAddress(): number;
  resident(offset: number, length: number): number;
  contents(offset: number, length: number, bitmap: Uint8Array): number;
}

export interface NativeFileIo extends NativeHandle {
  open(path: string, flags: number): number;
  size(): number;
  describe(out: Float64Array): number;
  preadv(
    memory: NativeGuestRam | Uint8Array,
    pairs: Float64Array,
    first: number,
    count: number,
    offset: number,
  ): number;
  pwritev(
    memory: NativeGuestRam | Uint8Array,
    pairs: Float64Array,
    first: number,
    count: number,
    offset: number,
    dsync: boolean,
  ): number;
  pread(bytes: Uint8Array, offset: number): number;
  pwrite(bytes: Uint8Array, offset: number): number;
  fdatasync(): number;
  discard(offset: number, length: number): number;
  writeZeroes(offset: number, length: number, unmap: boolean): number;
  truncate(size: number): number;
  allocate(offset: number, length: number): number;
  data(offset: number, hole: boolean): number;
  lockByte(offset: number, lock: boolean): number;
  byteIsLocked(offset: number): number;
}

type BeginTransfer = (
  tag: number,
  file: number,
  pairs: Float64Array,
  first: number,
  count: number,
  offset: number,
) => number;

export interface NativeAsyncIo extends NativeHandle {
  create(kind: number, depth: number, event: NativeEventFd, ram: NativeGuestRam): number;
  addFile(file: NativeFileIo): number;
  read: BeginTransfer;
  readCached: BeginTransfer;
  write: BeginTransfer;
  writeCached: BeginTransfer;
  writeThrough: BeginTransfer;
  flush(tag: number, file: number): number;
  discard(tag: number, file: number, offset: number, length: number): number;
  writeZeroes(tag: number, file: number, offset: number, length: number, unmap: boolean): number;
  submit(): number;
  reap(tags: Uint32Array, results: Float64Array): number;
  wait(): number;
}

export interface NativeEventFd extends NativeHandle {
  create(): number;
  signal(): number;
  take(): number;
}

export interface NativeEpoll extends NativeHandle {
  create(): number;
  add(event: NativeEventFd | NativeNetIo, tag: number): number;
  remove(event: NativeEventFd | NativeNetIo): number;
  wait(tags: Uint32Array, timeoutMs: number): number;
}

export interface NativeExitQueue extends NativeHandle {
  create(shareUs: number): number;
  take(timeoutMs: number): number;
  wake(): number;
  wanted(): ArrayBuffer | number;
}

export interface NativeNetIo extends NativeHandle {
  openTap(name: string, flags: number, out: Uint8Array): number;
  adopt(descriptor: number): number;
  tapFlags(): number;
  setHeaderSize(bytes: number): number;
  setOffload(flags: number): number;
  setSendBuffer(bytes: number): number;
  setQueue(on: boolean): number;
  receive(bytes: Uint8Array): number;
  send(
    head: Uint8Array,
    memory: NativeGuestRam | Uint8Array,
    pairs: Float64Array,
    first: number,
    count: number,
  ): number;
}

export interface NativeVhost extends NativeHandle {
  open(path: string): number;
  adopt(descriptor: number): number;
  setOwner(): number;
  features(out: Uint32Array): number;
  setFeatures(low: number, high: number): number;
  setMemory(ram: NativeGuestRam | undefined, regions: Float64Array): number;
  setRing(index: number, size: number, base: number, table: number, avail: number, used: number): number;
  setEvents(
    index: number,
    kick: NativeEventFd | undefined,
    call: NativeEventFd | undefined,
    error: NativeEventFd | undefined,
  ): number;
  ringBase(index: number): number;
  setNetBackend(index: number, net: NativeNetIo | undefined): number;
  setGuestCid(cid: number): number;
  setRunning(on: boolean): number;
}

export interface NativePty extends NativeHandle {
  open(): number;
  connected(): number;
  duplicate(): number;
}

export interface NativeKvmSystem extends NativeHandle {
  open(path: string): number;
  apiVersion(): number;
  checkExtension(capability: number): number;
  vcpuMmapSize(): number;
  supportedCpuid(out: Uint32Array): number;
  msrIndexList(out: Uint32Array): number;
  msrFeatureIndexList(out: Uint32Array): number;
  featureMsrs(entries: Uint8Array): number;
  createVm(vm: NativeKvmVm, type: number): number;
}

export interface NativeKvmVm extends NativeHandle {
  checkExtension(capability: number): number;
  enableCap(capability: number, argument: number): number;
  setTssAddr(address: number): number;
  setIdentityMapAddr(address: number): number;
  setUserMemoryRegion(
    slot: number,
    flags: number,
    address: number,
    ram: NativeGuestRam | undefined,
    offset: number,
    size: number,
  ): number;
  getDirtyLog(slot: number, bitmap: Uint8Array): number;
  clearDirtyLog(slot: number, bitmap: Uint8Array, firstPage: number, pages: number): number;
  createIrqchip(): number;
  createPit2(flags: number): number;
  irqLine(gsi: number, level: number): number;
  pulseIrqLine(gsi: number): number;
  irqfd(event: NativeEventFd, gsi: number, flags: number, resample?: NativeEventFd): number;
  ioeventfd(
    event: NativeEventFd,
    address: number,
    length: number,
    datamatch: number | undefined,
    flags: number,
  ): number;
  setGsiRouting(entries: Uint32Array): number;
  signalMsi(address: number, data: number): number;
  getClock(bytes: Uint8Array): number;
  setClock(bytes: Uint8Array): number;
  getIrqchip(bytes: Uint8Array): number;
  setIrqchip(bytes: Uint8Array): number;
  getPit2(bytes: Uint8Array): number;
  setPit2(bytes: Uint8Array): number;
  readStats(offset: number, out: Uint8Array): number;
  createVcpu(vcpu: NativeKvmVcpu, id: number): number;
}

/** An ioctl of a vCPU that reads or writes one struct. */
type StructIoctl = (bytes: Uint8Array) => number;

export interface NativeKvmVcpu extends NativeHandle {
  /** A function that runs this vCPU; it costs less to call than a method. */
  runner(timed: boolean): (() => number) | number;
  kick(): number;
  attend(queue: NativeExitQueue): number;
  runApart(queue: NativeExitQueue, tag: number, timed: boolean): number;
  runPage(): ArrayBuffer | number;
  times(): ArrayBuffer | number;
  getRegs: StructIoctl;
  setRegs: StructIoctl;
  getSregs: StructIoctl;
  setSregs: StructIoctl;
  getSregs2: StructIoctl;
  setSregs2: StructIoctl;
  getFpu: StructIoctl;
  setFpu: StructIoctl;
  xsaveSize(): number;
  getXsave: StructIoctl;
  setXsave: StructIoctl;
  getXcrs: StructIoctl;
  setXcrs: StructIoctl;
  getMsrs: StructIoctl;
  setMsrs: StructIoctl;
  setCpuid2(entries: Uint32Array): number;
  getLapic: StructIoctl;
  setLapic: StructIoctl;
  getMpState(): number;
  setMpState(state: number): number;
  getVcpuEvents: StructIoctl;
  setVcpuEvents: StructIoctl;
  getDebugregs: StructIoctl;
  setDebugregs: StructIoctl;
  setGuestDebug: StructIoctl;
  translate: StructIoctl;
  nmi(): number;
  interrupt(vector: number): number;
  enableCap(capability: number): number;
  getTscKhz(): number;
  setTscKhz(khz: number): number;
  kvmclockCtrl(): number;
  readStats(offset: number, out: Uint8Array): number;
}

/** Sizes and offsets of structs, and constants, as the compiler sees them in <linux/kvm.h>. */
type NumberTable = Readonly<Record<string, number>>;

export interface NativeAddon {
  readonly GuestRam: new () => NativeGuestRam;
  readonly FileIo: new () => NativeFileIo;
  readonly AsyncIo: new () => NativeAsyncIo;
  readonly EventFd: new () => NativeEventFd;
  readonly Epoll: new () => NativeEpoll;
  readonly ExitQueue: new () => NativeExitQueue;
  readonly NetIo: new () => NativeNetIo;
  readonly Pty: new () => NativePty;
  readonly Vhost: new () => NativeVhost;
  readonly KvmSystem: new () => NativeKvmSystem;
  readonly KvmVm: new () => NativeKvmVm;
  readonly KvmVcpu: new () => NativeKvmVcpu;
  exchange(path: string, other: string): number;
  pingSocket(family: number): number;
  layout(): Readonly<Record<string, NumberTable>>;
  constants(): NumberTable;
}

/** The addon is missing, or cannot be loaded on this system. */
export class AddonError extends Error {
  override readonly name = "AddonError";
  readonly code = "EADDON";
}

/** The package: two folders up, from src/sys as from dist/sys. */
const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));
/** A checkout's own build comes first; then what the package carries (scripts/prebuild.mjs). */
const PLACES = [
  ["module_root", "build", "Release", "bindings"],
  ["module_root", "prebuilds", "linux-x64", "bindings"],
];

function load(): NativeAddon {
  const require = createRequire(import.meta.url);
  // A developer's build of the same sources, made by scripts/sanitize.
  const other = process.env.VMEXIT_ADDON;
  if (other !== undefined) return require(other) as NativeAddon;
  try {
    return require("bindings")({ bindings: "vmexit", module_root: PACKAGE, try: PLACES }) as NativeAddon;
  } catch (error) {
    const built = PLACES.some((place) => existsSync(join(PACKAGE, ...place.slice(1, -1), "vmexit.node")));
    const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new AddonError(
      built
        ? `the native addon, which needs x86-64 Linux with glibc 2.28 or later, cannot be loaded: ${why}`
        : "the native addon is not built; run `npx node-gyp rebuild` in the checkout's folder (it needs make, python3 and a C++ compiler)",
      { cause: error },
    );
  }
}

export const native: NativeAddon = load();
