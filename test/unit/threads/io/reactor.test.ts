/** The io thread without KVM, epoll or threads: the test rings the bells. */
import { describe, expect, test } from "vitest";
import { BackOff } from "../../../../src/base/back-off.ts";
import { AGAIN, type Bell, type IoTask, NEVER } from "../../../../src/bus/io-task.ts";
import { CONTROL_WORDS, Control, END, PARK, RUN } from "../../../../src/threads/control.ts";
import { BusyPoll } from "../../../../src/threads/io/busy-poll.ts";
import { type Poller, Reactor, type TaskGroup } from "../../../../src/threads/io/reactor.ts";

/** A bell says its name when a test fails. */
class NamedBell {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** Bells that a test rings. A sleep without a bell lasts as long as it may. */
class FakePoller implements Poller {
  now = 0;
  readonly sleeps: number[] = [];
  readonly tags = new Map<Bell, number>();
  readonly #rung = new Set<Bell>();
  /** Called when the reactor sleeps. */
  onSleep = () => {};

  add(bell: Bell, tag: number): void {
    expect([...this.tags.values()]).not.toContain(tag);
    this.tags.set(bell, tag);
  }

  remove(bell: Bell): void {
    expect(this.tags.delete(bell)).toBe(true);
  }

  ring(...bells: Bell[]): void {
    for (const bell of bells) this.#rung.add(bell);
  }

  wait(tags: Uint32Array, timeoutMs: number): number {
    this.sleeps.push(timeoutMs);
    this.onSleep();
    const rung = [...this.#rung].flatMap((bell) => this.tags.get(bell) ?? []);
    this.#rung.clear();
    if (rung.length === 0 && timeoutMs !== NEVER) this.now += timeoutMs;
    tags.set(rung);
    return rung.length;
  }
}

/** Logs what is asked of it; `results` are what its turns return, then NEVER. */
class FakeTask implements IoTask {
  readonly name: string;
  readonly bells: (Bell | undefined)[];
  readonly log: string[];
  readonly results: number[] = [];
  served = 0;
  polled = 0;
  offers = false;
  settles = false;
  arm?: (bell: number) => number;
  onTurn = (_bell: number) => {};

  constructor(name: string, log: string[], bells = 1) {
    this.name = name;
    this.log = log;
    this.bells = Array.from({ length: bells }, (_, n) => new NamedBell(`${name}.${n}`));
  }

  bell(index = 0): Bell {
    return this.bells[index] ?? expect.unreachable();
  }

  turn(bell: number, polls: boolean): number {
    this.log.push(`${this.name}.${bell}${polls ? " polls" : ""}`);
    this.offers = false;
    this.onTurn(bell);
    return this.results.shift() ?? NEVER;
  }

  peek(): boolean {
    return this.offers;
  }

  settle(): boolean {
    const { settles } = this;
    this.settles = false;
    return settles;
  }

  quiesce(): void {
    this.log.push(`${this.name} quiesces`);
  }

  resume(): void {
    this.log.push(`${this.name} resumes`);
  }

  close(): void {
    this.log.push(`${this.name} closes`);
  }
}

/** Polls for two readings of the clock, from the sleep before which `skip` had none; after a poll in vain not at once. */
class FakePoll extends BusyPoll {
  readonly #backOff: BackOff;
  #readings = 0;

  constructor(skip: number) {
    super(() => 0, { maxNs: 0, grow: 0, shrink: 0 });
    this.#backOff = new BackOff(skip);
  }

  override get ready(): boolean {
    return this.#backOff.ready;
  }

  override begin(served: number): boolean {
    this.#readings = 0;
    return served > 0 && this.#backOff.take();
  }

  override get goesOn(): boolean {
    return ++this.#readings < 2;
  }

  override end(found: boolean): void {
    this.#backOff.tried(found);
  }
}

/** A machine with its owner's hand on its control word. */
class FakeMachine implements TaskGroup {
  readonly words = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
  readonly control = new Control(this.words);
  readonly wake = new NamedBell("wake");
  readonly tasks: readonly IoTask[];
  readonly log: string[];
  readonly name: string;

  constructor(name: string, log: string[], tasks: readonly IoTask[]) {
    this.name = name;
    this.log = log;
    this.tasks = tasks;
  }

