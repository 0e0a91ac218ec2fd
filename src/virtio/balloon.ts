/**
 * virtio-balloon: the guest gives memory back to the host, as much as it is asked
 * to; the memory that it has not in use anyway, if it reports that; and statistics
 * of what it has.
 *
 * A page that the guest returns is removed from RAM: it costs the host nothing, reads as
 * zero, and comes back when the guest touches it. So deflating needs no work here.
 *
 * Source: VIRTIO 1.2, 5.5 (Traditional Memory Balloon Device). Queues are numbered
 * as Linux and QEMU do it: one that was not negotiated is not counted, while the
 * specification gives each a number of its own.
 *
 * Not offered: free page hints (for migration) and F_PAGE_POISON: a driver that
 * fills free pages with a pattern does not report them.
 */
import { hex } from "../base/hex.ts";
import { layout } from "../base/layout.ts";
import { PAGE } from "../base/units.ts";
import type { AccessSize } from "../bus/io.ts";
import { NEVER } from "../bus/io-task.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { DeviceQueue, Property, VirtioDevice } from "./device.ts";
import { BrokenQueue, Chain } from "./queue/chain.ts";
import { DEVICE_ID_BALLOON } from "./spec.ts";

// 5.5.3, Feature bits.
const F_STATS_VQ = 1 << 1;
const F_DEFLATE_ON_OOM = 1 << 2;
const F_PAGE_REPORTING = 1 << 5;

const QUEUE_SIZE = 128;
const INFLATE = 0;
const STATS = 2;

// 5.5.4, Device configuration layout: num_pages and actual, 32 bits each.
const ACTUAL = 4;
const CONFIG_BYTES = 8;

/** 5.5.6.3, Memory Statistics Tags: the names are the indices. */
export const BALLOON_STATS = [
  "swapIn",
  "swapOut",
  "majorFaults",
  "minorFaults",
  "freeMemory",
  "totalMemory",
  "availableMemory",
  "diskCaches",
  "hugePageAllocations",
  "hugePageFailures",
] as const;
const STAT_BYTES = 10; // a 16-bit tag, a 64-bit value

/** All zero after power-on but for the target, which is the host's. */
export const BalloonState = layout("virtio-balloon", 1, {
  target: "u32", // pages that the host wants back
  actual: "u32", // pages that it has, says the driver
  reports: "u32", // how often the guest has sent statistics
  heldHead: "u32", // 1 + the head of the request that carries them: pushing it asks for new ones
  wanted: "u8", // new ones are asked for
  hasStats: "u8", // F_STATS_VQ was negotiated
  stats: { bytes: 8 * BALLOON_STATS.length }, // of 64 bits each; all ones: not known
});

export interface BalloonOptions {
  /** The driver may take memory back by itself before it runs out of it. */
  readonly deflateOnOom: boolean;
  /** The driver reports memory that it does not use. */
  readonly freePageReporting: boolean;
}

/** What the io thread has and vCPU threads do not. */
export interface BalloonIo {
  readonly memory: GuestMemory;
  /** Gives RAM back to the host: RAM offset and length in bytes, multiples of a page. */
  discard(offset: number, length: number): void;
  /** New statistics are there. */
  reported(): void;
}

export class VirtioBalloon implements VirtioDevice {
  readonly deviceId = DEVICE_ID_BALLOON;
  readonly featuresLow: number;
  readonly featuresHigh = 0;
  readonly queueSizes: readonly number[];
  readonly configSize = CONFIG_BYTES;
  readonly #regs: ReturnType<typeof BalloonState.view>;
  readonly #stats: DataView;
  readonly #io: BalloonIo | undefined;
  readonly #chain: Chain | undefined;
  readonly #entry = new Uint8Array(STAT_BYTES);

  constructor(options: BalloonOptions, regs: ReturnType<typeof BalloonState.view>, io?: BalloonIo) {
    const { deflateOnOom, freePageReporting } = options;
    this.featuresLow =
      F_STATS_VQ | (deflateOnOom ? F_DEFLATE_ON_OOM : 0) | (freePageReporting ? F_PAGE_REPORTING : 0);
    this.queueSizes = new Array(freePageReporting ? 4 : 3).fill(QUEUE_SIZE);
    this.#regs = regs;
    this.#stats = new DataView(regs.stats.buffer, regs.stats.byteOffset, regs.stats.byteLength);
    this.#io = io;
    this.#chain = io === undefined ? undefined : new Chain(io.memory, QUEUE_SIZE);
  }

  readConfig(offset: number): number {
    const { target, actual } = this.#regs;
    if (offset >= CONFIG_BYTES) return 0;
    return ((offset < ACTUAL ? target : actual) >>> (8 * (offset % 4))) & 0xff;
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    // Linux writes it byte by byte through the legacy interface of virtio-pci.
    const byte = offset - ACTUAL;
    if (byte < 0 || byte + size > 4) return;
    const regs = this.#regs;
    if (size === 4) regs.actual = value;
    else regs.actual = withBytes(regs.actual, byte, size, value);
  }

  negotiate(featuresLow: number): boolean {
    this.#regs.hasStats = (featuresLow & F_STATS_VQ) === 0 ? 0 : 1;
    return true;
  }

