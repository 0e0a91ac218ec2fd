/**
 * The io thread: sleeps until a doorbell rings or a disk has news, serves what
 * there is, sleeps again. It never handles an exit and nothing in it is
 * asynchronous.
 */
import { randomFillSync } from "node:crypto";
import { MAX_WINDOWS } from "../bus/address-space.ts";
import { NEVER } from "../bus/io-task.ts";
import type { BlockBackend } from "../disk/backend.ts";
import { openDrive } from "../images/drive.ts";
import type { Board } from "../machine/board.ts";
import type { IoSide } from "../machine/io-side.ts";
import type { Ports } from "../machine/ports.ts";
import { unplugged } from "../machine/unplugged.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { Epoll, EventFd } from "../sys/event.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import type { DeviceReport } from "../virtio/device.ts";
import { QueueRunner } from "../virtio/queue/queue-runner.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import { BusyPoll, LOOKS } from "./busy-poll.ts";
import { carryOut } from "./drive-orders.ts";
import { attach, Plugged } from "./plugged.ts";
import { ProgramDisk, type ProgramRequest } from "./program-disk.ts";
import type { DriveOrder, IoRole, Message, ThreadData } from "./shared.ts";

/** epoll tag of the wake-up event. Doorbells count from 0, and disks follow them. */
const WAKE = 0xffff_ffff;

/** So many sleeps come first: a program that asks a disk once or twice finds it as it always is, with its doorbell armed. */
const FIRST_SLEEPS = 16;
/** Times that `BusyPoll` may find something before epoll is asked as well. */
const MOST_FINDS = 16;

