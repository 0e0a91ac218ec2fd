/**
 * Why the guest left KVM_RUN: a view of the shared kvm_run page, one for the life
 * of a vCPU. Every property reads the page at each access, and is valid only for
 * its own exit reason, until the next `run()`. Nothing here allocates.
 *
 * Source: Linux Documentation/virt/kvm/api.rst, section 5, "The kvm_run
 * structure".
 */
import { EINTR } from "../base/errno.ts";
import * as abi from "./abi.ts";
import { kvm_run } from "./abi.ts";

/** What `Vcpu.run` returns after a kick; the others are KVM_EXIT_*. */
export const INTERRUPTED = EINTR;

/** An access to a port: `count` elements of `size` bytes, all to the same port. */
export class IoExit {
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Uint32Array;

  constructor(page: ArrayBufferLike) {
    this.#bytes = new Uint8Array(page);
    this.#halves = new Uint16Array(page);
    this.#words = new Uint32Array(page);
  }

  get port(): number {
    return this.#halves[kvm_run.io_port >> 1];
  }

  /** Bytes of one element. */
  get size(): 1 | 2 | 4 {
    const size = this.#bytes[kvm_run.io_size];
    return size === 1 || size === 2 ? size : 4;
  }

  /** Elements; more than 1 for `rep ins` and `rep outs`. */
  get count(): number {
    return this.#words[kvm_run.io_count >> 2];
  }

  /** True for OUT. */
  get isWrite(): boolean {
    return this.#bytes[kvm_run.io_direction] === abi.KVM_EXIT_IO_OUT;
  }

  /** What the guest writes with element `index`. */
  get(index: number): number {
    const data = this.#words[kvm_run.io_data_offset >> 2];
    switch (this.#bytes[kvm_run.io_size]) {
      case 1:
        return this.#bytes[data + index];
      case 2:
        return this.#halves[(data >> 1) + index];
      default:
        return this.#words[(data >> 2) + index];
    }
  }

  /** The page, which contains the data of all elements, and where they begin. */
  get page(): Uint8Array {
    return this.#bytes;
  }

  get dataOffset(): number {
    return this.#words[kvm_run.io_data_offset >> 2];
  }

  /** Bytes of all elements. */
  get dataLength(): number {
    return this.size * this.count;
  }

  /** Copies up to `most` bytes of the data to `into` from `at` on; returns how many. */
  copyData(into: Uint8Array, at: number, most: number): number {
    const data = this.#words[kvm_run.io_data_offset >> 2];
    const length = Math.min(this.dataLength, most);
    for (let i = 0; i < length; i++) into[at + i] = this.#bytes[data + i];
    return length;
  }

  /** Answers element `index` of a read. Bits beyond `size` are dropped. */
  put(index: number, value: number): void {
    const data = this.#words[kvm_run.io_data_offset >> 2];
    switch (this.#bytes[kvm_run.io_size]) {
      case 1:
        this.#bytes[data + index] = value;
        break;
      case 2:
        this.#halves[(data >> 1) + index] = value;
        break;
      default:
        this.#words[(data >> 2) + index] = value;
    }
  }
}

/** An access to memory where there is no RAM. */
export class MmioExit {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;

  constructor(page: ArrayBufferLike) {
    this.#bytes = new Uint8Array(page);
    this.#words = new Uint32Array(page);
  }

  /** Guest-physical. */
  get address(): number {
    const at = kvm_run.mmio_phys_addr >> 2;
    return this.#words[at] + this.#words[at + 1] * 2 ** 32;
  }

  /** Bytes, from 1 to 8: usually 1, 2, 4 or 8, but part of an access that crosses a page can be any. */
  get length(): number {
    return this.#words[kvm_run.mmio_len >> 2];
  }

  get isWrite(): boolean {
    return this.#bytes[kvm_run.mmio_is_write] !== 0;
  }

  /** Bytes 0 to 3 of the data; those beyond `length` read as 0. */
  get low(): number {
    const word = this.#words[kvm_run.mmio_data >> 2];
    const length = this.length;
    return length >= 4 ? word : (word & (2 ** (8 * length) - 1)) >>> 0;
  }

  set low(value: number) {
    this.#words[kvm_run.mmio_data >> 2] = value;
  }

  /** Bytes 4 to 7 of the data; those beyond `length` read as 0. */
  get high(): number {
    const word = this.#words[(kvm_run.mmio_data >> 2) + 1];
    const length = this.length;
    if (length >= 8) return word;
    return length <= 4 ? 0 : (word & (2 ** (8 * (length - 4)) - 1)) >>> 0;
  }

