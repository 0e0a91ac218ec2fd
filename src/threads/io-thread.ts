/**
 * The io thread: sleeps until a doorbell rings or a disk has news, serves what
 * there is, sleeps again. It never handles an exit and nothing in it is
 * asynchronous.
 */
import { randomFillSync } from "node:crypto";
import { Arena } from "../base/arena.ts";
import { MAX_WINDOWS } from "../bus/address-space.ts";
import { NEVER } from "../bus/io-task.ts";
import type { BlockBackend } from "../disk/backend.ts";
import { Throttle } from "../disk/throttle.ts";
import { openDrive } from "../images/drive.ts";
import { Vm } from "../kvm/vm.ts";
import { hostClock } from "../machine/clock.ts";
import type { Host } from "../machine/host.ts";
import { assembleMicrovm, virtioDevices } from "../machine/microvm.ts";
import { unplugged } from "../machine/unplugged.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { Epoll, EventFd } from "../sys/event.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import { QUEUE_SIZE } from "../virtio/blk/blk.ts";
import type { DeviceReport } from "../virtio/device.ts";
import { QueueRunner } from "../virtio/queue/queue-runner.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import { blocks } from "./blocks.ts";
import { BusyPoll, LOOKS } from "./busy-poll.ts";
import { carryOut } from "./drive-orders.ts";
import { ProgramDisk, type ProgramRequest } from "./program-disk.ts";
import { attachRegisterPages } from "./register-pages.ts";
import type { DriveOrder, IoRole, Message, ThreadData } from "./shared.ts";
import { virtioInterrupt } from "./virtio-interrupt.ts";

/** epoll tag of the wake-up event. Doorbells count from 0, and disks follow them. */
const WAKE = 0xffff_ffff;

/** So many sleeps come first: a program that asks a disk once or twice finds it as it always is, with its doorbell armed. */
const FIRST_SLEEPS = 16;
/** Times that `BusyPoll` may find something before epoll is asked as well. */
const MOST_FINDS = 16;

/** @param take the next order that was sent, if one is there */
export function runIoThread(
  data: ThreadData,
  role: IoRole,
  post: (message: Message) => void,
  take: () => DriveOrder | undefined,
): void {
  const { spec } = data;
  const shared = blocks(data.threads, spec.cpus, virtioDevices(spec));
  const control = shared.io;
  const ram = GuestRam.attach(data.ram);
  const memory = new GuestMemory(ram, spec.ram);
  const report = (what: DeviceReport) => post({ kind: "report", ...what });
  const vm = Vm.attach(data.vm);
  const acknowledged = role.acknowledgements.map((token) => EventFd.attach(token));
  const disks: BlockBackend[] = [];

  const open = (index: number, name: string): BlockBackend => {
    const { storage } = role.drives[index];
    if (storage.kind === "program") {
      const ask = (tag: number, request: ProgramRequest) =>
        post({ kind: "disk", drive: index, tag, request });
      return new ProgramDisk(storage.program, storage.discards, control, ask);
    }
    const note = (message: string) => report({ device: name, code: "NOTE", message });
    return openDrive(storage.image, { ram, memory, tags: spec.drives[index].queues * QUEUE_SIZE, note });
  };

  const host: Host = {
    ...unplugged,
    clock: hostClock,
    interrupt: (slot) => virtioInterrupt(vm, slot),
    registerPage: attachRegisterPages(data.registerPages),
    acknowledged: (slot) => acknowledged[slot] && { take: () => acknowledged[slot].take() > 0 },
    disk: (index, name) => {
      const { rerror, werror, throttling } = role.drives[index];
      const backend = open(index, name);
      disks.push(backend);
      const throttle = throttling === undefined ? undefined : new Throttle(throttling);
      const now = () => performance.now();
      const counters = shared.virtio[index];
      return { name, backend, memory, report, counters, rerror, werror, throttle, now };
    },
    entropy: () => ({ memory, source: { fill: (bytes) => randomFillSync(bytes) } }),
  };
  // Its address map is never asked, so nobody counts what it answers.
  const unused = new Float64Array(MAX_WINDOWS + 1);
  const machine = assembleMicrovm(spec, new Arena(data.state), host, { ports: unused, memory: unused });

  const runners = machine.virtio.map(
    ({ name, device, transport, configs, cursors, runner, lock }) =>
      new QueueRunner({ name, device, transport, configs, cursors, state: runner, memory, lock, report }),
  );

  const acknowledgements = new Acknowledgements(acknowledged.length > 0 ? machine.virtio : []);

  const epoll = new Epoll();
  const wake = EventFd.attach(data.ioWake);
  epoll.add(wake, WAKE);
  const bells: { bell: EventFd; runner: QueueRunner; queue: number }[] = [];
  role.doorbells.forEach((queues, slot) => {
    queues.forEach((token, queue) => {
      const bell = EventFd.attach(token);
      epoll.add(bell, bells.length);
      bells.push({ bell, runner: runners[slot], queue });
    });
  });
  disks.forEach((disk, n) => {
    epoll.add(disk.event, bells.length + n);
  });

  /** Queues that may have work in them: 1 at a doorbell's tag. */
  const due = new Uint8Array(bells.length);
  /** Queues whose drivers were asked not to ring. */
  const silent = new Uint8Array(bells.length);
  const tags = new Uint32Array(bells.length + disks.length + 1);
  const busyPoll = new BusyPoll(FIRST_SLEEPS);
  const obey = () => {
    for (let order = take(); order !== undefined; order = take()) {
      const { drive } = order;
      post(carryOut(order, disks[drive], machine.disks[drive], runners[drive]));
    }
  };

  while (control.sleepWhileParked(obey)) {
    // What rang while parked, or was offered before a pause, has to be looked at once.
    due.fill(1);
    for (const runner of runners) runner.resume();
    serveUntilParked();
    arm(); // whoever looks at a machine that stands still finds no doorbell silent for a look that was cut short
    for (const runner of runners) runner.quiesce();
    control.park();
    post({ kind: "parked" });
  }
  for (const runner of runners) runner.quiesce();
  for (const disk of disks) disk.close();

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
      for (const runner of runners) if (runner.settleEpoch()) settled = true;
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
      else runners[tags[i] - bells.length].poll();
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
