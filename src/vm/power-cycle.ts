/**
 * One power cycle of a machine, from power-on to its end or its next reset: the
 * kernel's objects, the shared state, the threads, and this thread's own copy
 * of the machine.
 *
 * A reset makes a new power cycle. That takes some milliseconds longer than
 * setting back every register of every object, but no old state can remain.
 */
import { MAX_WINDOWS } from "../bus/address-space.ts";
import type { DeviceHandlers, UnclaimedAccess } from "../config/machine.ts";
import type { DiskReply } from "../disk/disk-order.ts";
import { sourceFacts } from "../disk/disk-source.ts";
import type { DriveOrder } from "../images/medium-order.ts";
import { KVM_GUESTDBG_BLOCKIRQ, type Vcpu } from "../kvm/vcpu.ts";
import { addressMap } from "../machine/address-map.ts";
import type { Board } from "../machine/board.ts";
import { hostClock, machineClock } from "../machine/clock.ts";
import { type Machine, type PartOf, STATE_BYTES } from "../machine/machine.ts";
import type { Ports } from "../machine/ports.ts";
import type { MachineSpec } from "../machine/spec.ts";
import { unplugged } from "../machine/unplugged.ts";
import type { Savable } from "../state/save.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { type Blocks, blocksBytes } from "../threads/blocks.ts";
import { PARK } from "../threads/control.ts";
import { Plugged } from "../threads/plugged.ts";
import type { DebugStop, Ending, Message, PartReply, ThreadData } from "../threads/shared.ts";
import { type Member, ThreadGroup } from "../threads/thread-group.ts";
import type { MapRange } from "../trace/format.ts";
import { DirtyLog } from "./dirty-log.ts";
import type { Drives } from "./drives.ts";
import { Hardware } from "./hardware.ts";
import { type CardPort, Networks } from "./networks.ts";
import type { PartHandle } from "./outlets/outlet.ts";
import { partHandle } from "./part-handle.ts";
import { ProgramDiskPort } from "./program-disks.ts";
import { type CycleStats, countStats } from "./stats.ts";
import { type CycleCounters, TraceTap } from "./trace-tap.ts";
import { type CheckedOptions, waitsForProgram } from "./validate.ts";
import { DriveError } from "./vm-error.ts";
import type { MemoryParts } from "./vm-memory.ts";

/** api.rst 8.39. By number: headers before Linux 5.13 do not know it. */
const KVM_CAP_SET_GUEST_DEBUG2 = 195;

/** Prepares the machine's memory and CPUs for the first instruction. */
export interface Origin {
  /** The machine's RAM; new and empty without it. */
  ram?(): GuestRam;
  /** Memories of the board that are files, by name: the others are new and empty. */
  memories?(): ReadonlyMap<string, GuestRam>;
  /** By how much the machine's monotonic clock is ahead of the host's: see machineClock. */
  readonly clockOffsetNs?: number;
  /** Called before there are threads, and before KVM's objects follow the registers: changes these. */
  load?(hardware: Hardware, machine: Machine): void;
  /**
   * Called while the threads start. @returns how the kernel was started: see BootPlan
   * @throws an error if the machine cannot start; everything is then released
   */
  fill(hardware: Hardware, machine: Machine): string;
}

export interface PowerCycleListener {
  ending(ending: Ending, cycle: PowerCycle): void;
  debug(stop: DebugStop, cycle: PowerCycle): void;
  /** Bytes of `part` are waiting in its ring. */
  output(part: string, cycle: PowerCycle): void;
  /** `part` can take bytes again. */
  ready(part: string, cycle: PowerCycle): void;
  report(device: string, code: string, message: string, cycle: PowerCycle): void;
  unclaimed(access: UnclaimedAccess): void;
  /** The threads have ended; the rest is released next. */
  closing(cycle: PowerCycle): void;
}

export class PowerCycle {
  readonly spec: MachineSpec;
  /** How the kernel was started: see BootPlan. */
  readonly protocol: string;
  /** What traces read. */
  readonly tap: TraceTap;
  /** Which pages of RAM are written. */
  readonly pages: DirtyLog;