  drainInbox(): void {
    this.log.push(`${this.name} inbox`);
  }
  parked(): void {
    this.log.push(`${this.name} parked`);
  }
  ended(): void {
    this.log.push(`${this.name} ended`);
  }
}

function rig({ bells = 1, timers = 0, skip = Number.POSITIVE_INFINITY } = {}) {
  const log: string[] = [];
  const poller = new FakePoller();
  const busyPoll = new FakePoll(skip);
  const reactor = new Reactor(poller, () => poller.now, busyPoll);
  const task = new FakeTask("disk", log, bells);
  for (let n = 0; n < timers; n++) task.bells.push(undefined);
  const machine = new FakeMachine("vm", log, [task]);
  reactor.add(machine);
  /** What happens in `rounds` rounds. */
  const rounds = (count = 1) => {
    log.length = 0;
    poller.sleeps.length = 0;
    for (let n = 0; n < count; n++) reactor.step();
    return log;
  };
  /** Lets the machine run, past its first turns. */
  const run = () => {
    machine.control.request(RUN);
    rounds(2);
  };
  return { log, poller, reactor, task, machine, rounds, run };
}

describe("run, park, end", () => {
  test("nothing has a turn before the machine runs; then every bell has one, without a sleep", () => {
    const { poller, task, machine, rounds } = rig({ bells: 2 });
    poller.ring(task.bell());
    expect(rounds(2)).toEqual([]);
    expect(poller.sleeps).toEqual([NEVER, NEVER]);
    machine.control.request(RUN);
    expect(rounds()).toEqual(["disk resumes", "disk.0", "disk.1"]);
    expect(poller.sleeps).toEqual([0]);
    expect(machine.control.parked).toBe(false);
  });

  test("a parked machine has quiesced, and has no turn although bells ring; all bells are due when it runs again", () => {
    const { poller, task, machine, rounds, run } = rig({ bells: 2 });
    run();
    machine.control.request(PARK);
    task.arm = (bell) => {
      task.log.push(`arm ${bell}`);
      return NEVER;
    };
    poller.ring(task.bell(), machine.wake);
    expect(rounds()).toEqual(["arm 0", "arm 1", "disk quiesces", "vm parked", "vm inbox"]);
    expect(machine.control.parked).toBe(true);
    machine.control.request(RUN);
    expect(rounds()).toEqual(["disk resumes", "disk.0", "disk.1"]);
  });

  test("an order is carried out while the machine is parked", () => {
    const { poller, machine, rounds } = rig();
    poller.ring(machine.wake);
    expect(rounds()).toEqual(["vm inbox"]);
  });

  test.each([true, false])("run returns when the machine has ended (it ran: %s)", (ran) => {
    const { poller, reactor, machine, log, run } = rig();
    if (ran) run();
    log.length = 0;
    poller.onSleep = () => machine.control.request(END);
    reactor.run();
    const quiesced = ran ? ["disk quiesces", "vm parked"] : [];
    expect(log).toEqual([...quiesced, "disk closes", "vm ended"]);
    expect(poller.tags.size).toBe(0);
  });

  test("a request to park and to run again before it was seen changes nothing", () => {
    const { machine, rounds, run } = rig();
    run();
    machine.control.request(PARK);
    machine.control.request(RUN);
    expect(rounds()).toEqual([]);
  });
});

describe("turns", () => {
  test("the bell that rang has a turn, others do not", () => {
    const { poller, task, rounds, run } = rig({ bells: 3 });
    run();
    poller.ring(task.bell(1));
    expect(rounds()).toEqual(["disk.1"]);
  });

  test("a wake-up makes every bell due: a notification may have been an exit", () => {
    const { poller, machine, rounds, run } = rig({ bells: 2 });
    run();
    poller.ring(machine.wake);
    expect(rounds()).toEqual(["vm inbox", "disk.0", "disk.1"]);
  });

  test("a bell that has more to do has its next turn after the others, without a sleep", () => {
    const { poller, task, rounds, run } = rig({ bells: 2 });
    run();
    task.results.push(AGAIN);
    poller.ring(task.bell(0), task.bell(1));
    expect(rounds(2)).toEqual(["disk.0", "disk.1", "disk.0"]);
    expect(poller.sleeps).toEqual([NEVER, 0]);
  });

  test("a time is kept, whatever else rings meanwhile", () => {
    const { poller, task, rounds, run } = rig({ bells: 2 });
    run();
    task.results.push(7.5);
    poller.ring(task.bell(0));
    rounds();
    poller.onSleep = () => {
      if (poller.now > 0) return;
      poller.now = 3;
      poller.ring(task.bell(1));
    };
    expect(rounds(2)).toEqual(["disk.1", "disk.0"]);
    expect(poller.sleeps).toEqual([8, 5]);
    expect(poller.now).toBe(8);
  });

  test("a bell that rings before its time has its turn, and the time is forgotten", () => {
    const { poller, task, rounds, run } = rig();
    run();
    task.results.push(10);
    poller.ring(task.bell());
    rounds();
    poller.ring(task.bell());
    rounds();
    expect(rounds()).toEqual([]);
    expect(poller.sleeps).toEqual([NEVER]);
  });

  test("a timer needs no bell", () => {
    const { poller, task, machine, rounds } = rig({ bells: 0, timers: 1 });
    task.results.push(33, 33, 33);
    machine.control.request(RUN);
    expect(rounds(3)).toEqual(["disk resumes", "disk.0", "disk.0", "disk.0"]);
    expect(poller.sleeps).toEqual([0, 33, 33]);
  });

  test("waiters are woken once for what the tasks of their machine let go of, before turns", () => {
    const { poller, task, machine, rounds, run } = rig();
    run();
    const SETTLED = 2;
    const before = machine.words[SETTLED];
    task.settles = true;
    task.onTurn = () => expect(machine.words[SETTLED]).toBe(before + 1);
    poller.ring(task.bell());
    expect(rounds()).toEqual(["disk.0"]);
    rounds();
    expect(machine.words[SETTLED]).toBe(before + 1);
  });
});

describe("before a sleep", () => {
  test("each bell is armed; what came meanwhile has its turn without a sleep", () => {
    const { poller, task, rounds, run } = rig({ bells: 2 });
    run();
    let offered = true;
    task.arm = (bell) => {
      if (bell === 0 || !offered) return NEVER;
      offered = false;
      return AGAIN;
    };
    expect(rounds()).toEqual(["disk.1"]);
    expect(poller.sleeps).toEqual([0]);
    rounds();
    expect(poller.sleeps).toEqual([NEVER]);
  });

  test("a bell may want a turn should nothing ring for some time", () => {
    const { poller, task, rounds, run } = rig({ bells: 2 });
    run();
    task.arm = (bell) => (bell === 1 ? 10 : NEVER);
    poller.onSleep = () => poller.ring(task.bell(0));
    expect(rounds(2)).toEqual(["disk.0", "disk.0"]);
    poller.onSleep = () => {};
    expect(rounds()).toEqual(["disk.1"]);
    expect(poller.sleeps).toEqual([10]);
  });
});

describe("polling", () => {
  /** One request a turn. */
  function polling(polled = 1) {
    const parts = rig({ bells: 2, skip: 0 });
    parts.task.polled = polled;
    parts.run();
    parts.task.served = 1;
    return parts;
  }

  test("after few requests, before a sleep: what is found has its turn without one", () => {
    const { poller, task, rounds } = polling();
    poller.ring(task.bell());
    rounds();
    task.offers = true;
    expect(rounds()).toEqual(["disk.0 polls"]);
    expect(poller.sleeps).toEqual([]);
  });

  test("in vain it ends with a sleep, and the next sleep has none before it", () => {
    const { poller, task, rounds } = polling();
    poller.ring(task.bell());
    rounds();
    poller.onSleep = () => poller.ring(task.bell());
    expect(rounds(2)).toEqual(["disk.0", "disk.0 polls"]);
    expect(poller.sleeps).toEqual([NEVER, NEVER]);
  });

  test("a guest that never stops does not keep other bells from ringing", () => {
    const { poller, task, rounds } = polling();
    poller.ring(task.bell());
    rounds();
    task.onTurn = () => {
      task.offers = true;
    };
    task.offers = true;
    poller.ring(task.bell(1));
    expect(rounds(17)).toContain("disk.1 polls");
    expect(poller.sleeps).toHaveLength(1);
  });

  test("only bells that can be polled are", () => {
    const { poller, task, rounds } = polling(0);
    poller.ring(task.bell());
    rounds();
    task.offers = true;
    rounds();
    expect(poller.sleeps).toHaveLength(1);
  });
});

describe("several machines", () => {
  function two() {
    const first = rig();
    const task = new FakeTask("net", first.log);
    const machine = new FakeMachine("other", first.log, [task]);
    first.reactor.add(machine);
    return { ...first, other: { task, machine } };
  }

  test("each runs, parks and ends by itself", () => {
    const { machine, other, poller, task, rounds, reactor } = two();
    machine.control.request(RUN);
    expect(rounds()).toEqual(["disk resumes", "disk.0"]);
    other.machine.control.request(RUN);
    expect(rounds()).toEqual(["net resumes", "net.0"]);

    machine.control.request(PARK);
    poller.ring(other.task.bell(), task.bell());
    expect(rounds()).toEqual(["disk quiesces", "vm parked", "net.0"]);
    expect([machine.control.parked, other.machine.control.parked]).toEqual([true, false]);

    other.machine.control.request(END);
    expect(rounds()).toEqual(["net quiesces", "other parked", "net closes", "other ended"]);
    machine.control.request(END);
    reactor.run();
    expect(poller.tags.size).toBe(0);
  });

  test("the wake-up and the waiters of one are not the other's", () => {
    const { machine, other, poller, task, rounds } = two();
    machine.control.request(RUN);
    other.machine.control.request(RUN);
    rounds(2);
    task.settles = true;
    poller.ring(other.machine.wake);
    expect(rounds()).toEqual(["other inbox", "net.0"]);
    expect([machine.words[2], other.machine.words[2]]).toEqual([1, 0]);
  });

  test("a machine that is added later gets tags that are free again", () => {
    const { machine, poller, rounds, reactor, log } = two();
    const most = Math.max(...poller.tags.values());
    machine.control.request(END);
    rounds();
    const task = new FakeTask("rng", log);
    const third = new FakeMachine("third", log, [task]);
    reactor.add(third);
    expect(Math.max(...poller.tags.values())).toBe(most);
    third.control.request(RUN);
    rounds(2);
    poller.ring(task.bell());
    expect(rounds()).toEqual(["rng.0"]);
  });
});
