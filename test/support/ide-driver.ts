/** An IDE controller with disks in memory, and a driver that speaks the protocol of its registers. */
import { expect } from "vitest";
import { Arena } from "../../src/base/arena.ts";
import { ByteWide } from "../../src/bus/byte-wide.ts";
import type { AccessSize } from "../../src/bus/io.ts";
import { AGAIN } from "../../src/bus/io-task.ts";
import { DISK_COUNTERS } from "../../src/disk/disk-counters.ts";
import { AtaDisk, type DiskFacts } from "../../src/ide/ata-disk.ts";
import { AtapiCd } from "../../src/ide/atapi-cd.ts";
import { Channel, ChannelState } from "../../src/ide/channel.ts";
import type { Drive, DriveWires } from "../../src/ide/drive.ts";
import { type DriveIo, DriveRequests } from "../../src/ide/drive-requests.ts";
import { BUFFER_BYTES, DriveState } from "../../src/ide/drive-state.ts";
import { IdeTask } from "../../src/ide/ide-task.ts";
import { BusMaster, PiixIde } from "../../src/ide/piix-ide.ts";
import { GuestMemory } from "../../src/memory/guest-memory.ts";
import { MemoryDisk } from "./memory-disk.ts";

/** Guest RAM begins at this address. */
export const RAM = 0x10_0000;
export const RAM_BYTES = 1 << 20;
const BEFORE = 4096;
const BOUNCE = BEFORE + RAM_BYTES;
const END = BOUNCE + 4 * BUFFER_BYTES;
const GUARD = 0x5a;

/** RAM, then the memory that no guest sees, between guards. */
class IdeMemory extends GuestMemory {
  readonly bytes: Uint8Array;

  constructor() {
    const buffer = new ArrayBuffer(END + BEFORE);
    super({ size: buffer.byteLength, map: () => buffer }, [
      { address: RAM, size: RAM_BYTES, offset: BEFORE },
    ]);
    this.bytes = new Uint8Array(buffer);
    this.bytes.fill(GUARD, 0, BEFORE);
    this.bytes.fill(GUARD, END);
  }

  check(offset: number, length: number): void {
    if (!(offset >= BEFORE && offset + length <= END)) {
      throw new Error(`access outside RAM: ${length} bytes at RAM offset ${offset}`);
    }
  }

  get guardsAreWhole(): boolean {
    const isGuard = (byte: number) => byte === GUARD;
    return this.bytes.subarray(0, BEFORE).every(isGuard) && this.bytes.subarray(END).every(isGuard);
  }
}

export type DriveKind = "disk" | "cd";

export interface RigOptions {
  readonly disk?: Partial<DiskFacts>;
  readonly io?: Partial<DriveIo>;
  /** Bytes of each disk; of a CD. */
  readonly bytes?: number;
  readonly cdBytes?: number;
}

/** Byte `at` of disk `n`. */
export function pattern(n: number, at: number): number {
  return (at * 7 + (at >> 9) * 13 + n * 101) & 0xff;
}

export class IdeRig {
  readonly memory = new IdeMemory();
  readonly storage: MemoryDisk[] = [];
  readonly units: Drive[] = [];
  readonly reports: string[] = [];
  readonly counters = new Float64Array(DISK_COUNTERS);
  readonly chip: PiixIde;
  readonly master: ByteWide;
  readonly task: IdeTask;
  /** By channel. */
  readonly lines = [false, false];
  /** Rising edges, by channel. */
  readonly edges = [0, 0];
  /** False: the io thread does nothing until `work`. */
  serves = true;
  mayMaster = true;
  #hasWork = false;

