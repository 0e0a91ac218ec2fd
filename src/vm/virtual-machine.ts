/** The public face of a machine: its life, its streams, its events. */
import { EventEmitter } from "node:events";
import { setImmediate } from "node:timers/promises";
import type { TraceFilter } from "../config/trace.ts";
import type { GdbPlace, GdbServer } from "../gdb/server.ts";
import { probeGuestDebug } from "../kvm/guest-debug-probe.ts";
import { addressMapText } from "../machine/address-map.ts";
import type { Board } from "../machine/board.ts";
import type { DebugStop, Ending } from "../threads/shared.ts";
import type { MapRange } from "../trace/format.ts";
import { type Drives, driveName } from "./drives.ts";
import type { ForkSources } from "./fork-machine.ts";
import { GuestCpu, type RunOptions } from "./guest-cpu.ts";
import type { MachineNetwork } from "./machine-network.ts";
import { machineSpec } from "./machine-spec.ts";
import { Networks } from "./networks.ts";
import { VmBalloon } from "./outlets/balloon.ts";
import type { VmNetwork } from "./outlets/network.ts";
import type { Outlet } from "./outlets/outlet.ts";
import { serialOutlet } from "./outlets/serial.ts";
import type { VmVsock } from "./outlets/vsock.ts";
import { PanicWatch } from "./panic-watch.ts";
import { type Origin, PowerCycle, type PowerCycleListener } from "./power-cycle.ts";
import type { PowerOn } from "./power-on.ts";
import type { SnapshotOptions, SnapshotReport } from "./save-machine.ts";
import { type RewindReport, Saves } from "./saves.ts";
import { SerialPort } from "./serial-port.ts";
import { addStats, type CycleStats, type VmStats, vmStats } from "./stats.ts";
import type { Trace } from "./trace-stream.ts";
import { Tracer } from "./tracer.ts";
import type { CheckedOptions } from "./validate.ts";
import { handlesOf, type VmDrive } from "./vm-drive.ts";
import { StateError, VmError } from "./vm-error.ts";
import type { VmEvents } from "./vm-events.ts";
import { VmMemory } from "./vm-memory.ts";

export type VmState = "created" | "running" | "paused" | "exited";

export interface ForkOptions extends ForkSources {
  /** Called for each copy before its first instruction: it may write memory, or to a serial port. */
  readonly onFork?: (child: VirtualMachine, index: number) => void | Promise<void>;
}

/** The parts behind `debugConsole` and `balloon`. */
const DEBUG_CONSOLE = "debug-console";
const BALLOON = "virtio-balloon";