  readonly #handlers: readonly DeviceHandlers[];
  readonly #drives: Drives;
  readonly #listener: PowerCycleListener;
  readonly #hardware: Hardware;
  readonly #plugged: Plugged;
  readonly #machine: Machine;
  readonly #threads: ThreadGroup;
  /** By part: the program's own disks. */
  #disks: ReadonlyMap<string, ProgramDiskPort> = new Map();
  /** By part: the program's side of the network cards, and of the vsock device. */
  #networkPorts: ReadonlyMap<string, CardPort> = new Map();
  /** Orders that the io thread has not answered, by id. */
  readonly #orders = new Map<number, (reply: PartReply) => void>();
  #lastOrder = 0;
  #ended = false;
  /** The threads have ended, and the handles for kicking them are closed. */
  #isGone = false;
  #isCut = false;
  #hasEnding = false;
  /** KVM's counters at the end. */
  #kernel: CycleCounters | undefined;

  /** @throws as createVm does; everything is then released. */
  constructor(
    board: Board,
    spec: MachineSpec,
    options: CheckedOptions,
    drives: Drives,
    origin: Origin,
    listener: PowerCycleListener,
    networks: Networks = Networks.none,
  ) {
    this.#listener = listener;
    this.#handlers = options.devices.map((device) => device.handlers);
    this.#drives = drives;
    this.spec = spec;
    const hardware = new Hardware(options, board, spec, origin.ram?.(), origin.memories?.());
    this.#hardware = hardware;
    try {
      const data = this.#sharedData(options);
      this.#plugged = new Plugged(board, data, hardware);
      this.#blocks.clockOffsetNs[0] = origin.clockOffsetNs ?? 0;
      this.#machine = this.#assemble();
      origin.load?.(hardware, this.#machine);
      this.#blocks.generation.bump();
      hardware.makeBells(this.#machine.bells);
      this.#plugged.reconcile(this.#machine);
      const shared = { ...data, bells: hardware.bells.map(tokenOf) };
      this.#threads = this.#startThreads(options, drives, networks, shared);
      this.pages = this.#dirtyLog();
      this.tap = new TraceTap(this.#threads, hardware, this.#machine, this.pages);
    } catch (error) {
      hardware.close();
      throw error;
    }
    try {
      this.protocol = origin.fill(hardware, this.#machine);
    } catch (error) {
      void this.#threads.end(() => {}).then(() => hardware.close());
      throw error;
    }
  }

  /** Names of the parts that take bytes from outside: serial ports, COM1 first. */
  get serialParts(): readonly string[] {
    const takesBytes = ({ made }: PartOf) => made.receive !== undefined;
    return [...this.#machine.parts.values()].filter(takesBytes).map(({ name }) => name);
  }

  /** @throws {RangeError} if the machine has no such part */
  part(name: string): PartHandle {
    return partHandle({
      part: this.#machine.part(name),
      ring: this.#blocks.parts.rings.get(name),
      notify: () => this.#hardware.ioWake.signal(),
      ready: () => this.#listener.ready(name, this),
    });
  }

  get map(): readonly MapRange[] {
    const { ports, memory } = this.#machine;
    return addressMap(ports, memory, this.spec.ram);
  }

  /** By index. Use it only while its thread is parked. */
  get vcpus(): readonly Vcpu[] {
    return this.#hardware.vcpus;
  }

  get memory(): MemoryParts {
    const { memory, dirtyMap, ram } = this.#hardware;
    const { windows } = this.#machine.memory;
    return { memory, dirty: dirtyMap, slots: this.#plugged.slots, windows, resident: () => ram.resident() };
  }

  /** What a snapshot copies, while all threads are parked. */
  get savable(): Savable {
    const monotonicNs = machineClock(this.#blocks.clockOffsetNs).monotonic();
    return { ...this.#hardware.parts, machine: this.#machine, monotonicNs };
  }

  /**
   * The registers of parts were replaced, while all threads are parked: KVM's objects follow them.
   * @param monotonicNs the machine's monotonic clock from now on
   */
  follow(monotonicNs: number): void {
    const { generation, clockOffsetNs } = this.#blocks;
    clockOffsetNs[0] = monotonicNs - hostClock.monotonic();
    generation.bump();
    this.#plugged.reconcile(this.#machine);
  }

  /** True once the guest ended or reset the machine, or a thread failed. */
  get hasEnded(): boolean {
    return this.#hasEnding;
  }

  /** Whether KVM can block interrupts during a single step. */
  get stepsWithoutInterrupts(): boolean {
    return (this.#hardware.vm.checkExtension(KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ) !== 0;
  }

  /** Lets the threads run: all of them, or only some of the vCPUs. */
  run(vcpus?: readonly number[]): void {
    this.#threads.run(vcpus);
  }

  park(meanwhile: () => void): Promise<void> {
    return this.#threads.park(meanwhile);
  }

  /** True after END was requested of the threads. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** Sends the io thread an order for a drive. @throws {DriveError} */
  async order(part: string, order: DriveOrder): Promise<DiskReply> {
    if (this.#isCut) throw new DriveError(ENDED.code, ENDED.message);
    const id = this.#lastOrder++;
    const reply = await new Promise<PartReply>((resolve) => {
      this.#orders.set(id, resolve);
      this.#threads.order({ id, part, order });
    });
    if (reply.failure !== undefined) throw new DriveError(reply.failure.code, reply.failure.message);
    return reply.reply;
  }

  /** Asks the threads to end, whatever they wait for. Call `end` afterwards. */
  cut(): void {
    if (this.#isGone) return;
    this.#isCut = true;
    // First: a vCPU whose access gets all ones from here on must not run the guest further.
    this.#threads.tellToEnd();
    for (const mailbox of this.#blocks.mailboxes) mailbox.close();
    // The io thread may end without an answer, and the end waits for who waits for it.
    for (const [id, resolve] of this.#orders) resolve({ id, failure: ENDED });
    this.#orders.clear();
  }

  /** Ends the threads and releases every descriptor and mapping. Counters can still be read. */
  async end(meanwhile: () => void): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.cut();
    await this.#threads.end(meanwhile);
    this.#isGone = true;
    for (const disk of this.#disks.values()) disk.close();
    for (const port of this.#networkPorts.values()) port.close();
    this.#kernel = this.#hardware.counters();
    this.#drives.openTrays = [...this.#machine.parts.values()].flatMap(
      ({ made }) => made.openTrays?.() ?? [],
    );
    this.#listener.closing(this);
    this.#hardware.close();
  }

  /** Settles when the program's own disks have finished all requests of this cycle. */
  async disksIdle(): Promise<void> {
    await Promise.all([...this.#disks.values()].map((disk) => disk.idle()));
  }

  pressPowerButton(): void {
    for (const { made } of this.#machine.parts.values()) {
      if (made.pressPowerButton === undefined) continue;
      made.lock.acquire();
      try {
        made.pressPowerButton();
      } finally {
        made.lock.release();
      }
    }
  }

  stats(): CycleStats {
    const { ports, memory } = this.#machine;
    const kernel = this.#isGone ? this.#kernel : this.#hardware.counters();
    const counted = countStats(this.#blocks, ports, memory);
    return kernel === undefined ? counted : { ...counted, kernel };
  }

  get #blocks(): Blocks {
    return this.#plugged.blocks;
  }

  /** Makes this thread's copy of the machine and resets every device. */
  #assemble(): Machine {
    const { vm } = this.#hardware;
    const { parts } = this.#blocks;
    const nobody = new Float64Array(MAX_WINDOWS + 1);
    const ports: Ports = {
      ...unplugged,
      driveIrq: (gsi, level) => vm.irqLine(gsi, level),
      pulse: (gsi) => ({ pulse: () => vm.pulseIrqLine(gsi) }),
      shadow: this.#plugged.shadow,
      counters: (part, fields) => parts.addCounters(part, fields),
      sink: (part) => {
        parts.addRing(part);
        return unplugged.sink(part);
      },
    };
    const machine = this.#plugged.assemble(ports, { ports: nobody, memory: nobody });
    machine.reset();
    return machine;
  }

  #dirtyLog(): DirtyLog {
    const { vm, dirtyMap, ioWake } = this.#hardware;
    const plugged = this.#plugged;
    const log = (on: boolean) => {
      plugged.logDirtyPages(this.#machine, on);
      // Queues that the kernel serves are in no log: the io thread serves them as long as there is one.
      ioWake.signal();
    };
    return new DirtyLog({ vm, slots: () => plugged.slots, ram: this.spec.ram, devices: dirtyMap, log });
  }

  #sharedData(options: CheckedOptions): SharedData {
    const { vm, ram, memories, ioWake, dirty } = this.#hardware;
    return {
      spec: this.spec,
      state: new SharedArrayBuffer(STATE_BYTES),
      threads: new SharedArrayBuffer(blocksBytes(this.spec.cpus)),
      vm: vm.token,
      ram: ram.token,
      memories: [...memories].map(([name, memory]) => ({ name, token: memory.token })),
      bells: [],
      ioWake: ioWake.token,
      dirty,
      reportUnclaimed: options.onUnclaimed !== undefined,
    };
  }

  #startThreads(options: CheckedOptions, drives: Drives, networks: Networks, data: SharedData): ThreadGroup {
    const hardware = this.#hardware;
    const { data: networkData, ports: networkPorts } = networks.serve();
    this.#networkPorts = networkPorts;
    const { storage, ports } = drives.serve((part, source, tags) => {
      const failed = (message: string) => this.#listener.report(part, "EIO", message, this);
      return new ProgramDiskPort(source, sourceFacts(source), hardware.memory, tags, failed);
    });
    this.#disks = ports;
    const members: Member[] = hardware.vcpus.map((vcpu, index) => ({
      name: `${options.name} vcpu${index}`,
      data: { ...data, role: { kind: "vcpu", index, vcpu: vcpu.token } },
      control: this.#blocks.vcpus[index],
      kick: () => vcpu.kick(),
    }));
    const hasTimer = [...this.#machine.parts.values()].some(({ made }) => made.hasTimer === true);
    if (hardware.bells.length > 0 || storage.size > 0 || networkData.size > 0 || hasTimer) {
      members.push({
        name: `${options.name} io`,
        data: { ...data, role: { kind: "io", storage, networks: networkData, polling: options.polling } },
        control: this.#blocks.io,
        kick: () => hardware.ioWake.signal(),
      });
    }
    const isPooled = options.threads === "pooled" || (options.threads === "auto" && ThreadGroup.anyOwn);
    return new ThreadGroup(members, isPooled && !waitsForProgram(options), {
      message: (message) => this.#message(message),
      failed: (error, member) => {
        const message = `${member.name} failed: ${error.stack ?? error.message}`;
        this.#listener.ending({ reason: "crash", message }, this);
      },
    });
  }

  #message(message: Message): void {
    const listener = this.#listener;
    switch (message.kind) {
      case "output":
        listener.output(message.part, this);
        return;
      case "ready":
        listener.ready(message.part, this);
        return;
      case "ending":
        this.#hasEnding = true;
        listener.ending(message.ending, this);
        return;
      case "debug":
        listener.debug(message.stop, this);
        return;
      case "report":
        listener.report(message.device, message.code, message.message, this);
        return;
      case "disk":
        this.#disks.get(message.part)?.ask(message.tag, message.request);
        return;
      case "frames":
        this.#networkPorts.get(message.part)?.wake();
        return;
      case "reply":
        this.#orders.get(message.id)?.(message);
        this.#orders.delete(message.id);
        return;
      case "device":
        void this.#answerOwnDevice(message.index);
        return;
      case "unclaimed": {
        const { kind: _, ...access } = message;
        listener.unclaimed(access);
        return;
      }
      case "parked":
      case "free":
        return;
    }
  }

  /** Answers an exit of vCPU `index` with a device of the program. */
  async #answerOwnDevice(index: number): Promise<void> {
    const mailbox = this.#blocks.mailboxes[index];
    const { device, isWrite, offset, size, value } = mailbox.question;
    const handlers = this.#handlers[device];
    try {
      let answer = 0xffff_ffff;
      if (isWrite) await handlers.write?.(offset, size, value);
      else if (handlers.read !== undefined) answer = await handlers.read(offset, size);
      mailbox.answer(answer);
    } catch (error) {
      const { name } = this.spec.own[device];
      const what = `${isWrite ? "write" : "read"}(${offset}, ${size}) of device "${name}" threw`;
      const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#listener.ending({ reason: "crash", message: `${what}: ${reason}` }, this);
      // The guest does not continue without an answer, and pause() does not wait for it.
      this.#blocks.vcpus[index].request(PARK);
      mailbox.close();
    }
  }
}

const ENDED = { code: "ESTATE", message: "the machine ended before the drive could be changed" };

/** ThreadData without the role. */
type SharedData = Omit<ThreadData, "role">;

function tokenOf(handle: { readonly token: number }): number {
  return handle.token;
}
