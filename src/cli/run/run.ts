/**
 * `vmexit run`: starts a machine, connects its consoles, waits for its end and
 * turns that into an exit status.
 *
 * The first of these ends the wait: the guest's end, Ctrl-A x, a signal, or an
 * output that cannot be written any more. What the guest sent before its end is
 * written before the process ends.
 */
import { existsSync } from "node:fs";
import type { Duplex, Readable } from "node:stream";
import { OptionError } from "../../base/errors.ts";
import { hexDigits } from "../../base/hex.ts";
import type { UnclaimedAccess, VmOptions } from "../../config/machine.ts";
import type { TraceFilter } from "../../config/trace.ts";
import type { GdbPlace } from "../../gdb/server.ts";
import type { Ending } from "../../threads/shared.ts";
import type { RestoreOptions } from "../../vm/restore-vm.ts";
import type { EndingSignal, Outcome } from "../exit-status.ts";
import { FAILED, OK, OUTPUT_CLOSED, STOPPED, statusOf, USAGE } from "../exit-status.ts";
import { parseRun } from "./command-line.ts";
import type { PlaceDeps } from "./consoles.ts";
import { connectOutput, openPlace } from "./consoles.ts";
import type { Input } from "./keyboard.ts";
import { Keyboard } from "./keyboard.ts";
import type { RunRequest, SaveRequest } from "./request.ts";
import type { ConsoleText, SavableMachine, SaveKey } from "./save.ts";
import { statsText } from "./stats-text.ts";
import type { RecordSource, TraceFileWriter } from "./trace-file.ts";

/** What the command uses of a VirtualMachine. */
export interface Machine extends SavableMachine {
  readonly serials: readonly (Duplex & ConsoleText)[];
  readonly debugConsole: Readable;
  readonly exited: Promise<Ending>;
  start(): Promise<void>;
  stop(): Promise<void>;
  close(): Promise<void>;
  stats(): object;
  serveGdb(place: GdbPlace): Promise<{ readonly address: string }>;
  trace(filter: TraceFilter): RecordSource;
  resume(): Promise<void>;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "note", listener: (text: string) => void): unknown;
}

/** What the command needs from the process around it. */
export interface RunDeps extends PlaceDeps {
  readonly stdin: Input;
  /** How the command line is read, if not as that of `vmexit run`. */
  readonly form?: { readonly image: true };
  createVm(options: VmOptions): Promise<Machine>;
  restoreVm(dir: string, options: RestoreOptions): Promise<Machine>;
  /** Calls back at the first signal that asks the process to end. */
  onSignal(listener: (signal: EndingSignal) => void): void;
}

/** How many reports of a machine are printed: a guest must not be able to fill a log. */
const REPORT_LIMIT = 100;
/** How long a machine may take to stop, and its last output to be written. */
const LAST_WORDS_MS = 1_000;

/** Never throws: a failure is printed and becomes an exit status. */
export async function run(argv: readonly string[], deps: RunDeps): Promise<Outcome> {
  try {
    const request = await readRequest(argv, deps);
    return request === undefined ? OK : await runMachine(request, deps);
  } catch (error) {
    deps.stderr.write(`vmexit run: ${describe(error)}\n`);
    return error instanceof OptionError ? USAGE : FAILED;
  }
}

/**
 * Reads a command line. If it asks for a text, that is printed, and undefined returned.
 * @throws {OptionError} for what is not possible as typed
 */
export async function readRequest(
  argv: readonly string[],
  { stdout, form }: RunDeps,
): Promise<RunRequest | undefined> {
  const command = parseRun(await withConfigFiles(argv), form);
  if (command.action === "run") return command.request;
  const { text } = command;
  stdout.write(typeof text === "string" ? text : await text());
  return undefined;
}

/**
 * @param save saves the machine when it has booted, which ends the command
 * @throws what createVm and restoreVm throw, and Node for files
 */