  set high(value: number) {
    this.#words[(kvm_run.mmio_data >> 2) + 1] = value;
  }

  /** Byte `index` of the data. */
  get(index: number): number {
    return this.#bytes[kvm_run.mmio_data + index];
  }

  put(index: number, value: number): void {
    this.#bytes[kvm_run.mmio_data + index] = value;
  }

  /** Bytes of its data. */
  get dataLength(): number {
    return this.length;
  }

  /** Copies up to `most` bytes of the data to `into` from `at` on; returns how many. */
  copyData(into: Uint8Array, at: number, most: number): number {
    const length = Math.min(this.length, most);
    for (let i = 0; i < length; i++) into[at + i] = this.#bytes[kvm_run.mmio_data + i];
    return length;
  }
}

/** All exits of one vCPU. */
export class Exit {
  /** For KVM_EXIT_IO. */
  readonly io: IoExit;
  /** For KVM_EXIT_MMIO. */
  readonly mmio: MmioExit;
  readonly #bytes: Uint8Array;
  readonly #data: DataView;

  /** @param page the kvm_run page of a vCPU */
  constructor(page: ArrayBufferLike) {
    this.io = new IoExit(page);
    this.mmio = new MmioExit(page);
    this.#bytes = new Uint8Array(page);
    this.#data = new DataView(page);
  }

  /** KVM_EXIT_*, of the last `run()` that was not interrupted. */
  get reason(): number {
    return this.#u32(kvm_run.exit_reason);
  }

  /** For KVM_EXIT_FAIL_ENTRY: why hardware refused the guest's state, in Intel's or AMD's numbers. */
  get entryFailure(): bigint {
    return this.#u64(kvm_run.fail_entry_hardware_entry_failure_reason);
  }

  /** For KVM_EXIT_UNKNOWN: hardware's reason, in Intel's or AMD's numbers. */
  get hardwareReason(): bigint {
    return this.#u64(kvm_run.hw_hardware_exit_reason);
  }

  /** For KVM_EXIT_INTERNAL_ERROR: KVM_INTERNAL_ERROR_*. */
  get suberror(): number {
    return this.#u32(kvm_run.internal_suberror);
  }

  /** For KVM_EXIT_INTERNAL_ERROR: up to 16 words that depend on the suberror. A copy. */
  get internalData(): readonly bigint[] {
    const count = Math.min(this.#u32(kvm_run.internal_ndata), 16);
    return Array.from({ length: count }, (_, i) => this.#u64(kvm_run.internal_data + 8 * i));
  }

  /** For KVM_INTERNAL_ERROR_EMULATION: the bytes of the instruction, none if KVM does not provide them. A copy. */
  get instruction(): Uint8Array {
    const known =
      this.#u32(kvm_run.internal_ndata) > 0 &&
      this.suberror === abi.KVM_INTERNAL_ERROR_EMULATION &&
      (this.#u32(kvm_run.emulation_failure_flags) &
        abi.KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) !==
        0;
    const length = known ? Math.min(this.#bytes[kvm_run.emulation_failure_insn_size], 15) : 0;
    return this.#bytes.slice(
      kvm_run.emulation_failure_insn_bytes,
      kvm_run.emulation_failure_insn_bytes + length,
    );
  }

  /** For KVM_EXIT_SYSTEM_EVENT: KVM_SYSTEM_EVENT_*. */
  get systemEvent(): number {
    return this.#u32(kvm_run.system_event_type);
  }

  /** For KVM_EXIT_DEBUG: the linear address where the guest stopped. */
  get debugPc(): bigint {
    return this.#u64(kvm_run.debug_arch_pc);
  }

  /** For KVM_EXIT_DEBUG: which breakpoint, or BS (bit 14) for a single step. */
  get debugDr6(): bigint {
    return this.#u64(kvm_run.debug_arch_dr6);
  }

  /** For KVM_EXIT_DEBUG: the exception, 1 (#DB) or 3 (#BP). */
  get debugException(): number {
    return this.#u32(kvm_run.debug_arch_exception);
  }

  #u32(offset: number): number {
    return this.#data.getUint32(offset, true);
  }

  #u64(offset: number): bigint {
    return this.#data.getBigUint64(offset, true);
  }
}

/** The names that exitName gives, without those of unknown reasons. */
export const exitNames: readonly string[] = Object.values(abi.EXIT_NAMES);

/** "HLT" for KVM_EXIT_HLT; a number that is not known stays one. */
export function exitName(reason: number): string {
  return reason === INTERRUPTED ? "INTERRUPTED" : (abi.EXIT_NAMES[reason] ?? String(reason));
}
