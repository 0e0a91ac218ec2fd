/**
 * The threads of one machine, from their owner's side: started together,
 * parked together, ended together.
 *
 * A running vCPU thread is never terminated, because it may be inside the
 * kernel: it gets END, is kicked, and becomes free. When the process exits the
 * same happens without waiting for it, so that a guest never keeps a program alive.
 */
import type { Worker } from "node:worker_threads";
import { type Control, END, PARK, RUN, TRACE } from "./control.ts";
import type { Message, PartOrder, ThreadData, TraceOrder } from "./shared.ts";
import { returnThread, takeThread } from "./spare.ts";

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
  /** By member, until its role has ended. The thread then is somebody else's. */
  readonly #workers: (Worker | undefined)[];
  readonly #gone: Promise<unknown>;
  #parkedHook: () => void = () => {};
  /** vCPUs record their exits. */
  #tracing = false;

  constructor(members: readonly Member[], listener: GroupListener) {
    this.#members = members;
    this.#workers = members.map(() => takeThread());
    this.#gone = Promise.all(this.#workers.map((worker, n) => worker && this.#play(worker, n, listener)));
    alive.add(this);
  }

  /** Gives a thread its role. Settles when the thread has nothing of the machine any more. */
  #play(worker: Worker, n: number, listener: GroupListener): Promise<void> {
    const member = this.#members[n];
    worker.postMessage(member.data);
    return new Promise((resolve) => {
      const ended = () => {
        this.#workers[n] = undefined;
        member.control.park();
        // By name: the Worker's own listeners stay.
        for (const event of ["message", "error", "exit"]) worker.removeAllListeners(event);
        resolve();
      };
      worker.on("message", (message: Message) => {
        if (message.kind === "parked") this.#parkedHook();
        else if (message.kind !== "free") listener.message(message, member);
        else {
          ended();
          returnThread(worker);
        }
      });
      worker.on("error", (error) =>
        listener.failed(error instanceof Error ? error : new Error(String(error)), member),
      );
      worker.once("exit", ended);
      worker.unref(); // a message listener keeps the program alive, and a machine that never starts must not
    });
  }

  /** Lets the threads run: all of them, or only some of the vCPUs. While they run, they keep the program alive. */
  run(vcpus?: readonly number[]): void {
    for (const worker of this.#workers) worker?.ref();
    for (const member of this.#members) {
      const { role } = member.data;
      if (role.kind === "vcpu" && vcpus?.includes(role.index) === false) continue;
      member.control.request(role.kind === "vcpu" && this.#tracing ? TRACE : RUN);
      if (role.kind === "io") member.kick(); // parked, it sleeps on its bells
    }
  }

  /** Sends each vCPU thread its order, by index. The thread takes it when it needs it. */
  send(orders: readonly TraceOrder[]): void {
    this.#members.forEach((member, n) => {
      const { role } = member.data;
      if (role.kind === "vcpu") this.#workers[n]?.postMessage(orders[role.index]);
    });
  }

  /** Sends the io thread an order, which it carries out at once, even while it is parked. */
  order(order: PartOrder): void {
    const n = this.#members.findIndex((member) => !isVcpu(member));
    this.#workers[n]?.postMessage(order);
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
    for (const worker of this.#workers) worker?.ref();
    const timer = setInterval(meanwhile, PATIENCE_MS);
    await this.#gone;
    clearInterval(timer);
    alive.delete(this);
  }

  /** Asks every thread to end, without waiting. */
  tellToEnd(): void {
    for (const member of this.#members) member.control.request(END);
    for (const member of this.#members) member.kick();
  }

  async #park(members: readonly Member[], meanwhile: () => void): Promise<void> {
    for (const member of members) member.control.request(PARK);
    for (const member of members) member.kick();
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

function isVcpu(member: Member): boolean {
  return member.data.role.kind === "vcpu";
}