  reset(): void {
    const regs = this.#regs;
    regs.actual = 0;
    regs.heldHead = 0;
    regs.wanted = 0;
    regs.hasStats = 0;
    regs.stats.fill(0xff);
  }

  activate(): void {}

  deactivate(): void {}

  forget(index: number): void {
    if (index === STATS && this.#regs.hasStats !== 0) this.#regs.heldHead = 0;
  }

  run(queue: DeviceQueue, index: number): number {
    const io = this.#io;
    const chain = this.#chain;
    if (io === undefined || chain === undefined) {
      throw new Error("virtio-balloon: a request on a thread that serves none");
    }
    const isStats = index === STATS && this.#regs.hasStats !== 0;
    if (isStats) this.#askAgain(queue);
    while (queue.pop(chain)) {
      if (isStats) {
        this.#takeStats(queue, chain, io);
        continue;
      }
      if (index === INFLATE) inflate(chain, io);
      else if (index >= STATS) discardReported(chain, io);
      queue.push(chain.head, 0);
    }
    return NEVER;
  }

  /** What the owner of the machine reads and sets. @param changed shows the driver another configuration */
  properties(changed: () => void): Readonly<Record<string, Property>> {
    const regs = this.#regs;
    const setTarget = (pages: number) => {
      regs.target = pages;
      changed();
    };
    const stats = BALLOON_STATS.map((name, tag): [string, Property] => [
      name,
      { get: () => this.#stat(tag) },
    ]);
    return {
      target: { get: () => regs.target, set: setTarget },
      actual: { get: () => regs.actual },
      hasStats: { get: () => regs.hasStats },
      reports: { get: () => regs.reports },
      wanted: {
        get: () => regs.wanted,
        set: (wanted) => {
          regs.wanted = wanted;
        },
      },
      ...Object.fromEntries(stats),
    };
  }

  /** A statistic by its tag; -1 if it is not known. */
  #stat(tag: number): number {
    const value = this.#stats.getBigUint64(8 * tag, true);
    return value === UNKNOWN ? -1 : Number(value);
  }

  /** 5.5.6.3: the device returns the buffer that it keeps, and the driver sends it with new statistics. */
  #askAgain(queue: DeviceQueue): void {
    const regs = this.#regs;
    if (regs.wanted === 0 || regs.heldHead === 0) return;
    queue.push(regs.heldHead - 1, 0);
    regs.heldHead = 0;
    regs.wanted = 0;
  }

  #takeStats(queue: DeviceQueue, chain: Chain, io: BalloonIo): void {
    const regs = this.#regs;
    // A driver has one such request. Should it send a second one, the first is returned.
    if (regs.heldHead !== 0) queue.push(regs.heldHead - 1, 0);
    regs.heldHead = chain.head + 1;
    regs.stats.fill(0xff);
    const entry = new DataView(this.#entry.buffer);
    while (chain.readableBytes >= STAT_BYTES) {
      chain.takeReadable(this.#entry, "a statistic");
      const tag = entry.getUint16(0, true);
      if (tag < BALLOON_STATS.length) this.#stats.setBigUint64(8 * tag, entry.getBigUint64(2, true), true);
    }
    regs.reports++;
    io.reported();
    this.#askAgain(queue);
  }
}

const UNKNOWN = 2n ** 64n - 1n;

/** `word` with `size` of its bytes replaced by `value`. */
function withBytes(word: number, byte: number, size: AccessSize, value: number): number {
  const mask = (2 ** (8 * size) - 1) << (8 * byte);
  return ((word & ~mask) | ((value << (8 * byte)) & mask)) >>> 0;
}

/** 5.5.6.1: the driver sends the numbers of pages of 4 KiB, 32 bits each. Numbers that are next to each other are one piece. */
function inflate(chain: Chain, io: BalloonIo): void {
  const number = new Uint8Array(4);
  const word = new DataView(number.buffer);
  let first = 0;
  let pages = 0;
  const flush = () => {
    if (pages > 0) discardPages(io, first * PAGE, pages * PAGE);
    pages = 0;
  };
  while (chain.readableBytes >= number.length) {
    chain.takeReadable(number, "a page number");
    const page = word.getUint32(0, true);
    // Linux sends the pages of a large one in ascending, QEMU's tests in descending order.
    if (pages > 0 && page === first + pages) {
      pages++;
    } else if (pages > 0 && page === first - 1) {
      first = page;
      pages++;
    } else {
      flush();
      first = page;
      pages = 1;
    }
  }
  flush();
}

function discardPages(io: BalloonIo, address: number, length: number): void {
  const offset = io.memory.translate(address, length);
  if (offset < 0) throw new BrokenQueue(`${length} bytes at ${hex(address)} are not all RAM`);
  io.discard(offset, length);
}

/** 5.5.6.5: the driver's buffers are themselves the memory that it does not use. */
function discardReported({ iov, firstWritable, end }: Chain, io: BalloonIo): void {
  for (let index = firstWritable; index < end; index++) {
    // Whole pages of it: what is beside them may be in use.
    const from = Math.ceil(iov[2 * index] / PAGE) * PAGE;
    const to = Math.floor((iov[2 * index] + iov[2 * index + 1]) / PAGE) * PAGE;
    if (to > from) io.discard(from, to - from);
  }
}