export class VirtualMachine extends EventEmitter<VmEvents> {
  readonly name: string;
  /** COM1 and up. */
  readonly serials: readonly SerialPort[];
  /** What the guest writes to ports 0xe9 and 0x402. Only readable. */
  readonly debugConsole: SerialPort;
  /** Settles when the machine has ended, and never rejects. */
  readonly exited: Promise<Ending>;
  /** The CPUs, to be read while the machine is paused. */
  readonly vcpus: readonly GuestCpu[];
  /** Guest-physical memory. */
  readonly memory: VmMemory;
  /** In the order in which they were given. */
  readonly drives: readonly VmDrive[];
  readonly networks: readonly VmNetwork[];
  readonly network: MachineNetwork;
  /** Streams to and from programs of the guest, if the machine has a vsock device. */
  readonly vsock: VmVsock | undefined;
  /** If the machine has one. */
  readonly balloon: VmBalloon | undefined;
  readonly #board: Board;
  readonly #options: CheckedOptions;
  readonly #start: PowerOn;
  readonly #outlets: ReadonlyMap<string, Outlet>; // by part
  readonly #tracer: Tracer;
  readonly #images: Drives;
  readonly #networks: Networks;
  #cycle: PowerCycle;
  #state: VmState = "created";
  /** The CPUs that run, if not all do. */
  #running: readonly number[] | undefined;
  /** Stats of the power cycles before this one. */
  #before: CycleStats | undefined;
  #resolveExited: (ending: Ending) => void = () => {};
  /** Settles when stop() was called. */
  readonly #stopping: Promise<unknown>;
  #stop: (value?: unknown) => void = () => {};
  /** One change of state at a time: each waits for the one before. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly #panic = new PanicWatch();
  readonly #notes = new Set<string>(); // emitted at the start: until then nobody can listen
  readonly #saves: Saves;

  constructor(board: Board, options: CheckedOptions, drives: Drives, start: PowerOn, nets = Networks.none) {
    super();
    this.#board = board;
    this.#options = { ...options, drives: drives.options };
    this.#start = start;
    this.name = options.name;
    this.exited = new Promise((resolve) => {
      this.#resolveExited = resolve;
    });
    this.#stopping = new Promise((resolve) => {
      this.#stop = resolve;
    });
    this.#images = drives;
    this.#networks = nets;
    this.networks = nets.cards;
    this.network = nets.machine;
    this.vsock = nets.vsock;
    this.#saves = new Saves(this.#options, drives, (doing, prepare) => this.#standStill(doing, prepare));
    this.#cycle = this.#powerOn(start.saved);
    if (start.saved !== undefined) this.#state = "paused";
    const { serialParts } = this.#cycle;
    this.balloon = options.balloon && new VmBalloon(options.memory);
    this.serials = serialParts.map((_, n) => new SerialPort(`${this.name} serial${n}`));
    this.debugConsole = new SerialPort(`${this.name} debug console`);
    this.#outlets = new Map<string, Outlet>([
      ...serialParts.map((part, n) => [part, serialOutlet(this.serials[n])] as const),
      [DEBUG_CONSOLE, serialOutlet(this.debugConsole)],
      ...nets.outlets,
      ...(this.balloon === undefined ? [] : [[BALLOON, this.balloon] as const]),
    ]);
    this.vcpus = Array.from({ length: options.cpus }, (_, n) => {
      return new GuestCpu(n, (doing) => this.#standing(doing).vcpus[n]);
    });
    this.#tracer = new Tracer({ name: this.name, vcpus: options.cpus, map: this.map, network: this.network });
    this.#tracer.attach(this.#cycle.tap);
    this.memory = new VmMemory((doing) => this.#existing(doing).memory);
    const existing = (doing: string) => this.#existing(doing);
    this.drives = handlesOf(drives, this.#saves, existing, (work) => this.#inTurn(work));
    for (const serial of this.serials)
      serial.onText = (text) => {
        if (!this.#panic.watch(text)) return;
        this.#report(new VmError("EPANIC", "vm", `the guest's kernel panicked: ${this.#panic.line}`));
      };
    this.#plugOutlets();
  }

  /** COM1: a stream, and `waitFor` for text on the console. */
  get serial(): SerialPort {
    return this.serials[0];
  }

  get state(): VmState {
    return this.#state;
  }

  /** Which device answers at which address: I/O ports, then memory, lowest address first. */
  get map(): readonly MapRange[] {
    return this.#cycle.map;
  }

  /** The same as text. */
  get addressMap(): string {
    return addressMapText(this.map);
  }

  /**
   * The exits to user space from now on, as records: first a header, last an
   * `end`; kinds and fields are in docs/trace.md. Tracing lasts until the loop
   * over the records is left, `stop()` is called on what this returns, or the
   * machine ends; a reset does not end it. If the reader is too slow, exits are
   * dropped, and the trace says how many.
   *
   * Most hardware exits are not exits to user space: the kernel handles page
   * faults, CPUID, most MSRs, HLT and hypercalls itself, and counts them in
   * `stats().kernel`.
   *
   * @throws {OptionError} for a wrong filter; {StateError} once the machine has ended.
   */
  trace(filter: TraceFilter = {}): Trace {
    this.#expect("trace", "created", "running", "paused");
    return this.#tracer.open(filter);
  }

  /** How the kernel was started: "bzImage", "Multiboot", "PVH" or "flat". */
  get protocol(): string {
    return this.#cycle.protocol;
  }