  /** @param kinds of the drives: channel 0 drive 0, channel 0 drive 1, channel 1 and so on */
  constructor(kinds: readonly (DriveKind | undefined)[], options: RigOptions = {}) {
    const arena = new Arena(new SharedArrayBuffer(1 << 18));
    const lock = arena.takeLock("ide");
    const requests: DriveRequests[] = [];
    const channels = [0, 1].map((number) => {
      const regs = arena.take(ChannelState, "ide");
      const made: [number, Drive][] = [];
      const make = (unit: number, wires: DriveWires): Drive | undefined => {
        const n = 2 * number + unit;
        const kind = kinds[n];
        if (kind === undefined) return undefined;
        const state = arena.take(DriveState, `drive${n}`);
        const bytes = kind === "cd" ? (options.cdBytes ?? 64 * 2048) : (options.bytes ?? 1 << 20);
        const names = { serial: `serial-${n}`, model: `VMEXIT DRIVE${n}`, sectors: bytes / 512 };
        const drive =
          kind === "cd"
            ? new AtapiCd(names, state, wires)
            : new AtaDisk(
                { ...names, readOnly: false, blockSize: 512, writeCache: true, ...options.disk },
                state,
                wires,
              );
        made.push([n, drive]);
        return drive;
      };
      const channel = new Channel(
        regs,
        {
          line: { set: (level) => this.#setLine(number, level) },
          work: { raise: () => this.#raise() },
          settle: (settled) => ({
            settle: () => {
              this.task.settle();
              expect(settled()).toBe(true);
            },
          }),
        },
        make,
      );
      for (const [n, drive] of made) {
        const bytes = kinds[n] === "cd" ? (options.cdBytes ?? 64 * 2048) : (options.bytes ?? 1 << 20);
        const backend = new MemoryDisk(this.memory, bytes);
        for (let at = 0; at < bytes; at++) backend.bytes[at] = pattern(n, at);
        this.storage[n] = backend;
        this.units[n] = drive;
        requests.push(
          new DriveRequests({
            ...{ name: `drive${n}`, drive, channel, lock, backend, memory: this.memory },
            dirty: { on: false, mark() {} },
            bounce: BOUNCE + n * BUFFER_BYTES,
            counters: this.counters,
            report: ({ message }) => void this.reports.push(message),
            rerror: "report",
            werror: "report",
            throttle: undefined,
            now: () => 0,
            mayMaster: () => this.mayMaster,
            ...options.io,
          }),
        );
      }
      return channel;
    });
    this.chip = new PiixIde(channels);
    this.master = new ByteWide(new BusMaster(channels));
    this.task = new IdeTask({
      ...{ name: "ide", lock, channels, drives: requests, bells: requests.map(() => ({})) },
      close() {},
    });
    this.chip.reset();
  }

  /** The io thread has a turn for each drive, as often as they want one. */
  work(): void {
    this.#hasWork = false;
    for (const bell of this.task.bells.keys()) {
      for (let n = 0; n < 64 && this.task.turn(bell) === AGAIN; n++);
    }
  }

  in(offset: number, size: AccessSize = 1): number {
    const value = this.chip.read(offset, size);
    this.#serve();
    return value;
  }

  out(offset: number, value: number, size: AccessSize = 1): void {
    this.chip.write(offset, size, value)?.settle();
    this.#serve();
  }

  inMaster(offset: number, size: AccessSize = 1): number {
    return this.master.read(offset, size);
  }

  outMaster(offset: number, value: number, size: AccessSize = 1): void {
    this.master.write(offset, size, value)?.settle();
    this.#serve();
  }

  /** Writes a table of physical regions at `address`; the last one ends it. */
  table(address: number, regions: readonly (readonly [address: number, length: number])[], end = true): void {
    const data = new DataView(this.memory.bytes.buffer);
    regions.forEach(([at, length], n) => {
      const place = BEFORE + address - RAM + 8 * n;
      data.setUint32(place, at, true);
      data.setUint32(
        place + 4,
        (length & 0xffff) + (end && n === regions.length - 1 ? 0x8000_0000 : 0),
        true,
      );
    });
  }

  ram(address: number, length: number): Uint8Array {
    return this.memory.bytes.subarray(BEFORE + address - RAM, BEFORE + address - RAM + length);
  }

  #raise(): void {
    this.#hasWork = true;
  }

  #serve(): void {
    if (this.#hasWork && this.serves) this.work();
  }

  #setLine(channel: number, level: boolean): void {
    if (level && !this.lines[channel]) this.edges[channel]++;
    this.lines[channel] = level;
  }
}

export const BSY = 0x80;
export const DRDY = 0x40;
export const DRQ = 0x08;
export const ERR = 0x01;

