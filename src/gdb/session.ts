/**
 * One connection of gdb: answers its packets from a machine.
 *
 * Source: GDB manual, Appendix E "GDB Remote Serial Protocol", all-stop mode.
 * Thread n is CPU n - 1. Unknown packets are answered by an empty packet, as
 * the manual requires. Numbers, addresses and lengths in packets are hostile.
 */
import { hexBytes, hexDigits } from "../base/hex.ts";
import type { DebugStop, Ending } from "../threads/shared.ts";
import { EBUSY, EFAULT, EINVAL, OK, UNKNOWN } from "./answers.ts";
import type { Watched } from "./hardware-breakpoints.ts";
import { fromHex, parseHex, parseNumber, textToHex } from "./hex.ts";
import { readLinear, writeLinear } from "./linear-memory.ts";
import { MAX_PACKET } from "./packet.ts";
import { Points } from "./points.ts";
import { linearPc, RegisterSet } from "./register-set.ts";
import { type Action, type Plan, parsePlan, parseThread } from "./resumption.ts";
import type { DebugTarget } from "./target.ts";
import { targetXml } from "./target-xml.ts";

const SIGINT = "02";
const SIGTRAP = "05";
const SIGABRT = "06";

const DB = 1;

const SUPPORTED = [
  `PacketSize=${MAX_PACKET.toString(16)}`,
  ...["QStartNoAckMode+", "qXfer:features:read+", "vContSupported+", "swbreak+", "hwbreak+"],
].join(";");

/** Where the session's own packets go. */
export interface Connection {
  send(body: string): void;
  /** From the next packet on, packets are not acknowledged. */
  stopAcknowledging(): void;
  end(): void;
}

export class Session {
  readonly #target: DebugTarget;
  readonly #connection: Connection;
  readonly #registers: RegisterSet;
  readonly #points: Points;
  /** True while the guest runs. */
  #plan: Plan | undefined;
  /** The CPU for registers and memory: Hg. */
  #cpu = 0;
  /** The last stop and its reason: "?". */
  #lastStop: string;
  /** Watchpoints that a second CPU hit before it was stopped. */
  readonly #unreported: { readonly cpu: number; readonly reply: string }[] = [];
  #closed = false;

  /** For a machine that is paused. */
  constructor(target: DebugTarget, connection: Connection) {
    this.#target = target;
    this.#connection = connection;
    this.#registers = new RegisterSet(target.architecture);
    this.#points = new Points(target);
    this.#lastStop = this.#stopReply(SIGTRAP, 0);
    target.listener = {
      stopped: (stop) => void this.#guarded(() => this.#stopped(stop)),
      reset: () => this.#points.software.forget(),
      ended: (ending) => this.#ended(ending),
    };
  }