  /** Whether KVM can block interrupts during a single step: see GuestDebug.blockInterrupts. */
  get stepsWithoutInterrupts(): boolean {
    return this.#existing("stepsWithoutInterrupts").stepsWithoutInterrupts;
  }

  /** Lets the guest run. @throws {StateError} unless the machine was just created. */
  start(options: RunOptions = {}): Promise<void> {
    return this.#inTurn(() => {
      this.#expect("start", "created");
      for (const note of [...this.#notes, ...this.#networks.notes]) this.emit("note", note);
      this.#run(options);
      this.emit("started");
    });
  }

  /** Stops every vCPU and the disks at a safe point. @throws {StateError} unless it is running. */
  pause(): Promise<void> {
    return this.#inTurn(async () => {
      this.#expect("pause", "running");
      await this.#pauseFor(this.#cycle);
    });
  }

  /** @throws {StateError} unless it is paused. */
  resume(options: RunOptions = {}): Promise<void> {
    return this.#inTurn(() => {
      this.#expect("resume", "paused");
      this.#run(options);
      this.emit("resumed");
    });
  }

  /** Presses the reset button: memory is cleared and the kernel starts anew; with `paused`, once it is resumed. */
  reset(options: { readonly paused?: boolean } = {}): Promise<void> {
    return this.#inTurn(async () => {
      this.#expect("reset", "running", "paused");
      await this.#startOver(options.paused);
    });
  }

  /**
   * Saves the machine in a folder, from which `restoreVm` makes it again, any number of times, also in
   * another process. A running machine is paused meanwhile, and then continues.
   *
   * @throws {SnapshotError} for a machine that cannot be saved, or a folder in which something else is;
   *   {StateError} unless it is running or paused.
   */
  snapshot(options: SnapshotOptions): Promise<SnapshotReport> {
    return this.#saves.snapshot(options);
  }

  /**
   * Remembers the machine as it is now, for `rewind`, in place of an earlier mark. From then on KVM logs
   * which pages the guest writes. A reset drops the mark.
   *
   * @throws {SnapshotError} for a machine that cannot go back; {StateError} unless it is running or paused.
   */
  mark(): Promise<void> {
    return this.#saves.mark();
  }

  /**
   * Makes the machine what it was at its mark: RAM, CPUs, devices, clocks, drives. It runs on from there if
   * it was running. What it printed stays printed.
   *
   * @throws {StateError} without a mark, or unless it is running or paused.
   */
  async rewind(): Promise<RewindReport> {
    const report = await this.#saves.rewind();
    this.#panic.forget();
    for (const outlet of this.#outlets.values()) outlet.rewound?.();
    return report;
  }

  /**
   * Makes `count` copies of the machine, which continue from where it is and share with it what of its RAM
   * neither has written. They run if it runs. Each has streams of its own, and an overlay of its own over
   * each drive that has the option `snapshot`.
   *
   * @throws {SnapshotError} for a machine that cannot be copied; {StateError} unless it is running or paused.
   */
  async fork(count: number, options: ForkOptions = {}): Promise<VirtualMachine[]> {
    const make = (own: CheckedOptions, drives: Drives, networks: Networks, saved: Origin) =>
      new VirtualMachine(this.#board, own, drives, { ...this.#start, saved }, networks);
    const { result: children, wasRunning } = await this.#standStill("fork", async () => {
      const { forkMachine } = await import("./fork-machine.ts");
      return (cycle) => forkMachine(cycle, this.#options, this.#images, count, options, make);
    });
    for (const [n, child] of children.entries()) await options.onFork?.(child, n);
    if (wasRunning) await Promise.all(children.map((child) => child.resume()));
    return children;
  }

  /** Presses the power button: a guest with ACPI shuts down in its own time. See `exited`. */
  powerdown(): Promise<void> {
    return this.#inTurn(() => {
      this.#expect("powerdown", "running", "paused");
      this.#cycle.pressPowerButton();
    });
  }

  /** Pulls the plug. Data that the guest had not flushed is lost. Does nothing if it has ended. */
  stop(): Promise<void> {
    // Not queued: an earlier operation may wait for a handler or a disk of the program that never answers.
    this.#stop();
    if (this.#state !== "exited") this.#cycle.cut();
    return this.#inTurn(async () => {
      if (this.#state !== "exited") await this.#finish({ reason: "stopped" });
    });
  }

  /** stop(), for `await using`. */
  close(): Promise<void> {
    return this.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /**
   * Waits for gdb: its "target remote" then stops the guest and controls it. A
   * machine that is not started yet starts when gdb continues it.
   * Listens until the machine ends, or the server is closed.
   *
   * @throws {SystemError} EADDRINUSE if another program has that port.
   */
  async serveGdb(place: GdbPlace): Promise<GdbServer> {
    this.#existing("serveGdb");
    // Loaded only here: most machines have no debugger, and start sooner without this module.
    const { GdbServer } = await import("../gdb/server.ts");
    const { VmDebugTarget } = await import("./debug-target.ts");
    const server = await GdbServer.listen(place, new VmDebugTarget(this, probeGuestDebug(this.#options.kvm)));
    void this.exited.then(() => server.close());
    return server;
  }

  stats(): VmStats {
    return vmStats(this.#count(), this.#options.drives.map(driveName), this.#networks.names, this.serials);
  }

  #run({ vcpus }: RunOptions): void {
    this.#running = vcpus;
    this.#networks.pause(false);
    this.#cycle.run(vcpus);
    this.#state = "running";
  }

  /** See StandStill. */
  #standStill<T>(doing: string, prepare: (cycle: PowerCycle) => Promise<(cycle: PowerCycle) => Promise<T>>) {
    return this.#inTurn(async () => {
      this.#expect(doing, "running", "paused");
      const cycle = this.#cycle;
      const work = await prepare(cycle);
      const start = performance.now();
      const wasRunning = this.#state === "running";
      if (wasRunning) await cycle.park(() => this.#drainOutlets());
      try {
        await setImmediate(); // a guest that has just ended says so in a message
        if (cycle.isCut || cycle.hasEnded) throw new StateError(`${doing}(): ${this.name} has ended`);
        const result = await work(cycle);
        return { result, wasRunning, pauseMs: performance.now() - start };
      } finally {
        if (wasRunning && !cycle.isCut) cycle.run(this.#running);
      }
    });
  }

  /** Counts of all power cycles. */
  #count(): CycleStats {
    const now = this.#cycle.stats();
    return this.#before === undefined ? now : addStats(this.#before, now);
  }

  #powerOn(origin: Origin = this.#start.origin((text) => this.#notes.add(text))): PowerCycle {
    const [options, images, nets] = [this.#options, this.#images, this.#networks];
    const spec = machineSpec(options, images, nets, this.#start);
    return new PowerCycle(this.#board, spec, options, images, origin, this.#listener(), nets);
  }

  #listener(): PowerCycleListener {
    return {
      ending: (ending, cycle) => {
        void this.#inTurn(async () => {
          // The ending of an earlier power cycle, or a second ending, is ignored.
          if (cycle !== this.#cycle || this.#state === "exited") return;
          await this.#ended(ending);
        });
      },
      debug: (stop, cycle) => {
        void this.#inTurn(async () => {
          if (cycle === this.#cycle && this.#state !== "exited") await this.#stopped(stop);
        });
      },
      output: (part, cycle) => {
        if (cycle === this.#cycle) this.#outlets.get(part)?.output?.();
      },
      ready: (part, cycle) => {
        if (cycle === this.#cycle) this.#outlets.get(part)?.ready?.();
      },
      report: (device, code, message, cycle) => {
        if (code === "NOTE") this.emit("note", `${device}: ${message}`);
        else this.#report(new VmError(code, device, message));
        if (code === "ESTOP") void this.#inTurn(() => this.#pauseFor(cycle));
      },
      unclaimed: (access) => this.#options.onUnclaimed?.(access),
      closing: (cycle) => {
        if (cycle === this.#cycle) this.#tracer.detach();
      },
    };
  }

  async #ended(ending: Ending): Promise<void> {
    if (ending.reason === "reset" && this.#panic.line !== undefined)
      return this.#finish({ reason: "crash", message: this.#panic.line });
    if (ending.reason === "reset" && this.#options.onReset === "reset") return this.#startOver();
    if (ending.reason === "crash") this.#report(new VmError("ECRASH", "vm", ending.message ?? "crashed"));
    return this.#finish(ending);
  }

  /** A vCPU stopped for a debugger: pauses the machine, unless it is paused already. */
  async #stopped(stop: DebugStop): Promise<void> {
    await this.#pauseFor(this.#cycle);
    if (!this.#cycle.isCut) this.emit("debug", stop);
  }

  /** Pauses the machine if `cycle` is still its power cycle, and runs. */
  async #pauseFor(cycle: PowerCycle): Promise<void> {
    if (cycle !== this.#cycle || this.#state !== "running") return;
    await cycle.park(() => this.#drainOutlets());
    if (cycle.isCut) return; // stop() was called meanwhile
    this.#tracer.drain();
    this.#state = "paused";
    this.#networks.pause(true);
    this.emit("paused");
  }

  async #startOver(paused = false): Promise<void> {
    await this.#endCycle();
    // A late disk write of the old guest must not overlap with one of the new guest.
    const idle = await Promise.race([this.#cycle.disksIdle(), this.#stopping.then(() => "stopped")]);
    if (idle === "stopped") return; // by stop(), which runs next
    const done = this.#count();
    this.#panic.forget();
    try {
      this.#cycle = this.#powerOn();
      this.#before = done;
      this.#tracer.attach(this.#cycle.tap);
      for (const cpu of this.vcpus) cpu.carryDebug(this.#cycle.vcpus[cpu.index]);
    } catch (error) {
      // The kernel file or a disk may be missing by now.
      const message = error instanceof Error ? error.message : String(error);
      await this.#endCycle();
      this.#report(new VmError("ECRASH", "vm", message));
      return this.#settle({ reason: "crash", message: `the reset failed: ${message}` });
    }
    this.#plugOutlets();
    if (paused) this.#state = "paused";
    else this.#run({});
    this.emit("reset");
  }

  async #finish(ending: Ending): Promise<void> {
    await this.#endCycle();
    this.#settle(ending);
  }

  async #endCycle(): Promise<void> {
    await this.#cycle.end(() => this.#drainOutlets());
    this.#drainOutlets();
    this.#saves.release();
  }

  #settle(ending: Ending): void {
    this.#state = "exited";
    this.#images.close();
    void this.#networks.close().catch(() => {});
    this.#tracer.finish();
    for (const outlet of this.#outlets.values()) outlet.finish?.();
    this.#resolveExited(ending);
    this.emit("exited", ending);
  }

  #plugOutlets(): void {
    for (const [part, outlet] of this.#outlets) outlet.plug(this.#cycle.part(part));
  }

  #drainOutlets(): void {
    for (const outlet of this.#outlets.values()) outlet.drain?.();
  }

  #report(error: VmError): void {
    if (this.listenerCount("error") > 0) this.emit("error", error);
  }

  #expect(doing: string, ...states: VmState[]): void {
    if (!states.includes(this.#state)) {
      throw new StateError(`${doing}(): ${this.name} is ${this.#state}; it has to be ${states.join(" or ")}`);
    }
  }

  /** The power cycle, if its CPUs can be read. */
  #standing(doing: string): PowerCycle {
    this.#expect(doing, "created", "paused");
    return this.#existing(doing);
  }

  /** The power cycle; not after the end, nor in the middle of a reset. */
  #existing(doing: string): PowerCycle {
    this.#expect(doing, "created", "running", "paused");
    if (this.#cycle.isCut) throw new StateError(`${doing}(): ${this.name} is being reset or stopped`);
    return this.#cycle;
  }

  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}
