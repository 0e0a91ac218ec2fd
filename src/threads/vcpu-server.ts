/**
 * Serves the vCPUs of several machines on one thread. It runs one of them itself,
 * until another one needs it: a busy guest has the loop of a thread of its own. The
 * others are in KVM_RUN without JavaScript (Vcpu.runApart), and wait in the queue when
 * they have exited. Each has its share of time, in the order in which they came.
 *
 * The thread waits for nothing but the queue. So an exit of a machine whose program
 * does not read its console stays unanswered until there is room in the ring.
 */
import type { ByteRing } from "../base/ring.ts";
import type { ExitQueue } from "../kvm/exit-queue.ts";
import { NOBODY, WOKEN } from "../kvm/exit-queue.ts";
import type { Control } from "./control.ts";
import type { LoopGate } from "./vcpu-loop.ts";
import type { VcpuSide } from "./vcpu-side.ts";

/** What the exits of all threads that serve a machine may print before they see that a ring is full. */
const ROOM_BYTES = 16 << 10;
/** How often a vCPU that waits for a slow reader is tried again. */
const ROOM_CHECK_MS = 20;

/** A vCPU of one machine. */
export interface VcpuSeat {
  readonly side: Pick<VcpuSide, "control" | "vcpu" | "run" | "runApart" | "close"> & {
    readonly blocks: Pick<VcpuSide["blocks"], "parts">;
  };
  ended(): void;
  /** A bug of the monitor; the seat is closed then. */
  failed(error: unknown): void;
}

const PARKED = 0;
const APART = 1;
const WAITS_FOR_ROOM = 2;

/** A seat, and the gate of its loop. */
class Served implements LoopGate {
  readonly seat: VcpuSeat;
  readonly tag: number;
  phase = PARKED;
  /** It answers at least this many exits in a turn. */
  left = 0;
  readonly #server: VcpuServer;
  readonly #control: Control;
  readonly #rings: readonly ByteRing[];

  constructor(server: VcpuServer, seat: VcpuSeat, tag: number) {
    this.#server = server;
    this.seat = seat;
    this.tag = tag;
    this.#control = seat.side.control;
    this.#rings = [...seat.side.blocks.parts.rings.values()];
  }

  get running(): boolean {
    return this.#control.running && this.#stays;
  }

  get tracing(): boolean {
    return this.#control.tracing && this.#stays;
  }

  get hasRoom(): boolean {
    const rings = this.#rings;
    for (let n = 0; n < rings.length; n++) {
      if (rings[n].capacity - rings[n].length < ROOM_BYTES) return false;
    }
    return true;
  }

  get #stays(): boolean {
    if (this.left === 0) return this.#server.keeps && this.hasRoom;
    this.left--;
    return this.hasRoom;
  }
}

export class VcpuServer {
  readonly #queue: ExitQueue;
  readonly #seats = new Map<number, Served>();
  readonly #waiting = new Set<Served>();

  constructor(queue: ExitQueue) {
    this.#queue = queue;
  }

  get size(): number {
    return this.#seats.size;
  }

  /** The thread may stay with the vCPU that it runs. */
  get keeps(): boolean {
    return this.#waiting.size === 0 && !this.#queue.wanted;
  }

  /** @param tag a number that no other seat has; not WOKEN */
  add(tag: number, seat: VcpuSeat): void {
    const served = new Served(this, seat, tag);
    this.#seats.set(tag, served);
    this.#guard(served, () => this.#obey(served));
  }

  /** One turn. True if the thread's owner has called `wake`, or a seat has ended. */
  step(): boolean {
    const seats = this.#seats.size;
    return this.#serveNext() || this.#seats.size < seats;
  }

  #serveNext(): boolean {
    const tag = this.#queue.take(this.#waiting.size > 0 ? ROOM_CHECK_MS : -1);
    if (tag === WOKEN) {
      for (const served of [...this.#seats.values()]) this.#guard(served, () => this.#obey(served));
      return true;
    }
    if (tag !== NOBODY) {
      const served = this.#seats.get(tag);
      if (served !== undefined) this.#guard(served, () => this.#turn(served));
    }
    for (const served of [...this.#waiting]) this.#guard(served, () => this.#turn(served));
    return false;
  }

  /** Does what the owner requested of a vCPU that is not in the guest. */
  #obey(served: Served): void {
    const { control } = served.seat.side;
    if (served.phase === APART) return; // its owner kicks it
    if (served.phase === WAITS_FOR_ROOM) {
      if (!control.mayRun) this.#turn(served);
    } else if (control.ending) this.#end(served);
    else if (control.start()) this.#runApart(served);
  }

  /** Answers the exit of a vCPU, and runs it for as long as no other needs the thread. */
  #turn(served: Served): void {
    const { side } = served.seat;
    if (side.control.mayRun && !served.hasRoom) {
      served.phase = WAITS_FOR_ROOM;
      this.#waiting.add(served);
      return;
    }
    this.#waiting.delete(served);
    served.phase = PARKED;
    served.left = 1;
    side.vcpu.attend(this.#queue);
    side.run(served);
    if (side.control.parked) this.#obey(served);
    else this.#runApart(served);
  }

  #runApart(served: Served): void {
    served.phase = APART;
    served.seat.side.runApart(this.#queue, served.tag);
  }

  #end(served: Served): void {
    this.#seats.delete(served.tag);
    this.#waiting.delete(served);
    served.seat.side.close();
    served.seat.ended();
  }

  /** A bug that one machine meets ends this machine only. */
  #guard(served: Served, what: () => void): void {
    try {
      what();
    } catch (error) {
      served.seat.failed(error);
      this.#end(served);
    }
  }
}
