/**
 * Runs the tasks of one or more machines on one thread: sleeps until a bell
 * rings, runs the tasks that have work, sleeps again. It starts, parks and ends
 * each machine's tasks as its owner asks.
 *
 * Nothing here is asynchronous: the thread never returns to its event loop.
 */
import { AGAIN, type Bell, type IoTask, NEVER } from "../../bus/io-task.ts";
import type { Control } from "../control.ts";
import type { BusyPoll } from "./busy-poll.ts";

/** After so many successful polls in a row, the poller is called too: other bells may have rung. */
const MOST_FINDS = 16;
/** Polls between two readings of the clock: these take some 25 ns each, that 50. */
const POLLS_PER_READING = 16;
/** Bells that one sleep can report. */
const MOST_TAGS = 64;

/** What the thread sleeps on: epoll, or a test. */
export interface Poller {
  add(bell: Bell, tag: number): void;
  remove(bell: Bell): void;
  /** Sleeps until a bell rings, or for `timeoutMs`; NEVER has no end. Fills `tags`; returns how many. */
  wait(tags: Uint32Array, timeoutMs: number): number;
}

/** The tasks of one machine. */
export interface TaskGroup {
  readonly control: Control;
  readonly tasks: readonly IoTask[];
  /** Rings when `control` has changed, when an order was sent, and when a notification was an exit. */
  readonly wake: Bell;
  /** The machine's owner may have sent orders. Called when `wake` rang, even while the group is parked. */
  drainInbox(): void;
  /** No request is in flight; the group is parked until it is asked to run. */
  parked(): void;
  /** The group has ended, and the reactor has removed it. */
  ended?(): void;
}

/** One bell of a task. */
class Slot {
  readonly group: RunningGroup;
  readonly task: IoTask;
  readonly bell: number;
  /** It runs in the next round. */
  due = false;
  /** When it runs without a bell. */
  at = NEVER;
  /** It runs after this sleep if no bell rings. */
  idle = false;
  /** Its bell does not ring. */
  isDeaf = false;

  constructor(group: RunningGroup, task: IoTask, bell: number) {
    this.group = group;
    this.task = task;
    this.bell = bell;
  }
}

class RunningGroup {
  readonly group: TaskGroup;
  readonly slots: readonly Slot[];
  isRunning = false;

  constructor(group: TaskGroup) {
    this.group = group;
    this.slots = group.tasks.flatMap((task) => task.bells.map((_, bell) => new Slot(this, task, bell)));
  }

  dueAll(): void {
    for (const slot of this.slots) slot.due = true;
  }
}

export class Reactor {
  readonly #poller: Poller;
  readonly #clock: () => number;
  readonly #busyPoll: BusyPoll;
  readonly #groups: RunningGroup[] = [];
  /** By tag: a bell of a task, or a group's own. */
  readonly #tagged: (Slot | RunningGroup | undefined)[] = [];
  readonly #tags = new Uint32Array(MOST_TAGS);
  /** Of the groups that run: all slots, those that can be polled, and tasks with something to settle. */
  #slots: readonly Slot[] = [];
  #polled: readonly Slot[] = [];
  #settling: readonly RunningGroup[] = [];
  /** Of the last round of turns: requests served, whether a task wants another turn at once, and the earliest time. */
  #served = 0;
  #again = false;
  #nextAt = NEVER;
  #finds = 0;

  /** @param clock ms, from any start */
  constructor(poller: Poller, clock: () => number, busyPoll: BusyPoll) {
    this.#poller = poller;
    this.#clock = clock;
    this.#busyPoll = busyPoll;
  }

  /** Adds a machine's tasks, which start when its control says so. */
  add(group: TaskGroup): void {
    const running = new RunningGroup(group);
    this.#groups.push(running);
    this.#tag(group.wake, running);
    for (const slot of running.slots) {
      const bell = slot.task.bells[slot.bell];
      if (bell !== undefined) this.#tag(bell, slot);
    }
    for (const task of group.tasks) {
      const slots = running.slots.filter((slot) => slot.task === task);
      task.connect?.((bell, on) => this.#listen(slots[bell], on));
    }
  }

  /** Returns when all groups have ended. */
  run(): void {
    while (this.#groups.length > 0) this.step();
  }

  /** One round: sleeps, or polls; then turns. */
  step(): void {
    for (let n = this.#groups.length - 1; n >= 0; n--) this.#obey(this.#groups[n]);
    if (this.#groups.length === 0) return;
    const polls = !this.#again && this.#busyPoll.begin(this.#served);
    if (!polls || !this.#poll()) this.#sleep();
    this.#settle();
    this.#giveTurns();
  }

  /** Does what the owner of a group has requested. */
  #obey(running: RunningGroup): void {
    const { control } = running.group;
    if (running.isRunning) {
      if (control.running) return;
      this.#park(running);
    }
    if (control.ending) this.#end(running);
    else if (control.start()) this.#start(running);
  }

  #start(running: RunningGroup): void {
    running.isRunning = true;
    for (const task of running.group.tasks) task.resume();
    // First serve bells that rang while it was parked, and earlier requests.
    running.dueAll();
    this.#again = true;
    this.#listSlots();
  }

  #park(running: RunningGroup): void {
    running.isRunning = false;
    this.#listSlots();
    // A parked machine needs its notifications on, although polling was interrupted.
    for (const { due, task, bell } of running.slots) if (!due) task.arm?.(bell);
    for (const task of running.group.tasks) task.quiesce();
    running.group.control.park();
    running.group.parked();
  }

  #end(running: RunningGroup): void {
    const { group, slots } = running;
    this.#groups.splice(this.#groups.indexOf(running), 1);
    this.#untag(group.wake, running);
    for (const slot of slots) {
      const bell = slot.task.bells[slot.bell];
      if (bell !== undefined && !slot.isDeaf) this.#untag(bell, slot);
    }
    for (const task of group.tasks) task.close?.();
    group.ended?.();
  }

  #listSlots(): void {
    const groups = this.#groups.filter(({ isRunning }) => isRunning);
    this.#slots = groups.flatMap(({ slots }) => slots);
    this.#polled = this.#slots.filter(({ task, bell }) => bell < (task.polled ?? 0));
    this.#settling = groups.filter(({ group }) => group.tasks.some((task) => task.settle !== undefined));
  }

