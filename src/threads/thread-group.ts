/**
 * The threads of one machine, from their owner's side: started together,
 * parked together, ended together.
 *
 * A running vCPU thread is never terminated, because it may be inside the
 * kernel: it gets END, is kicked, and becomes free. When the process exits the
 * same happens without waiting for it, so that a guest never keeps a program alive.
 */
import { type Control, END, PARK, RUN, TRACE } from "./control.ts";
import { ownSeat, type Seat, type TakeSeat } from "./seat.ts";
import type { Message, PartOrder, ThreadData, TraceOrder } from "./shared.ts";
import { pooledIoSeat, pooledVcpuSeat } from "./thread-pool.ts";

export interface Member {
  readonly name: string;
  readonly data: ThreadData;
  readonly control: Control;
  /** Makes a busy thread read its control block. */
  kick(): void;
}

export interface GroupListener {
  message(message: Message, member: Member): void;
  /** A thread failed: a bug of the monitor, or a module that cannot be loaded. */
  failed(error: Error, member: Member): void;
}

/** All groups with threads: they are ended when the process exits. */
const alive = new Set<ThreadGroup>();
process.on("exit", () => {
  for (const group of alive) group.tellToEnd();
});

export class ThreadGroup {
  readonly #members: readonly Member[];
  /** By member. */
  readonly #seats: readonly Seat[];
  readonly #gone: Promise<unknown>;
  readonly #isPooled: boolean;
  #parkedHook: () => void = () => {};
  /** vCPUs record their exits. */
  #tracing = false;

  /** @param isPooled on threads that serve several machines */
  constructor(members: readonly Member[], isPooled: boolean, listener: GroupListener) {
    this.#members = members;
    this.#isPooled = isPooled;
    const gone: Promise<void>[] = [];
    this.#seats = members.map((member) => {
      const { promise, resolve } = settleable();
      gone.push(promise);
      const takeSeat = isPooled ? pooledSeat(member) : ownSeat;
      return takeSeat(member.data, {
        message: (message) => {
          if (message.kind === "parked") this.#parkedHook();
          else listener.message(message, member);
        },
        failed: (error) => listener.failed(error, member),
        ended: () => {
          member.control.park();
          resolve();
        },
      });
    });
    this.#gone = Promise.all(gone);
    alive.add(this);
  }

  /** A machine of this program has threads of its own. */
  static get anyOwn(): boolean {
    return [...alive].some((group) => !group.#isPooled);
  }

  /** Lets the threads run: all of them, or only some of the vCPUs. While they run, they keep the program alive. */
  run(vcpus?: readonly number[]): void {
    for (const seat of this.#seats) seat.ref();
    this.#members.forEach((member, n) => {
      const { role } = member.data;
      if (role.kind === "vcpu" && vcpus?.includes(role.index) === false) return;
      member.control.request(role.kind === "vcpu" && this.#tracing ? TRACE : RUN);
      if (role.kind === "io") member.kick(); // parked, it sleeps on its bells
      this.#seats[n].wake();
    });
  }

  /** Sends each vCPU thread its order, by index. The thread takes it when it needs it. */
  send(orders: readonly TraceOrder[]): void {
    this.#members.forEach((member, n) => {
      const { role } = member.data;
      if (role.kind === "vcpu") this.#seats[n].post(orders[role.index]);
    });
  }

  /** Sends the io thread an order, which it carries out at once, even while it is parked. */
  order(order: PartOrder): void {
    const n = this.#members.findIndex((member) => !isVcpu(member));
    this.#seats[n].post(order);
    this.#members[n].kick();
  }

  /** Starts or stops the recording of exits, at once if the vCPUs run. */
  trace(on: boolean): void {
    this.#tracing = on;
    for (const member of this.#members.filter(isVcpu)) {
      if (member.control.change(on ? TRACE : RUN)) member.kick();
    }
  }

  /**
   * Stops every thread at a safe point: vCPUs first, so that nothing new
   * reaches the io thread once it parks.
   *
   * @param meanwhile called repeatedly, to remove what a thread may be waiting for
   */
  async park(meanwhile: () => void): Promise<void> {
    await this.#park(this.#members.filter(isVcpu), meanwhile);
    await this.#park(
      this.#members.filter((member) => !isVcpu(member)),
      meanwhile,
    );
  }

  /** Ends every thread and waits for its end. */
  async end(meanwhile: () => void): Promise<void> {
    this.tellToEnd();
    for (const seat of this.#seats) seat.ref();
    const timer = setInterval(meanwhile, PATIENCE_MS);
    await this.#gone;
    clearInterval(timer);
    alive.delete(this);
  }

  /** Asks every thread to end, without waiting. */
  tellToEnd(): void {
    for (const member of this.#members) member.control.request(END);
    for (const member of this.#members) member.kick();
    for (const seat of this.#seats) seat.wake();
  }

  async #park(members: readonly Member[], meanwhile: () => void): Promise<void> {
    for (const member of members) member.control.request(PARK);
    for (const member of members) member.kick();
    for (const seat of this.#seats) seat.wake();
    const timer = setInterval(() => {
      meanwhile();
      this.#parkedHook(); // no message comes from a thread that has ended, or was asked to park before it ran
    }, PATIENCE_MS);
    try {
      while (members.some((member) => !member.control.parked)) {
        await new Promise<void>((resolve) => {
          this.#parkedHook = resolve;
        });
      }
    } finally {
      clearInterval(timer);
    }
  }
}

const PATIENCE_MS = 5;

function pooledSeat(member: Member): TakeSeat {
  return isVcpu(member) ? pooledVcpuSeat : pooledIoSeat;
}

function settleable(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

function isVcpu(member: Member): boolean {
  return member.data.role.kind === "vcpu";
}
