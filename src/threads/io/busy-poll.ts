/**
 * Decides whether, and for how long, the io thread polls before it sleeps. A driver
 * that waits for each answer soon sends its next request, and a wake-up for it may
 * take longer than the request itself. While the io thread polls, the driver need not
 * notify, so the guest has one exit less. For a guest with many requests in flight,
 * polling is not needed: they share one wake-up.
 *
 * Polling takes a CPU, so it has to save time. Nothing here is tuned to a machine: the
 * time of a request is measured without polling, then with it, and polling continues
 * only if each request becomes faster by a part (GAIN) of the time that was polled for
 * it, in vain or not. Both are measured again now and then, because loads change.
 *
 * The length of a poll grows when a request came soon after it, and shrinks when none
 * came for long: as with QEMU's iothreads (poll-max-ns, poll-grow, poll-shrink).
 *
 * Source: QEMU docs, qemu-options.hx (-object iothread) and util/aio-posix.c.
 */

/** How long to poll at most, and how that changes. As QEMU's properties of an iothread, in ns. */
export interface PollLimits {
  /** 0: never. */
  readonly maxNs: number;
  /** The length is multiplied by this. 0: by 2. */
  readonly grow: number;
  /** The length is divided by this. 0: the next poll begins with the shortest length. */
  readonly shrink: number;
}

/** From this number of requests at a time on, polling is not needed. */
const MANY = 5;
/** Each microsecond of polling has to make requests faster by this part of it. */
const GAIN = 0.5;
/** Requests by which a way is measured. */
const WINDOW = 32;
/** Of a window, the slowest requests are left out: a guest also thinks, and hosts have other work. */
const COUNTED = 24;
/** Windows until polling is measured against sleeping again. */
const POLLED_WINDOWS = 32;
/** Windows without polling after it did not pay; twice as many after each further time. */
const LEAST_PAUSE = 2;
const MOST_PAUSE = 128;
const FIRST_LENGTH_NS = 4000;
const NS = 1e-6; // in ms

export class BusyPoll {
  readonly #clock: () => number;
  readonly #limits: PollLimits;
  /** Times of requests in this window, in ms. */
  readonly #times = new Float64Array(WINDOW);
  #count = 0;
  /** When the last request was served; -1 if that says nothing about the next one. */
  #last = -1;
  /** Polled in this window, in ms. */
  #polled = 0;
  #isPolling = false;
  /** Windows before the other way is measured. */
  #left = 1;
  #pause = LEAST_PAUSE;
  /** Of a request without polling, in ms. */
  #unpolled = 0;
  /** Of the next poll, in ms. */
  #length = 0;
  /** When the current wait began; -1 if its length is not of interest. */
  #start = -1;

  /** @param clock ms, from any start */
  constructor(clock: () => number, limits: PollLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Whether polling is possible before the next sleep, so that drivers need not notify until then. */
  get ready(): boolean {
    return this.#isPolling && this.#length > 0;
  }

  /** The thread has nothing to do: whether it polls now. @param served requests since the last call */
  begin(served: number): boolean {
    this.#start = -1;
    if (served === 0) return false;
    if (served >= MANY) {
      this.#last = -1;
      return false;
    }
    const now = this.#clock();
    if (this.#last >= 0) this.#note((now - this.#last) / served);
    this.#last = now;
    if (!this.#isPolling) return false;
    this.#start = now;
    return this.#length > 0;
  }

  /** Whether the poll has not yet lasted as long as it may. To be asked every few polls: it reads the clock. */
  get goesOn(): boolean {
    return this.#clock() - this.#start < this.#length;
  }

  /** The poll has found something, or it did not go on. */
  end(found: boolean): void {
    this.#polled += this.#clock() - this.#start;
    if (found) this.#start = -1;
  }

  /** The thread has slept. */
  woke(): void {
    if (this.#start < 0) return;
    const waited = this.#clock() - this.#start;
    this.#start = -1;
    // A request that took up to twice as long as others: to poll for longer may find the next one.
    if (waited <= 2 * this.#most) this.#grow();
    else this.#shrink();
  }

  /** Of a poll, in ms. To poll for longer than a request takes without it cannot pay. */
  get #most(): number {
    return Math.min(this.#limits.maxNs * NS, this.#unpolled);
  }

  #grow(): void {
    const { grow } = this.#limits;
    const longer = this.#length === 0 ? FIRST_LENGTH_NS * NS : this.#length * (grow === 0 ? 2 : grow);
    this.#length = Math.min(this.#most, longer);
  }

  #shrink(): void {
    const { shrink } = this.#limits;
    const shorter = shrink === 0 ? 0 : this.#length / shrink;
    this.#length = shorter < FIRST_LENGTH_NS * NS ? 0 : shorter;
  }

  #note(time: number): void {
    this.#times[this.#count++] = time;
    if (this.#count < WINDOW) return;
    this.#times.sort();
    let sum = 0;
    for (let n = 0; n < COUNTED; n++) sum += this.#times[n];
    this.#decide(sum / COUNTED, this.#polled / WINDOW);
    this.#count = 0;
    this.#polled = 0;
  }

  /** @param time of a request in the last window, in ms @param polled for a request, in ms */
  #decide(time: number, polled: number): void {
    this.#left--;
    if (!this.#isPolling) {
      this.#unpolled = time;
      if (this.#left > 0 || this.#limits.maxNs === 0 || time > this.#limits.maxNs * NS) return;
      this.#isPolling = true;
      this.#left = POLLED_WINDOWS;
      this.#length = Math.min(this.#most, Math.max(this.#length, FIRST_LENGTH_NS * NS));
      return;
    }
    if (this.#left === POLLED_WINDOWS - 1) return; // the length is still growing
    const pays = this.#unpolled - time >= GAIN * polled;
    if (pays && this.#left > 0) return;
    this.#isPolling = false;
    this.#left = pays ? 1 : this.#pause;
    this.#pause = pays ? LEAST_PAUSE : Math.min(MOST_PAUSE, 2 * this.#pause);
  }
}