  #tag(bell: Bell, owner: Slot | RunningGroup): void {
    const free = this.#tagged.indexOf(undefined);
    const tag = free < 0 ? this.#tagged.length : free;
    this.#tagged[tag] = owner;
    this.#poller.add(bell, tag);
  }

  #untag(bell: Bell, owner: Slot | RunningGroup): void {
    this.#poller.remove(bell);
    this.#tagged[this.#tagged.indexOf(owner)] = undefined;
  }

  #listen(slot: Slot, on: boolean): void {
    const bell = slot.task.bells[slot.bell];
    if (bell === undefined || slot.isDeaf !== on) return;
    slot.isDeaf = !on;
    if (on) this.#tag(bell, slot);
    else this.#untag(bell, slot);
  }

  /** Polls the slots whose bells need not ring now. True if it found something. */
  #poll(): boolean {
    if (this.#finds === MOST_FINDS) {
      this.#finds = 0;
      if (this.#takeBells(0)) return true;
    }
    const slots = this.#polled;
    const busyPoll = this.#busyPoll;
    do {
      for (let poll = 0; poll < POLLS_PER_READING; poll++) {
        for (let n = 0; n < slots.length; n++) {
          const slot = slots[n];
          if (slot.due || slot.task.peek?.(slot.bell) !== true) continue;
          slot.due = true;
          busyPoll.end(true);
          this.#finds++;
          return true;
        }
      }
    } while (busyPoll.goesOn);
    busyPoll.end(false);
    return false;
  }

  #sleep(): void {
    this.#finds = 0;
    const timeoutMs = Math.ceil(this.#arm(this.#again ? 0 : this.#untilNext()));
    if (!this.#takeBells(timeoutMs) && timeoutMs !== 0) {
      for (const slot of this.#slots) if (slot.idle) slot.due = true;
    }
    this.#busyPoll.woke();
  }

  /** Waits for bells. Their slots are due, as are those whose time has come. True if a bell rang. */
  #takeBells(timeoutMs: number): boolean {
    const count = this.#poller.wait(this.#tags, timeoutMs);
    for (let n = 0; n < count; n++) this.#rang(this.#tags[n]);
    if (this.#nextAt !== NEVER) {
      const now = this.#clock();
      for (const slot of this.#slots) if (slot.at <= now) slot.due = true;
    }
    return count > 0;
  }

  /** Switches all bells on. Returns how long to sleep: at most `most` ms. */
  #arm(most: number): number {
    let timeoutMs = most;
    for (const slot of this.#slots) {
      slot.idle = false;
      if (slot.due || slot.task.arm === undefined) continue;
      const wait = slot.task.arm(slot.bell);
      if (wait === AGAIN) slot.due = true;
      else slot.idle = wait !== NEVER;
      if (wait < timeoutMs) timeoutMs = wait;
    }
    return timeoutMs;
  }

  #untilNext(): number {
    if (this.#nextAt === NEVER) return NEVER;
    return Math.max(0, this.#nextAt - this.#clock());
  }

  #rang(tag: number): void {
    const owner = this.#tagged[tag];
    if (owner instanceof Slot) {
      owner.due = true;
    } else if (owner !== undefined) {
      owner.dueAll(); // a notification that was an exit may be for any queue
      owner.group.drainInbox();
    }
  }

  #settle(): void {
    for (const { group } of this.#settling) {
      let settled = false;
      for (const task of group.tasks) if (task.settle?.() === true) settled = true;
      if (settled) group.control.announceSettled();
    }
  }

  #giveTurns(): void {
    const polls = this.#busyPoll.ready;
    this.#served = 0;
    this.#again = false;
    this.#nextAt = NEVER;
    for (const slot of this.#slots) {
      if (slot.due) {
        const { task } = slot;
        slot.due = false;
        slot.at = NEVER;
        const wait = task.turn(slot.bell, polls);
        this.#served += task.served ?? 0;
        if (wait === AGAIN) {
          slot.due = true;
          this.#again = true;
        } else if (wait !== NEVER) {
          slot.at = this.#clock() + wait;
        }
      }
      if (slot.at < this.#nextAt) this.#nextAt = slot.at;
    }
  }
}