/** @param take the next order that was sent, if one is there */
export function runIoThread(
  board: Board,
  data: ThreadData,
  role: IoRole,
  post: (message: Message) => void,
  take: () => DriveOrder | undefined,
): void {
  const handles = attach(data);
  const { vm, bell } = handles;
  const plugged = new Plugged(board, data, handles);
  const control = plugged.blocks.io;
  const ram = GuestRam.attach(data.ram);
  const memory = new GuestMemory(ram, data.spec.ram);
  const report = (what: DeviceReport) => post({ kind: "report", ...what });
  const disks = new Map<string, BlockBackend>();

  const open = (part: string, tags: number): BlockBackend => {
    const storage = role.storage.get(part);
    if (storage === undefined) throw new Error(`${part} has no storage`);
    if (storage.kind === "program") {
      const ask = (tag: number, request: ProgramRequest) => post({ kind: "disk", part, tag, request });
      return new ProgramDisk(storage.program, storage.discards, control, ask);
    }
    const note = (message: string) => report({ device: part, code: "NOTE", message });
    return openDrive(storage.image, { ram, memory, tags, note });
  };
  const io: IoSide = {
    memory,
    report,
    disk: (part, tags) => {
      const backend = open(part, tags);
      disks.set(part, backend);
      return backend;
    },
    random: (bytes) => randomFillSync(bytes),
  };
  const ports: Ports = {
    ...unplugged,
    pulse: (gsi) => ({ pulse: () => vm.pulseIrqLine(gsi) }),
    shadow: plugged.shadow,
    latch: (number) => {
      const event = bell(number);
      return { take: () => event.take() > 0 };
    },
    counters: (part, fields) => plugged.blocks.parts.addCounters(part, fields),
    sink: (part) => {
      plugged.blocks.parts.addRing(part); // to stay in step with the other threads
      return unplugged.sink(part);
    },
    io,
  };
  // Its address map is never asked, so nobody counts what it answers.
  const unused = new Float64Array(MAX_WINDOWS + 1);
  const machine = plugged.assemble(ports, { ports: unused, memory: unused });

  const units = [...machine.parts.values()].flatMap(({ made }) => made.virtio ?? []);
  const runners = new Map(
    units.map(({ name, runner, ...unit }) => [
      name,
      new QueueRunner({ name, ...unit, state: runner, memory, report }),
    ]),
  );
  const all = [...runners.values()];
  const acknowledgements = new Acknowledgements(
    units.flatMap(({ late, lock }) => (late === undefined ? [] : [{ transport: late, lock }])),
  );

  const epoll = new Epoll();
  const wake = EventFd.attach(data.ioWake);
  epoll.add(wake, WAKE);
  const bells: { bell: EventFd; runner: QueueRunner; queue: number }[] = [];
  for (const { name, configs, queueBells } of units) {
    const runner = runners.get(name);
    if (runner === undefined) continue;
    for (const queue of configs.keys()) {
      const event = bell(queueBells + queue);
      epoll.add(event, bells.length);
      bells.push({ bell: event, runner, queue });
    }
  }
  const diskRunners = [...disks].map(([part, disk], n) => {
    epoll.add(disk.event, bells.length + n);
    return runners.get(part);
  });

  /** Queues that may have work in them: 1 at a doorbell's tag. */
  const due = new Uint8Array(bells.length);
  /** Queues whose drivers were asked not to ring. */
  const silent = new Uint8Array(bells.length);
  const tags = new Uint32Array(bells.length + diskRunners.length + 1);
  const busyPoll = new BusyPoll(FIRST_SLEEPS);
  const obey = () => {
    for (let order = take(); order !== undefined; order = take()) {
      const disk = disks.get(order.part);
      const runner = runners.get(order.part);
      if (disk !== undefined && runner !== undefined) post(carryOut(order, disk, runner));
    }
  };

  while (control.sleepWhileParked(obey)) {
    // What rang while parked, or was offered before a pause, has to be looked at once.
    due.fill(1);
    for (const runner of all) runner.resume();
    serveUntilParked();
    arm(); // whoever looks at a machine that stands still finds no doorbell silent for a look that was cut short
    for (const runner of all) runner.quiesce();
    control.park();
    post({ kind: "parked" });
  }
  for (const runner of all) runner.quiesce();
  for (const disk of disks.values()) disk.close();

  function serveUntilParked(): void {
    let sleepMs = 0; // -1: until something rings
    let served = 0;
    let finds = 0;
    while (control.running) {
      if (sleepMs !== 0 && finds < MOST_FINDS && busyPoll.worthwhile(served) && found()) {
        finds++;
      } else {
        finds = 0;
        if (arm()) sleepMs = 0;
        look(sleepMs);
      }
      let settled = false;
      for (const runner of all) if (runner.settleEpoch()) settled = true;
      if (settled) control.announceSettled();
      sleepMs = -1;
      served = 0;
      const mayLook = busyPoll.ready;
      for (let tag = 0; tag < due.length; tag++) {
        if (due[tag] === 0) continue;
        const { runner, queue } = bells[tag];
        const waitMs = runner.serve(queue, mayLook);
        served += runner.served;
        silent[tag] = mayLook ? 1 : 0;
        // One that may go on later is asked after every sleep, whatever ends it.
        due[tag] = waitMs === NEVER ? 0 : 1;
        if (due[tag] === 1) sleepMs = sleepMs < 0 ? Math.ceil(waitMs) : Math.min(sleepMs, Math.ceil(waitMs));
      }
    }
  }

  /** Sleeps until something rings, or looks whether something has. */
  function look(sleepMs: number): void {
    const count = epoll.wait(tags, acknowledgements.sleepMs(sleepMs));
    acknowledgements.afterSleep(count === 0 && sleepMs !== 0);
    let woken = false;
    for (let i = 0; i < count; i++) {
      if (tags[i] === WAKE) woken = true;
      else if (tags[i] < bells.length) due[tags[i]] = 1;
      else diskRunners[tags[i] - bells.length]?.poll();
    }
    if (woken) {
      due.fill(1); // a doorbell that arrived as an exit does not say which queue
      obey();
    }
  }

  /** Looks at the queues whose drivers do not ring. True if one has offered something. */
  function found(): boolean {
    for (let i = 0; i < LOOKS; i++) {
      for (let tag = 0; tag < silent.length; tag++) {
        if (silent[tag] === 0 || due[tag] === 1 || !bells[tag].runner.hasMore(bells[tag].queue)) continue;
        due[tag] = 1;
        busyPoll.looked(true);
        return true;
      }
    }
    busyPoll.looked(false);
    return false;
  }

  /** Asks drivers to ring for what they offer next. True if one has offered something meanwhile. */
  function arm(): boolean {
    let offered = false;
    for (let tag = 0; tag < silent.length; tag++) {
      if (silent[tag] === 0 || due[tag] === 1) continue;
      silent[tag] = 0;
      if (!bells[tag].runner.arm(bells[tag].queue)) continue;
      due[tag] = 1;
      offered = true;
    }
    return offered;
  }
}
