/**
 * Where the threads of one machine meet: control blocks, mailboxes, counters and
 * output rings. Every thread takes them from one shared buffer in the same order.
 * None of it is device state, so none of it is part of a snapshot.
 *
 * The blocks of parts follow those that every machine has, as the parts are
 * assembled: see `PartBlocks`.
 */
import { Arena } from "../base/arena.ts";
import { Generation } from "../base/generation.ts";
import { ByteRing } from "../base/ring.ts";
import { MAX_WINDOWS } from "../bus/address-space.ts";
import { CONTROL_WORDS, Control } from "./control.ts";
import { KernelTable } from "./kernel-table.ts";
import { MAILBOX_BYTES, Mailbox } from "./mailbox.ts";

const RING_BYTES = 1 << 16;

/** Exit reasons that are counted one by one; api.rst numbers them from 0 without large gaps. */
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
  /** Bumped when registers moved what windows and KVM's objects derive from. */
  readonly generation: Generation;
  /** What KVM has. */
  readonly kernel: KernelTable;
  readonly parts: PartBlocks;
}

/** Counters of one part, as it names them. */
export interface PartCounters {
  readonly fields: readonly string[];
  readonly values: Float64Array;
}

/** Blocks that parts ask for while they are assembled: in every thread the same ones in the same order. */
class PartBlocks {
  /** By part: the bytes that it sends to the world outside. */
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
/** More than the largest board takes. Pages that are not touched cost no memory. */
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
    kernel: new KernelTable(arena.takeWords(KernelTable.WORDS, "kernel")),
    parts: new PartBlocks(arena),
  };
}
