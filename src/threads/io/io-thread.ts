/**
 * The io thread of one machine: assembles its copy of the machine, opens the
 * disks, and runs what serves the devices in a reactor.
 */
import { randomFillSync } from "node:crypto";
import { MAX_WINDOWS } from "../../bus/address-space.ts";
import type { BlockBackend } from "../../disk/backend.ts";
import { openDrive } from "../../images/drive.ts";
import type { Board } from "../../machine/board.ts";
import type { IoSide } from "../../machine/io-side.ts";
import type { Ports } from "../../machine/ports.ts";
import { unplugged } from "../../machine/unplugged.ts";
import { DirtyMap } from "../../memory/dirty-map.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import { EventFd } from "../../sys/event.ts";
import { GuestRam } from "../../sys/guest-ram.ts";
import type { DeviceReport } from "../../virtio/device.ts";
import { virtioTask } from "../../virtio/virtio-task.ts";
import { carryOut } from "../drive-orders.ts";
import { attach, Plugged } from "../plugged.ts";
import type { DriveOrder, IoRole, Message, ThreadData } from "../shared.ts";
import { EpollPoller } from "./epoll-poller.ts";
import { ProgramDisk, type ProgramRequest } from "./program-disk.ts";
import { Reactor } from "./reactor.ts";

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

  const dirty = new DirtyMap(data.dirty);
  const units = [...machine.parts.values()].flatMap(({ made }) => made.virtio ?? []);
  const tasks = units.map(({ runner, late, queueBells, ...unit }) => {
    const { name, configs } = unit;
    const disk = disks.get(name);
    return virtioTask<DriveOrder, Message>({
      ...unit,
      state: runner,
      memory,
      dirty,
      report,
      doorbells: configs.map((_, queue) => bell(queueBells + queue)),
      events: disk === undefined ? [] : [{ bell: disk.event }],
      acknowledgement: late,
      order: disk && ((order, queues) => carryOut(order, disk, queues)),
      close: () => disk?.close(),
    });
  });

  const reactor = new Reactor(new EpollPoller(), () => performance.now());
  reactor.add({
    control,
    tasks,
    wake: EventFd.attach(data.ioWake),
    drainInbox() {
      for (let order = take(); order !== undefined; order = take()) {
        const { part } = order;
        const reply = tasks.find(({ name }) => name === part)?.order?.(order);
        if (reply !== undefined) post(reply);
      }
    },
    parked: () => post({ kind: "parked" }),
  });
  reactor.run();
}
