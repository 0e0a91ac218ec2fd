/**
 * One life of a machine, from power-on to its end or its next reset: the
 * kernel's objects, the shared state, the threads, and this thread's own copy
 * of the machine.
 *
 * A reset makes a new one. That costs some milliseconds more than winding back
 * every register of every object, and leaves nothing behind.
 */
import { Arena } from "../base/arena.ts";
import type { ByteRing } from "../base/ring.ts";
import { MAX_WINDOWS } from "../bus/address-space.ts";
import type { Uart16550 } from "../devices/uart16550.ts";
import { sourceFacts } from "../disk/disk-source.ts";
import { KVM_GUESTDBG_BLOCKIRQ, type Vcpu } from "../kvm/vcpu.ts";
import { addressMap } from "../machine/address-map.ts";
import type { Plugged } from "../machine/machine.ts";
import { ramRegions } from "../machine/memory-map.ts";
import { assembleMicrovm, type Microvm, stateBytes, virtioDevices } from "../machine/microvm.ts";
import type { MachineSpec } from "../machine/spec.ts";
import { unplugged } from "../machine/unplugged.ts";
import { type Blocks, blocks, blocksBytes } from "../threads/blocks.ts";
import { PARK } from "../threads/control.ts";
import { registerPage } from "../threads/register-pages.ts";
import type {
  DebugStop,
  DriveAnswer,
  DriveTask,
  Ending,
  Message,
  Role,
  ThreadData,
} from "../threads/shared.ts";
import { type Member, ThreadGroup } from "../threads/thread-group.ts";
import { virtioInterrupt } from "../threads/virtio-interrupt.ts";
import type { MapRange } from "../trace/format.ts";
import { Board } from "./board.ts";
import type { Drives } from "./drives.ts";
import { load } from "./loader.ts";
import type { DeviceHandlers, UnclaimedAccess } from "./options.ts";
import { ProgramDiskPort } from "./program-disks.ts";
import type { Receive } from "./serial-port.ts";
import { countStats, type VmStats } from "./stats.ts";
import { type CycleCounters, TraceTap } from "./trace-tap.ts";
import type { CheckedOptions } from "./validate.ts";
import { DriveError } from "./vm-drive.ts";
import type { MemoryParts } from "./vm-memory.ts";

/** api.rst 8.39. By number: headers before Linux 5.13 do not know it. */
const KVM_CAP_SET_GUEST_DEBUG2 = 195;

/** How long a UART that is busy is waited for: a vCPU that says there is room still holds it while we wake up. */
const LOCK_MS = 0.5;
/** When it is asked again after that. */
const RETRY_MS = 1;

export interface PowerCycleListener {
  ending(ending: Ending, cycle: PowerCycle): void;
  debug(stop: DebugStop, cycle: PowerCycle): void;
  console(port: number, cycle: PowerCycle): void;
  receiver(port: number, cycle: PowerCycle): void;
  report(device: string, code: string, message: string, cycle: PowerCycle): void;
  unclaimed(access: UnclaimedAccess): void;
  /** The threads are gone, and the rest is about to go. */
  closing(cycle: PowerCycle): void;
}

export class PowerCycle {
  readonly spec: MachineSpec;
  /** Console output by port. */
  readonly rings: readonly ByteRing[];
  /** By serial port. */
  readonly receivers: readonly Receive[];
  /** How the kernel was started: see BootPlan. */
  readonly protocol: string;
  /** What a trace takes from it. */
  readonly tap: TraceTap;

  readonly #handlers: readonly DeviceHandlers[];
  readonly #listener: PowerCycleListener;
  readonly #board: Board;
  readonly #shared: Blocks;
  readonly #microvm: Microvm;
  readonly #threads: ThreadGroup;
  /** By drive, where it is the program's own. */
  #disks: readonly (ProgramDiskPort | undefined)[] = [];
  /** Those that the io thread has not answered, by their ids. */
  readonly #orders = new Map<number, (answer: DriveAnswer) => void>();
  #lastOrder = 0;
  #ended = false;
  /** The threads are gone, and so are the handles by which they would be kicked. */
  #over = false;
  #isCut = false;
  /** KVM's counters at the end. */
  #kernel: CycleCounters | undefined;