/** A driver of one drive. */
export class IdeDriver {
  readonly rig: IdeRig;
  readonly base: number;
  readonly device: number;
  readonly channel: number;

  constructor(rig: IdeRig, unit: number) {
    this.rig = rig;
    this.channel = unit >> 1;
    this.base = 0x10 * this.channel;
    this.device = unit & 1 ? 0x10 : 0;
  }

  get status(): number {
    return this.rig.in(this.base + 7);
  }

  get alternate(): number {
    return this.rig.in(this.base + 8);
  }

  get error(): number {
    return this.rig.in(this.base + 1);
  }

  /** The registers 2 to 5, low bytes. */
  get registers(): number[] {
    return [2, 3, 4, 5].map((register) => this.rig.in(this.base + register));
  }

  select(bits = 0): void {
    this.rig.out(this.base + 6, 0xa0 | this.device | bits);
  }

  /** A command with an address of 28 bits. */
  command(command: number, { lba = 0, count = 0, feature = 0 } = {}): void {
    this.select(0x40 | ((lba / 2 ** 24) & 0x0f));
    this.rig.out(this.base + 1, feature);
    this.rig.out(this.base + 2, count & 0xff);
    for (const n of [0, 1, 2]) this.rig.out(this.base + 3 + n, Math.floor(lba / 2 ** (8 * n)) & 0xff);
    this.rig.out(this.base + 7, command);
  }

  /** One of 48 bits. */
  commandExt(command: number, lba: number, count: number): void {
    this.select(0x40);
    this.rig.out(this.base + 2, count >> 8);
    this.rig.out(this.base + 2, count & 0xff);
    for (const n of [3, 4, 5, 0, 1, 2]) {
      this.rig.out(this.base + 3 + (n % 3), Math.floor(lba / 2 ** (8 * n)) & 0xff);
    }
    this.rig.out(this.base + 7, command);
  }

  /** Reads the data register while the drive has data, `block` bytes a time. */
  read(most: number, size: AccessSize = 2): Uint8Array {
    const bytes: number[] = [];
    while (bytes.length < most && (this.alternate & (BSY | DRQ)) === DRQ) {
      const value = this.rig.in(this.base, size);
      for (let i = 0; i < size; i++) bytes.push((value >>> (8 * i)) & 0xff);
    }
    return Uint8Array.from(bytes);
  }

  write(bytes: Uint8Array, size: AccessSize = 2): number {
    let at = 0;
    while (at < bytes.length && (this.alternate & (BSY | DRQ)) === DRQ) {
      let value = 0;
      for (let i = 0; i < size; i++) value += bytes[at + i] * 2 ** (8 * i);
      this.rig.out(this.base, value, size);
      at += size;
    }
    return at;
  }

  /** Prepares the bus master, gives the command, starts the bus master; returns its status. */
  dma(table: number, toMemory: boolean, command: () => void): number {
    const master = 8 * this.channel;
    this.rig.outMaster(master + 4, table, 4);
    this.rig.outMaster(master, toMemory ? 8 : 0);
    this.rig.outMaster(master + 2, 0x66);
    command();
    this.rig.outMaster(master, (toMemory ? 8 : 0) | 1);
    const status = this.rig.inMaster(master + 2);
    this.rig.outMaster(master, toMemory ? 8 : 0);
    return status;
  }

  /** A packet command; data comes by `read`, or by DMA. */
  packet(packet: readonly number[], { limit = 0xfffe, dma = false } = {}): void {
    this.select();
    this.rig.out(this.base + 1, dma ? 1 : 0);
    this.rig.out(this.base + 4, limit & 0xff);
    this.rig.out(this.base + 5, limit >> 8);
    this.rig.out(this.base + 7, 0xa0);
    this.write(Uint8Array.from({ length: 12 }, (_, n) => packet[n] ?? 0));
  }

  /** Sense key, ASC and ASCQ of the last packet. */
  sense(): number[] {
    this.packet([0x03, 0, 0, 0, 18]);
    const bytes = this.read(18);
    return [bytes[2], bytes[12], bytes[13]];
  }
}
