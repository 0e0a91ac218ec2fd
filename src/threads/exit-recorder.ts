/**
 * Turns what a vCPU thread sees of an exit into a record: four calls between
 * one KVM_RUN and the next, in this order: `left`, `exit`, `answered`,
 * `entering`. Nothing allocates unless registers are wanted.
 *
 * The times are those of the loop's own calls. `outside` therefore includes
 * what recording costs, 0.2 µs, and `inside` the call into the addon.
 */
import * as abi from "../kvm/abi.ts";
import type { ExitRegisters } from "../kvm/exit-registers.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { lapTimer } from "../sys/lap-timer.ts";
import { codeAt, codeBefore } from "./guest-code.ts";
import { BEFORE_BYTES, CODE_BYTES, type TraceWriter } from "./trace-ring.ts";

// Cells: a number in a typed array is never an object.
const NOW = 0; // ns of CLOCK_MONOTONIC at the last call
const INSIDE = 1; // ns in KVM_RUN since the last exit

export interface RecorderParts {
  readonly vcpu: Vcpu;
  readonly registers: ExitRegisters;
  readonly writer: TraceWriter;
  readonly ram: GuestMemory;
}

export class ExitRecorder {
  readonly #parts: RecorderParts;
  readonly #lap = lapTimer();
  readonly #times = new Float64Array(2);
  /** A record is begun. */
  #open = false;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
  }

  /** The loop begins. */
  start(): void {
    this.#parts.registers.start();
    this.#parts.writer.restart();
    this.#times[NOW] += this.#lap();
    this.#times[INSIDE] = 0;
  }

  /** The loop has returned. */
  stop(): void {
    this.#parts.registers.stop();
  }

  /** KVM_RUN has returned. */
  left(): void {
    const lap = this.#lap();
    this.#times[NOW] += lap;
    this.#times[INSIDE] += lap;
  }

  /** It returned with an exit, which is now to be answered. */
  exit(reason: number): void {
    const { registers, writer, vcpu } = this.#parts;
    const wantsState = writer.wantsState;
    registers.update(wantsState);
    this.#open = writer.begin(this.#times[NOW], this.#times[INSIDE], reason, registers);
    this.#times[INSIDE] = 0;
    if (!this.#open) return;
    if (reason === abi.KVM_EXIT_IO) {
      const { io } = vcpu.exit;
      writer.putAccess(io.isWrite, io.port, io.size, io.count);
    } else if (reason === abi.KVM_EXIT_MMIO) {
      const { mmio } = vcpu.exit;
      writer.putAccess(mmio.isWrite, mmio.address, mmio.length, 1);
    }
    if (wantsState) this.#putState();
  }

  #putState(): void {
    const { registers, writer, vcpu, ram } = this.#parts;
    const at = registers.linearRip;
    const code = codeAt(vcpu, ram, at, CODE_BYTES);
    writer.putState(registers, code, codeBefore(vcpu, ram, at, BEFORE_BYTES));
  }

  /** What the guest wrote is still there, and what it is answered is there now. */
  answered(reason: number): void {
    if (!this.#open) return;
    const { writer, vcpu } = this.#parts;
    if (reason === abi.KVM_EXIT_IO) writer.putData(vcpu.exit.io);
    else if (reason === abi.KVM_EXIT_MMIO) writer.putData(vcpu.exit.mmio);
  }

  /** Next comes KVM_RUN, or nothing any more. */
  entering(): void {
    const lap = this.#lap();
    this.#times[NOW] += lap;
    if (!this.#open) return;
    this.#open = false;
    this.#parts.writer.publish(lap);
  }
}