export async function runMachine(request: RunRequest, deps: RunDeps, save?: SaveRequest): Promise<Outcome> {
  const notice = (text: string) => void deps.stderr.write(text);
  if (request.processName !== undefined) process.title = request.processName;
  const interruption = new Interruption(notice);
  const keyboard = new Keyboard(deps.stdin, notice);
  deps.onSignal((signal) => interruption.raise(signal));
  deps.stderr.on("error", () => {}); // there is nowhere left to report it
  const written: Promise<void>[] = [];

  const start = async () => {
    for (const note of request.notes) notice(`vmexit: ${note}\n`);
    const wheres = [...request.serials, request.debugConsole];
    const label = (index: number) => (index < request.serials.length ? `serial${index}` : "debugcon");
    const places = await Promise.all(
      wheres.map((where, index) => openPlace(where, where.label ?? label(index), deps)),
    );
    const traces = await Promise.all(request.traceFiles.map(({ path }) => openTrace(path)));
    const unclaimed = (access: UnclaimedAccess) => notice(unclaimedText(access));
    const handlers = request.traceUnclaimed ? { onUnclaimed: unclaimed } : {};
    const more = { ...handlers, ...(await withSeed(request)) };
    const machine =
      request.loadvm === undefined
        ? await deps.createVm({ ...request.vm, ...more })
        : await deps.restoreVm(savedPlace(request.loadvm, request.vm), { ...request.vm, ...more });
    const { serials } = request;
    if (serials.length > machine.serials.length) {
      const { length } = machine.serials;
      throw new OptionError(
        `-serial: ${serials.length} are given, and the machine of ${request.loadvm} has ${length}`,
      );
    }
    machine.on("error", reporter(notice));
    machine.on("note", (text) => notice(`vmexit: ${text}\n`));
    const ports = [...machine.serials, machine.debugConsole];
    ports.forEach((port, index) => {
      const isDebugConsole = index === ports.length - 1;
      const place = isDebugConsole
        ? places[serials.length]
        : index < serials.length
          ? places[index]
          : undefined;
      place?.sink.on("error", (error) => interruption.raise(...outputFailure(place.name, error)));
      written.push(connectOutput(port, place));
    });
    let saveKey: Promise<SaveKey> | undefined;
    const pressSave = async () => {
      saveKey ??= import("./save.ts").then(({ SaveKey }) => {
        return new SaveKey(machine, request.vm.drives ?? [], request.savevm, notice);
      });
      await (await saveKey).press();
    };
    serials.forEach(({ kind }, index) => {
      const serial = machine.serials[index];
      places[index]?.connectInput?.(serial);
      if (kind !== "stdio") return;
      keyboard.connect(serial, (key) => {
        if (key === "quit") interruption.raise(STOPPED, "stopped by Ctrl-A x");
        else if (key === "save") void pressSave();
        else machine.resume().catch((error: Error) => notice(`\nvmexit: ${error.message}\n`));
      });
    });
    traces.forEach((file, index) => {
      written.push(file.write(machine.trace(request.traceFiles[index].filter), notice));
    });
    if (request.traceNetwork) {
      const { printNetwork } = await import("./network-text.ts");
      written.push(printNetwork(machine.trace({ reasons: [], network: true }), notice));
    }
    if (request.gdb !== undefined) {
      const { address } = await machine.serveGdb(request.gdb);
      const until = request.startStopped ? "; the guest starts when gdb continues it" : "";
      notice(`vmexit: gdb may connect: target remote ${address}${until}\n`);
    }
    if (save !== undefined) {
      const { saveOnce } = await import("./save.ts");
      void saveOnce(machine, machine.serials[0], save).then((end) => interruption.raise(...end));
    }
    if (!request.startStopped) await (request.loadvm === undefined ? machine.start() : machine.resume());
    return machine;
  };

  try {
    const machine = await Promise.race([start(), interruption.happened]);
    if (!isMachine(machine)) return machine;
    const end = await Promise.race([machine.exited, interruption.happened]);
    const allWritten = Promise.all(written);
    if (isEnding(end)) {
      await Promise.race([allWritten, interruption.happened]);
      if (save !== undefined)
        notice(`\nvmexit: the guest ended before it printed "${save.until}"; nothing was saved\n`);
      if (end.reason === "crash") notice(`vmexit: the guest crashed: ${end.message ?? "no reason given"}\n`);
    } else {
      await atMost(
        LAST_WORDS_MS,
        machine.stop().then(() => allWritten),
      );
    }
    if (request.stats) notice(statsText(machine.stats()));
    await atMost(LAST_WORDS_MS, machine.close());
    if (!isEnding(end)) return end;
    return save === undefined ? statusOf(end) : FAILED;
  } finally {
    keyboard.close();
  }
}