  /** Answers a packet, unless its answer is deferred until the guest stops. */
  async receive(body: string): Promise<void> {
    const answer = await this.#answer(body).catch((error: unknown) => failure(error));
    if (answer !== undefined && !this.#closed) this.#connection.send(answer);
  }

  /** Ctrl-C. */
  async interrupt(): Promise<void> {
    if (this.#plan === undefined) return;
    await this.#target.pause();
    // A breakpoint or the guest's end may have come first.
    if (this.#plan !== undefined) this.#report(SIGINT, this.#cpu);
  }

  /**
   * Removes the session's breakpoints from the machine.
   * @param goOn whether the guest runs afterwards; one that was running continues anyway
   */
  async close(goOn: boolean): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#target.listener = undefined;
    const wasRunning = this.#plan !== undefined;
    if (wasRunning) await this.#target.pause();
    this.#points.removeAll();
    for (let cpu = 0; cpu < this.#target.cpus; cpu++) this.#target.setDebug(cpu, {});
    if (wasRunning || goOn) await this.#target.run(this.#all());
  }

  async #answer(body: string): Promise<string | undefined> {
    const rest = body.slice(1);
    switch (body[0]) {
      case "?":
        return this.#lastStop;
      case "g":
        return this.#registers.all(this.#target.registers(this.#cpu));
      case "G":
        return this.#change(this.#registers.changeAll(this.#state(), rest));
      case "p":
        return this.#readRegister(rest);
      case "P":
        return this.#writeRegister(rest);
      case "m":
        return this.#readMemory(rest);
      case "M":
        return this.#writeMemory(rest, fromHex);
      case "X":
        return this.#writeMemory(rest, latin1);
      case "Z":
        return this.#points.insert(this.#cpu, rest);
      case "z":
        return this.#points.remove(rest);
      case "H":
        return this.#selectThread(rest);
      case "T":
        return this.#threadOf(rest) === undefined ? EINVAL : OK;
      case "c":
      case "s":
        return this.#resumeAt(body[0] === "c" ? "run" : "step", rest);
      case "C":
      case "S":
        return this.#resumeAt(body[0] === "C" ? "run" : "step", rest.split(";")[1] ?? "");
      case "D":
        return this.#detach();
      case "k":
        await this.#target.kill();
        return undefined;
      case "q":
      case "Q":
        return this.#query(body);
      case "v":
        return this.#verbose(body);
      default:
        return UNKNOWN;
    }
  }

  async #query(body: string): Promise<string> {
    const [name] = body.split(/[:,;]/, 1);
    const rest = body.slice(name.length + 1);
    switch (name) {
      case "qSupported":
        return SUPPORTED;
      case "QStartNoAckMode":
        this.#connection.stopAcknowledging();
        return OK;
      case "qXfer":
        return this.#transfer(rest);
      case "qAttached":
        return "1"; // so that gdb detaches when it quits, and does not kill
      case "qC":
        return `QC${thread(this.#cpu)}`;
      case "qfThreadInfo":
        return `m${this.#all().map(thread).join(",")}`;
      case "qsThreadInfo":
        return "l";
      case "qThreadExtraInfo": {
        const cpu = this.#threadOf(rest);
        return typeof cpu !== "number" ? EINVAL : textToHex(`CPU ${cpu} (${this.#target.activity(cpu)})`);
      }
      case "qRcmd": {
        const command = fromHex(rest);
        if (command === undefined) return EINVAL;
        return textToHex(await this.#target.monitor(new TextDecoder().decode(command))) || OK;
      }
      default:
        return UNKNOWN;
    }
  }

  async #verbose(body: string): Promise<string | undefined> {
    if (body === "vCont?") return "vCont;c;C;s;S";
    if (body.startsWith("vCont")) {
      const plan = parsePlan(body.slice("vCont".length), this.#target.cpus);
      return plan === undefined ? EINVAL : this.#resume(plan);
    }
    return UNKNOWN;
  }

  /** qXfer: "features:read:ANNEX:OFFSET,LENGTH". */
  #transfer(text: string): string {
    const [, annex, from, size] = /^features:read:([^:]*):([0-9a-f]+),([0-9a-f]+)$/i.exec(text) ?? [];
    const offset = parseNumber(from ?? "");
    const length = parseNumber(size ?? "");
    if (annex !== "target.xml" || offset === undefined || length === undefined) return "E00";
    const xml = targetXml(this.#registers);
    // Some characters are escaped in packets.
    const part = xml.slice(offset, offset + Math.min(length, MAX_PACKET / 2));
    return `${offset + part.length < xml.length ? "m" : "l"}${part}`;
  }

  #readRegister(text: string): string {
    const number = parseNumber(text);
    if (number === undefined) return EINVAL;
    return this.#registers.one(this.#state(), number) ?? EINVAL;
  }

  #writeRegister(text: string): string {
    const [name, value = ""] = text.split("=");
    const number = parseNumber(name);
    if (number === undefined) return EINVAL;
    return this.#change(this.#registers.changeOne(this.#state(), number, value));
  }

