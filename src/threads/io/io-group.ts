/**
 * The io side of a machine: the tasks of its devices, for a reactor, on a thread of its
 * own or on one that serves several machines.
 */
import { randomFillSync } from "node:crypto";
import { MAX_WINDOWS } from "../../bus/address-space.ts";
import type { BlockBackend } from "../../disk/backend.ts";
import { carryOut } from "../../disk/disk-order.ts";
import { EMPTY_DISK } from "../../disk/empty-disk.ts";
import { GuestDisk } from "../../disk/guest-disk.ts";
import { openDrive, openMedium } from "../../images/drive.ts";
import type { Board } from "../../machine/board.ts";
import { machineClock } from "../../machine/clock.ts";
import type { IoSide } from "../../machine/io-side.ts";
import type { Ports } from "../../machine/ports.ts";
import { unplugged } from "../../machine/unplugged.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import type { DeviceReport } from "../../virtio/device.ts";
import { messagesTo } from "../messages.ts";
import { attach, Plugged } from "../plugged.ts";
import type { IoRole, Message, PartOrder, ThreadData } from "../shared.ts";
import type { OpenNetwork } from "./networks.ts";
import { ProgramDisk, type ProgramRequest } from "./program-disk.ts";
import type { TaskGroup } from "./reactor.ts";

/**
 * What the io thread runs for one machine: assembles its copy of the machine, and
 * opens the disks.
 *
 * @param take returns the next order, if one was sent
 * @param openNetwork for a machine that has network cards
 */
export function ioGroup(
  board: Board,
  data: ThreadData,
  role: IoRole,
  post: (message: Message) => void,
  take: () => PartOrder | undefined,
  openNetwork: OpenNetwork | undefined,
): TaskGroup {
  const handles = attach(data);
  const { vm, ram, bell } = handles;
  const plugged = new Plugged(board, data, handles);
  const { dirty } = plugged;
  const control = plugged.blocks.io;
  const memory = new GuestMemory(ram, data.spec.ram);
  const report = (what: DeviceReport) => post({ kind: "report", ...what });

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
    dirty,
    report,
    bell,
    disk(part, tags) {
      const disk = open(part, tags);
      return {
        disk,
        events: [{ bell: disk.event }],
        order: (order, queues) => carryOut(order, disk, (size) => queues.resize(size)),
        change(image) {
          if (!(disk instanceof GuestDisk)) throw new TypeError(`${part} is not in an image`);
          disk.change(image === undefined ? EMPTY_DISK : openMedium(image));
        },
        close: () => disk.close(),
      };
    },
    network: (part) => {
      const data = role.networks.get(part);
      if (data === undefined || openNetwork === undefined) throw new Error(`${part} has no network`);
      const note = (message: string) => report({ device: part, code: "NOTE", message });
      return openNetwork(data, ram, memory, () => post({ kind: "frames", part }), note);
    },
    discard(offset, length) {
      ram.discard(offset, length);
      dirty.mark(offset, length); // zeros are not what was there
    },
    random: (bytes) => randomFillSync(bytes),
  };
  const ports: Ports = {
    ...unplugged,
    clock: machineClock(plugged.blocks.clockOffsetNs),
    driveIrq: (gsi, asserted) => vm.irqLine(gsi, asserted),
    pulse: (gsi) => ({ pulse: () => vm.pulseIrqLine(gsi) }),
    messages: messagesTo(vm),
    shadow: plugged.shadow,
    latch: (number) => {
      const event = bell(number);
      return { take: () => event.take() > 0 };
    },
    counters: (part, fields) => plugged.blocks.parts.addCounters(part, fields),
    ready: (part) => ({ raise: () => post({ kind: "ready", part }) }),
    sink: (part) => {
      plugged.blocks.parts.addRing(part); // to allocate the same blocks as the other threads
      return unplugged.sink(part);
    },
    io,
  };
  // Its address map is never used, so it needs no access counters.
  const unused = new Float64Array(MAX_WINDOWS + 1);
  const machine = plugged.assemble(ports, { ports: unused, memory: unused });

  const tasks = [...machine.parts.values()].flatMap(({ made }) => made.task ?? []);
  const inner = new Map([...machine.parts.values()].flatMap(({ made }) => [...(made.orders ?? [])]));
  const replyTo = ({ id, part, order }: PartOrder): Message => {
    try {
      const disk = order.kind === "change-medium" ? undefined : order;
      const reply = inner.get(part)?.(order) ?? (disk && machine.part(part).made.task?.order?.(disk));
      if (reply === undefined) throw new TypeError(`${part} takes no orders`);
      return { kind: "reply", id, reply };
    } catch (error) {
      // What an image or the host says has a code; Node's own errors begin with ERR_, and are faults of ours.
      const code = error instanceof Error && "code" in error ? String(error.code) : "ERR_";
      if (code.startsWith("ERR_")) throw error;
      const message = error instanceof Error ? error.message : String(error);
      return { kind: "reply", id, failure: { code, message } };
    }
  };

  return {
    control,
    tasks,
    wake: handles.ioWake,
    drainInbox() {
      for (let next = take(); next !== undefined; next = take()) post(replyTo(next));
    },
    parked: () => post({ kind: "parked" }),
    ended: () => handles.close(),
  };
}
