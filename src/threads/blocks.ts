/**
 * Where the threads of one machine meet: control blocks, mailboxes, counters
 * and console rings, carved out of one shared buffer in one order by everyone.
 * None of it is device state, so none of it is part of a snapshot.
 */
import { Arena } from "../base/arena.ts";
import { ByteRing } from "../base/ring.ts";
import { MAX_WINDOWS } from "../bus/address-space.ts";
import { CONSOLES } from "../machine/host.ts";
import { CONTROL_WORDS, Control } from "./control.ts";
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
  readonly rings: readonly ByteRing[];
  /** Per virtio device: VIRTIO_COUNTERS counters that the io thread increments. */
  readonly virtio: readonly Float64Array[];
}

/** Counters of one virtio device. */
export const VIRTIO_COUNTERS = 8;

const BYTES_PER_CPU = (EXIT_REASONS + 1 + 2 * (MAX_WINDOWS + 1)) * 8 + 1024;

export function blocksBytes(cpus: number, virtioDevices: number): number {
  const bytes = CONSOLES * (RING_BYTES + 1024) + (cpus + 1) * BYTES_PER_CPU + virtioDevices * 256;
  return Math.ceil(bytes / 4096) * 4096;
}

export function blocks(buffer: SharedArrayBuffer, cpus: number, virtioDevices: number): Blocks {
  const arena = new Arena(buffer);
  const each = <T>(count: number, make: (index: number) => T) =>
    Array.from({ length: count }, (_, i) => make(i));
  return {
    vcpus: each(cpus, (i) => new Control(arena.takeWords(CONTROL_WORDS, `vcpu${i}`))),
    io: new Control(arena.takeWords(CONTROL_WORDS, "io")),
    mailboxes: each(
      cpus,
      (i) => new Mailbox(buffer, arena.takeWords(MAILBOX_BYTES / 4, `mailbox${i}`).byteOffset),
    ),
    counters: each(cpus, (i) => ({
      exits: arena.takeCounters(EXIT_REASONS, `vcpu${i}`),
      interrupted: arena.takeCounters(1, `vcpu${i}`),
      ports: arena.takeCounters(MAX_WINDOWS + 1, `vcpu${i}`),
      memory: arena.takeCounters(MAX_WINDOWS + 1, `vcpu${i}`),
    })),
    rings: each(CONSOLES, (i) => new ByteRing(arena.takeWords(ByteRing.words(RING_BYTES), `console${i}`))),
    virtio: each(virtioDevices, (i) => arena.takeCounters(VIRTIO_COUNTERS, `virtio${i}`)),
  };
}
