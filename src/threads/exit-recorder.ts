/**
 * Records the exits of a vCPU thread, in three calls between one KVM_RUN and the
 * next: `left`, `exit`, `answered`. They allocate nothing unless registers are
 * recorded.
 *
 * The addon takes the times, directly before and after KVM_RUN. The time for
 * recording is included in `outside`.
 */
import * as abi from "../kvm/abi.ts";
import type { ExitRegisters } from "../kvm/exit-registers.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { codeAt, codeBefore } from "./guest-code.ts";
import { BEFORE_BYTES, CODE_BYTES, type TraceWriter } from "./trace-ring.ts";

// Vcpu.times
const ENTERED = 0;
const LEFT = 1;

export interface RecorderParts {
  /** Runs by `runTimed`. */
  readonly vcpu: Vcpu;
  readonly registers: ExitRegisters;
  readonly writer: TraceWriter;
  readonly ram: GuestMemory;
}

export class ExitRecorder {
  readonly #parts: RecorderParts;
  readonly #times: Float64Array;
  /** ns in KVM_RUN since the last exit. In a typed array, so that it never becomes a heap object. */
  readonly #inside = new Float64Array(1);
  /** A record has been begun. */
  #open = false;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
    this.#times = parts.vcpu.times;
  }

  /** The loop begins. */
  start(): void {
    this.#parts.registers.start();
    this.#parts.writer.restart();
    this.#inside[0] = 0;
  }

  /** KVM_RUN has returned. */
  left(): void {
    const entered = this.#times[ENTERED];
    this.#parts.writer.settle(entered);
    this.#inside[0] += this.#times[LEFT] - entered;
  }

  /** It returned with an exit, which is answered next. */
  exit(reason: number): void {
    const { registers, writer, vcpu } = this.#parts;
    const wantsState = writer.wantsState;
    registers.update(wantsState);
    this.#open = writer.begin(this.#times[LEFT], this.#inside[0], reason, registers);
    this.#inside[0] = 0;
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

  /** The exit is answered: the data of a write and of the answer are both in the run area. */
  answered(reason: number): void {
    if (!this.#open) return;
    this.#open = false;
    const { writer, vcpu } = this.#parts;
    if (reason === abi.KVM_EXIT_IO) writer.putData(vcpu.exit.io);
    else if (reason === abi.KVM_EXIT_MMIO) writer.putData(vcpu.exit.mmio);
    writer.publish();
  }

  /** The loop has returned. */
  stop(): void {
    if (this.#open) this.#parts.writer.publish(); // a device threw an error
    this.#open = false;
    this.#parts.writer.settle(Number(process.hrtime.bigint()));
    this.#parts.registers.stop();
  }

  #putState(): void {
    const { registers, writer, vcpu, ram } = this.#parts;
    const at = registers.linearRip;
    const code = codeAt(vcpu, ram, at, CODE_BYTES);
    writer.putState(registers, code, codeBefore(vcpu, ram, at, BEFORE_BYTES));
  }
}