  /** @throws as createVm does; nothing is left behind then. */
  constructor(options: CheckedOptions, drives: Drives, listener: PowerCycleListener) {
    this.#listener = listener;
    this.#handlers = options.devices.map((device) => device.handlers);
    this.spec = specOf(options, drives);
    const { spec } = this;
    const virtio = virtioDevices(spec);
    const state = new SharedArrayBuffer(stateBytes(spec));
    const threads = new SharedArrayBuffer(blocksBytes(spec.cpus, virtio));
    this.#shared = blocks(threads, spec.cpus, virtio);
    this.rings = this.#shared.rings;

    const board = new Board(options, spec);
    this.#board = board;
    try {
      const nobody = new Float64Array(MAX_WINDOWS + 1);
      const host = {
        ...unplugged,
        driveIrq: (gsi: number, level: boolean) => board.vm.irqLine(gsi, level),
        interrupt: (slot: number) => virtioInterrupt(board.vm, slot),
        registerPage: (slot: number) => board.registerPages && registerPage(board.registerPages, slot),
      };
      this.#microvm = assembleMicrovm(spec, new Arena(state), host, { ports: nobody, memory: nobody });
      this.#microvm.machine.reset();
      board.connectQueues(this.#microvm.virtio);
      this.#threads = this.#startThreads(options, drives, state, threads);
      this.tap = new TraceTap(this.#threads, board, this.#microvm.machine);
    } catch (error) {
      board.close();
      throw error;
    }
    try {
      this.protocol = load(options, spec, board); // while the threads start
    } catch (error) {
      void this.#threads.end(() => {}).then(() => board.close());
      throw error;
    }
    this.receivers = this.#microvm.serials.map((uart, port) => (byte) => this.#receive(uart, port, byte));
  }

  get map(): readonly MapRange[] {
    const { ports, memory } = this.#microvm.machine;
    return addressMap(ports, memory, this.spec.ram);
  }

  /** By index. To be used while its thread is parked. */
  get vcpus(): readonly Vcpu[] {
    return this.#board.vcpus;
  }

  get memory(): MemoryParts {
    const { memory, vm, ram } = this.#board;
    const { windows } = this.#microvm.machine.memory;
    return { memory, slots: vm.memorySlots, windows, resident: () => ram.resident() };
  }

  /** Whether KVM can keep interrupts away from a single step. */
  get stepsWithoutInterrupts(): boolean {
    return (this.#board.vm.checkExtension(KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ) !== 0;
  }

  /** Lets the threads run, or of the vCPUs only some. */
  run(vcpus?: readonly number[]): void {
    this.#threads.run(vcpus);
  }

  park(meanwhile: () => void): Promise<void> {
    return this.#threads.park(meanwhile);
  }

  /** True once the threads were told to end. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** Asks the io thread something about a drive. @throws {DriveError} */
  async order(drive: number, task: DriveTask): Promise<Extract<DriveAnswer, { size: number }>> {
    const id = this.#lastOrder++;
    const answer = await new Promise<DriveAnswer>((resolve) => {
      this.#orders.set(id, resolve);
      this.#threads.order({ id, drive, task });
    });
    if (answer.failure !== undefined) throw new DriveError(answer.failure.code, answer.failure.message);
    return answer;
  }

  /** Tells the threads to end, whatever they wait for. To be followed by `end`. */
  cut(): void {
    if (this.#over) return;
    this.#isCut = true;
    for (const mailbox of this.#shared.mailboxes) mailbox.close();
    this.#threads.tellToEnd();
  }

  /** Ends the threads and gives back every descriptor and mapping. Counters stay. */
  async end(meanwhile: () => void): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.cut();
    await this.#threads.end(meanwhile);
    this.#over = true;
    for (const disk of this.#disks) disk?.close();
    for (const [id, answer] of this.#orders) answer({ id, failure: ENDED });
    this.#orders.clear();
    this.#kernel = this.#board.counters();
    this.#listener.closing(this);
    this.#board.close();
  }

  /** Settles when the program's own disks have nothing more to do for this cycle. */
  async disksIdle(): Promise<void> {
    await Promise.all(this.#disks.map((disk) => disk?.idle()));
  }

  pressPowerButton(): void {
    const { chip, lock } = this.#microvm.pm;
    lock.acquire();
    try {
      chip.pressPowerButton();
    } finally {
      lock.release();
    }
  }

  stats(): Omit<VmStats, "serials"> {
    const { ports, memory } = this.#microvm.machine;
    const kernel = this.#over ? this.#kernel : this.#board.counters();
    const counted = countStats(this.#shared, ports, memory, this.spec.drives.length);
    return kernel === undefined ? counted : { ...counted, kernel };
  }

  /** Gives a byte to a UART. False if it cannot take it now; the listener hears when it can. */
  #receive({ chip, lock }: Plugged<Uart16550>, port: number, byte: number): boolean {
    // A vCPU may hold this lock until the program has read what its guest printed: never wait for long here.
    if (!lock.tryAcquire(LOCK_MS)) {
      setTimeout(() => this.#listener.receiver(port, this), RETRY_MS);
      return false;
    }
    try {
      return chip.receive(byte);
    } finally {
      lock.release();
    }
  }

  #startThreads(
    options: CheckedOptions,
    drives: Drives,
    state: SharedArrayBuffer,
    threads: SharedArrayBuffer,
  ): ThreadGroup {
    const { spec } = this;
    const board = this.#board;
    const { served, ports } = drives.serve((drive, source, tags) => {
      const failed = (message: string) => this.#listener.report(`virtio-blk${drive}`, "EIO", message, this);
      return new ProgramDiskPort(source, sourceFacts(source), board.memory, tags, failed);
    });
    this.#disks = ports;
    const data = (role: Role): ThreadData => ({
      spec,
      state,
      threads,
      vm: board.vm.token,
      ram: board.ram.token,
      ioWake: board.ioWake.token,
      registerPages: board.registerPages?.token,
      role,
    });
    const members: Member[] = board.vcpus.map((vcpu, index) => ({
      name: `${options.name} vcpu${index}`,
      data: data({ kind: "vcpu", index, vcpu: vcpu.token }),
      control: this.#shared.vcpus[index],
      kick: () => vcpu.kick(),
    }));
    if (virtioDevices(spec) > 0) {
      members.push({
        name: `${options.name} io`,
        data: data({
          kind: "io",
          doorbells: board.doorbells.map((queues) => queues.map((event) => event.token)),
          acknowledgements: board.acknowledgements.map((event) => event.token),
          drives: served,
        }),
        control: this.#shared.io,
        kick: () => board.ioWake.signal(),
      });
    }
    return new ThreadGroup(members, {
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
      case "console":
        listener.console(message.port, this);
        return;
      case "receiver":
        listener.receiver(message.port, this);
        return;
      case "ending":
        listener.ending(message.ending, this);
        return;
      case "debug":
        listener.debug(message.stop, this);
        return;
      case "report":
        listener.report(message.device, message.code, message.message, this);
        return;
      case "disk":
        this.#disks[message.drive]?.ask(message.tag, message.request);
        return;
      case "answer":
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
        return;
    }
  }

  /** An exit of vCPU `index` that a device of the program's own has to answer. */
  async #answerOwnDevice(index: number): Promise<void> {
    const mailbox = this.#shared.mailboxes[index];
    const { device, isWrite, offset, size, value } = mailbox.question;
    const handlers = this.#handlers[device];
    try {
      let answer = 0xffff_ffff;
      if (isWrite) await handlers.write?.(offset, size, value);
      else if (handlers.read !== undefined) answer = await handlers.read(offset, size);
      mailbox.answer(answer);
    } catch (error) {
      const { name } = this.spec.devices[device];
      const what = `${isWrite ? "write" : "read"}(${offset}, ${size}) of device "${name}" threw`;
      const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#listener.ending({ reason: "crash", message: `${what}: ${reason}` }, this);
      // The guest does not go on with an answer that nobody gave, nor does a pause() wait for it.
      this.#shared.vcpus[index].request(PARK);
      mailbox.close();
    }
  }
}

const ENDED = { code: "ESTATE", message: "the machine ended before the drive could be changed" };

/** The machine as plain data. @throws {SystemError | ImageError} for an image that cannot be used */
function specOf(options: CheckedOptions, drives: Drives): MachineSpec {
  return {
    cpus: options.cpus,
    ram: ramRegions(options.memory),
    serialPorts: options.serialPorts,
    drives: drives.disks,
    rng: options.rng,
    devices: options.ownDevices,
    traceUnclaimed: options.onUnclaimed !== undefined,
  };
}
