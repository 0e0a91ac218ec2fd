/**
 * What the threads of one machine share besides device state: control blocks,
 * mailboxes, counters and console rings. All are in one shared buffer, which
 * every thread divides in the same order. A snapshot contains none of them.
 *
 * The blocks that every machine has come first. Those that parts ask for while
 * they are assembled follow: see `PartBlocks`.
 */
import { Arena } from "../base/arena.ts";
import { Generation } from "../base/generation.ts";
import { ByteRing } from "../base/ring.ts";
import { MAX_WINDOWS } from "../bus/address-space.ts";
import { CONTROL_WORDS, Control } from "./control.ts";
import { KernelTable } from "./kernel-table.ts";
import { MAILBOX_BYTES, Mailbox } from "./mailbox.ts";

const RING_BYTES = 1 << 16;

/** Exit reasons that have a counter each; api.rst numbers them from 0 without large gaps. */
export const EXIT_REASONS = 64;

/** Counters that one vCPU thread increments and any thread may read. */
export interface VcpuCounters {
  /** Exits by KVM_EXIT_ reason. */
  readonly exits: Float64Array;
  /** KVM_RUN calls that a kick or a signal ended. */
  readonly interrupted: Float64Array;
  /** Accesses by window of the machine's I/O ports. */
  readonly ports: Float64Array;
  /** Accesses by window of the machine's memory-mapped devices. */
  readonly memory: Float64Array;
}

export interface Blocks {
  readonly vcpus: readonly Control[];
  readonly io: Control;
  readonly mailboxes: readonly Mailbox[];
  readonly counters: readonly VcpuCounters[];
  /** Incremented when registers changed from which windows and KVM's objects are computed. */
  readonly generation: Generation;
  /** One number: by how much the machine's monotonic clock is ahead of the host's. Written while the threads are parked. */
  readonly clockOffsetNs: Float64Array;
  /** What KVM has of the machine at this moment. */
  readonly kernel: KernelTable;
  readonly parts: PartBlocks;
}

/** Counters of one part, as it names them. */
export interface PartCounters {
  readonly fields: readonly string[];
  readonly values: Float64Array;
}

/** Blocks that parts ask for while they are assembled: the same ones in the same order in every thread. */
class PartBlocks {
  /** By part: the bytes that it sends to the outside. */
  readonly rings = new Map<string, ByteRing>();
  /** By part. */
  readonly counters = new Map<string, PartCounters>();
  readonly #arena: Arena;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  addRing(part: string): ByteRing {
    const ring = new ByteRing(this.#arena.takeWords(ByteRing.words(RING_BYTES), part));
    this.rings.set(part, ring);
    return ring;
  }

  addCounters(part: string, fields: readonly string[]): Float64Array {
    const values = this.#arena.takeCounters(fields.length, part);
    this.counters.set(part, { fields, values });
    return values;
  }
}

const BYTES_PER_CPU = (EXIT_REASONS + 1 + 2 * (MAX_WINDOWS + 1)) * 8 + 1024;
/** More than the largest board needs: untouched pages take no memory. */
const PARTS_BYTES = 1 << 20;

export function blocksBytes(cpus: number): number {
  const bytes = (cpus + 1) * BYTES_PER_CPU + KernelTable.WORDS * 4 + PARTS_BYTES;
  return Math.ceil(bytes / 4096) * 4096;
}

export function blocks(buffer: SharedArrayBuffer, cpus: number): Blocks {
  const arena = new Arena(buffer);
  const each = <T>(make: (index: number) => T) => Array.from({ length: cpus }, (_, i) => make(i));
  return {
    vcpus: each((i) => new Control(arena.takeWords(CONTROL_WORDS, `vcpu${i}`))),
    io: new Control(arena.takeWords(CONTROL_WORDS, "io")),
    mailboxes: each((i) => new Mailbox(buffer, arena.takeWords(MAILBOX_BYTES / 4, `mailbox${i}`).byteOffset)),
    counters: each((i) => ({
      exits: arena.takeCounters(EXIT_REASONS, `vcpu${i}`),
      interrupted: arena.takeCounters(1, `vcpu${i}`),
      ports: arena.takeCounters(MAX_WINDOWS + 1, `vcpu${i}`),
      memory: arena.takeCounters(MAX_WINDOWS + 1, `vcpu${i}`),
    })),
    generation: new Generation(arena.takeWords(1, "generation")),
    clockOffsetNs: arena.takeCounters(1, "clock"),
    kernel: new KernelTable(arena.takeWords(KernelTable.WORDS, "kernel")),
    parts: new PartBlocks(arena),
  };
}