  #change(change: ReturnType<RegisterSet["changeOne"]>): string {
    if (change === undefined) return EINVAL;
    this.#target.setRegisters(this.#cpu, change);
    return OK;
  }

  /** "ADDRESS,LENGTH". */
  #readMemory(text: string): string {
    const range = parseRange(text);
    if (range === undefined) return EINVAL;
    const length = Math.min(range.length, MAX_PACKET / 2);
    const bytes = readLinear(this.#target, this.#points.software, this.#cpu, range.address, length);
    return bytes.length === 0 && length > 0 ? EFAULT : hexBytes(bytes);
  }

  /** "ADDRESS,LENGTH:DATA". */
  #writeMemory(text: string, decode: (data: string) => Uint8Array | undefined): string {
    const colon = text.indexOf(":");
    const range = parseRange(text.slice(0, colon));
    const bytes = decode(text.slice(colon + 1));
    if (colon < 0 || range === undefined || bytes?.length !== range.length) return EINVAL;
    return writeLinear(this.#target, this.#points.software, this.#cpu, range.address, bytes) ? OK : EFAULT;
  }

  /** "gTHREAD" for registers and memory. "c" was used before vCont, and is not needed. */
  #selectThread(text: string): string {
    const cpu = this.#threadOf(text.slice(1));
    if (cpu === undefined) return EINVAL;
    if (text[0] === "g") this.#cpu = cpu === "all" ? 0 : cpu;
    return OK;
  }

  #threadOf(text: string): ReturnType<typeof parseThread> {
    return parseThread(text, this.#target.cpus);
  }

  /** c and s: for the selected CPU; "c" continues all CPUs. */
  async #resumeAt(action: Action, at: string): Promise<string | undefined> {
    if (at !== "") {
      const address = parseHex(at);
      if (address === undefined) return EINVAL;
      const state = this.#state();
      const base = linearPc(state) - state.general.rip;
      const rip = BigInt.asUintN(64, address - base);
      this.#target.setRegisters(this.#cpu, { general: { ...state.general, rip } });
    }
    return this.#resume(this.#all().map((cpu) => (cpu === this.#cpu ? action : "run")));
  }

  async #resume(plan: Plan): Promise<string | undefined> {
    if (this.#plan !== undefined) return EBUSY;
    const waiting = this.#unreported.shift();
    if (waiting !== undefined) {
      this.#cpu = waiting.cpu;
      this.#lastStop = waiting.reply;
      return waiting.reply;
    }
    this.#plan = plan;
    await this.#runPlan(plan);
    return undefined;
  }

  /** @param inject an exception of CPU `only`'s own, which is injected into it */
  async #runPlan(plan: Plan, only?: number, inject?: "breakpoint" | "debug"): Promise<void> {
    const cpus = this.#all().filter((cpu) => plan[cpu] !== "stay");
    const { debug } = this.#points;
    for (const cpu of cpus) {
      const singleStep = plan[cpu] === "step";
      this.#target.setDebug(cpu, {
        ...debug,
        singleStep,
        blockInterrupts: singleStep && this.#target.stepsWithoutInterrupts,
        ...(cpu === only && inject !== undefined ? { inject } : {}),
      });
    }
    await this.#target.run(cpus);
  }

  /** A CPU stopped. Exceptions of the guest's own are injected into it again. */
  async #stopped({ vcpu, exception, pc, dr6 }: DebugStop): Promise<void> {
    const watched = exception === DB ? this.#points.hardware.hit(dr6) : undefined;
    const plan = this.#plan;
    if (plan === undefined) {
      // It cannot be reported now. A breakpoint will be hit again; a watchpoint will not, so it is stored.
      if (watched !== undefined && watched.condition !== "execute") {
        this.#unreported.push({ cpu: vcpu, reply: this.#stopReply(SIGTRAP, vcpu, reasonOf(watched)) });
      }
    } else if (watched !== undefined) {
      this.#report(SIGTRAP, vcpu, reasonOf(watched));
    } else if (exception === DB) {
      if (plan[vcpu] === "step") this.#report(SIGTRAP, vcpu);
      else await this.#runPlan(plan, vcpu, "debug"); // the guest steps its own program
    } else if (this.#points.software.isOurs(vcpu, pc)) {
      // If gdb knows a breakpoint by another address, it would consider it just removed, and continue.
      this.#report(SIGTRAP, vcpu, this.#points.software.has(pc) ? "swbreak:;" : undefined);
    } else {
      await this.#runPlan(plan, vcpu, "breakpoint"); // an INT3 of the guest's own
    }
  }

  #report(signal: string, cpu: number, reason?: string): void {
    this.#plan = undefined;
    this.#cpu = cpu;
    this.#lastStop = this.#stopReply(signal, cpu, reason);
    this.#connection.send(this.#lastStop);
  }

  #stopReply(signal: string, cpu: number, reason = ""): string {
    return `T${signal}thread:${thread(cpu)};${reason}`;
  }

  #ended(ending: Ending): void {
    const wasRunning = this.#plan !== undefined;
    this.#plan = undefined;
    this.#closed = true;
    if (wasRunning) {
      if (ending.message !== undefined) this.#connection.send(`O${textToHex(`${ending.message}\n`)}`);
      const status = hexDigits((ending.status ?? 0) & 0xff, 2);
      this.#connection.send(ending.reason === "crash" ? `X${SIGABRT}` : `W${status}`);
    }
    this.#connection.end();
  }

  async #detach(): Promise<undefined> {
    this.#connection.send(OK);
    try {
      await this.close(true);
    } finally {
      this.#connection.end();
    }
  }

  #state() {
    return this.#target.registers(this.#cpu);
  }

  #all(): number[] {
    return Array.from({ length: this.#target.cpus }, (_, cpu) => cpu);
  }

  /** Work without a waiting packet: if it fails, the machine has ended, or the error is reported to gdb. */
  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (this.#closed) return;
      this.#connection.send(`O${textToHex(`vmexit: ${error instanceof Error ? error.message : error}\n`)}`);
      this.#report(SIGTRAP, this.#cpu);
    }
  }
}

/** E.1: an error as text. The machine is in the wrong state, or KVM refused. */
function failure(error: unknown): string {
  return `E.${error instanceof Error ? error.message : error}`;
}

function thread(cpu: number): string {
  return (cpu + 1).toString(16);
}

function reasonOf({ condition, address }: Watched): string {
  if (condition === "execute") return "hwbreak:;";
  return `${condition === "write" ? "watch" : "awatch"}:${address.toString(16)};`;
}

function parseRange(text: string): { address: bigint; length: number } | undefined {
  const [from, size, more] = text.split(",");
  const address = parseHex(from);
  const length = parseNumber(size ?? "");
  return address === undefined || length === undefined || more !== undefined
    ? undefined
    : { address, length };
}

function latin1(data: string): Uint8Array {
  return Uint8Array.from(data, (character) => character.charCodeAt(0));
}