/** A name that is not a folder's is that of a snapshot in a disk's image, as with QEMU, if there is such a disk. */
function savedPlace(given: string, { drives = [] }: RestoreOptions): string {
  const isName = !given.includes("/") && !given.startsWith("disk:") && !existsSync(given);
  return isName && drives.some(({ format }) => format === "qcow2") ? `disk:${given}` : given;
}

/** An end that comes from outside the guest. Only the first one counts. */
class Interruption {
  readonly happened: Promise<Outcome>;
  readonly #notice: (text: string) => void;
  #settle: (outcome: Outcome) => void = () => {};
  #raised = false;

  constructor(notice: (text: string) => void) {
    this.#notice = notice;
    this.happened = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  raise(outcome: Outcome, message?: string): void {
    if (this.#raised) return;
    this.#raised = true;
    if (message !== undefined) this.#notice(`\nvmexit: ${message}\n`);
    this.#settle(outcome);
  }
}

/** A reader that has read enough (`vmexit run … | head`) is not an error to report. */
function outputFailure(name: string, error: NodeJS.ErrnoException): [Outcome, string?] {
  if (error.code === "EPIPE") return [OUTPUT_CLOSED];
  return [FAILED, `writing the guest's output to ${name}: ${error.message}`];
}

function reporter(notice: (text: string) => void): (error: Error) => void {
  let reports = 0;
  return (error) => {
    if ("code" in error && error.code === "ECRASH") return; // the ending reports it
    reports++;
    const device = "device" in error && error.device !== "vm" ? `${error.device}: ` : "";
    const advice = "code" in error && error.code === "ESTOP" ? " Ctrl-A r resumes it." : "";
    if (reports <= REPORT_LIMIT) notice(`vmexit: ${device}${error.message}${advice}\n`);
    if (reports === REPORT_LIMIT) notice("vmexit: further reports are not shown\n");
  };
}

function unclaimedText({ space, direction, address, size, value }: UnclaimedAccess): string {
  const where = `${space} 0x${hexDigits(address, space === "port" ? 4 : 8)}`;
  return `vmexit: unclaimed: ${direction} of ${size} at ${where}: 0x${hexDigits(value, 2 * size)}\n`;
}

/** The reader of -readconfig is loaded only for it. */
async function withConfigFiles(argv: readonly string[]): Promise<readonly string[]> {
  if (!argv.some((word) => /^--?readconfig(=|$)/.test(word))) return argv;
  return (await import("./config-file.ts")).withConfigFiles(argv);
}

/** The writer of traces is loaded only if there is a trace. */
async function openTrace(path: string): Promise<TraceFileWriter> {
  const { TraceFileWriter } = await import("./trace-file.ts");
  return TraceFileWriter.create(path);
}

function isMachine(raced: Machine | Outcome): raced is Machine {
  return typeof raced === "object";
}

function isEnding(raced: Ending | Outcome): raced is Ending {
  return typeof raced === "object";
}

/** Waits for `work`, but at most `ms`. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, limit]);
  clearTimeout(timer);
}

/** The message of an error with a code is for the user. Any other error is a bug, and needs its stack. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "code" in error ? error.message : (error.stack ?? error.message);
}

/** The drives with the one of -cloud-init behind them. */
async function withSeed({ cloudInit, vm }: RunRequest): Promise<Pick<VmOptions, "drives">> {
  if (cloudInit === undefined) return {};
  const { cloudInitDrive } = await import("./cloud-init-drive.ts");
  return { drives: [...(vm.drives ?? []), await cloudInitDrive(cloudInit)] };
}
