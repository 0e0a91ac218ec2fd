/**
 * The io thread: sleeps until a doorbell rings, serves that queue, sleeps
 * again. It never handles an exit and nothing in it is asynchronous.
 */
import { randomFillSync } from "node:crypto";
import { Arena } from "../base/arena.ts";
import { openDrive } from "../block/drive.ts";
import { MAX_WINDOWS } from "../bus/address-space.ts";
import { hostClock } from "../machine/clock.ts";
import type { Host } from "../machine/host.ts";
import { assembleMicrovm, virtioDevices } from "../machine/microvm.ts";
import { unplugged } from "../machine/unplugged.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { Epoll, EventFd } from "../sys/event.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import type { DeviceReport } from "../virtio/device.ts";
import { QueueRunner } from "../virtio/queue-runner.ts";
import { blocks } from "./blocks.ts";
import type { IoRole, Message, ThreadData } from "./shared.ts";

/** epoll tag of the wake-up event; doorbells count from 0. */
const WAKE = 0xffff_ffff;

export function runIoThread(data: ThreadData, role: IoRole, post: (message: Message) => void): void {
  const { spec } = data;
  const shared = blocks(data.threads, spec.cpus, virtioDevices(spec));
  const control = shared.io;
  const ram = GuestRam.attach(data.ram);
  const memory = new GuestMemory(ram, spec.ram);
  const report = (what: DeviceReport) => post({ kind: "report", ...what });
  const interrupts = data.interrupts.map((token) => EventFd.attach(token));
  const images = role.drives.map((drive) => openDrive(drive, ram, memory));

  const host: Host = {
    ...unplugged,
    clock: hostClock,
    interrupt: (slot) => ({ pulse: () => interrupts[slot].signal() }),
    disk: (index, name) => ({ name, backend: images[index], memory, report, counters: shared.virtio[index] }),
    entropy: () => ({ memory, source: { fill: (bytes) => randomFillSync(bytes) } }),
  };
  // Its address map is never asked, so nobody counts what it answers.
  const unused = new Float64Array(MAX_WINDOWS + 1);
  const machine = assembleMicrovm(spec, new Arena(data.state), host, { ports: unused, memory: unused });

  const runners = machine.virtio.map(
    ({ name, device, transport, configs, cursors, runner, lock }) =>
      new QueueRunner({ name, device, transport, configs, cursors, state: runner, memory, lock, report }),
  );

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

  /** Queues that were left with work in them: 1 at a doorbell's tag. */
  const due = new Uint8Array(bells.length);
  const tags = new Uint32Array(bells.length + 1);

  while (control.sleepWhileParked()) {
    // What rang while parked, or was offered before a pause, has to be looked at once.
    due.fill(1);
    serveUntilParked();
    for (const runner of runners) runner.quiesce();
    control.park();
    post({ kind: "parked" });
  }
  for (const runner of runners) runner.quiesce();
  for (const image of images) image.close();

  function serveUntilParked(): void {
    let more = true;
    while (control.running) {
      const count = epoll.wait(tags, more ? 0 : -1);
      for (let i = 0; i < count; i++) {
        if (tags[i] === WAKE)
          due.fill(1); // a doorbell that arrived as an exit does not say which queue
        else due[tags[i]] = 1;
      }
      let settled = false;
      for (const runner of runners) if (runner.settleEpoch()) settled = true;
      if (settled) control.announceSettled();
      more = false;
      for (let tag = 0; tag < due.length; tag++) {
        if (due[tag] === 0) continue;
        const { runner, queue } = bells[tag];
        due[tag] = runner.serve(queue) ? 1 : 0;
        if (due[tag] === 1) more = true;
      }
    }
  }
}
