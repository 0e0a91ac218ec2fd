/**
 * MSI-X: the table of messages and the pending bits of a PCI function, in a BAR of
 * their own, and the capability that says where they are.
 *
 * A message is sent when it is due, from the entry that the table has at that
 * moment. So nothing outside these registers has to follow the guest's changes: a
 * guest that masks a vector, moves it to another CPU and unmasks it changes
 * numbers in shared memory, and nothing in KVM.
 *
 * Source: PCI Local Bus 3.0, 6.8.2 (MSI-X Capability and Table Structures).
 */
import { layout } from "../base/layout.ts";
import { littleEndian } from "../base/little-endian.ts";
import type { AccessSize, IoDevice, MessageSink } from "../bus/io.ts";
import type { CapabilitySpec } from "./config-space.ts";

/** Bytes of the BAR: the table in the first half, the pending bits in the second. */
export const MSIX_BAR_BYTES = 0x1000;
const PENDING = 0x800;
const ENTRY_WORDS = 4;
/** What fits the first half. */
export const MSIX_VECTORS_MAX = PENDING / (4 * ENTRY_WORDS);

// Words of an entry.
const ADDRESS = 0;
const ADDRESS_HIGH = 1;
const DATA = 2;
const VECTOR_CONTROL = 3;
const VECTOR_MASKED = 1;

// 6.8.2.3, Message Control: the size of the table less one, and two bits that the guest writes.
const CAPABILITY = 0x11;
const CAPABILITY_BYTES = 12;
const CONTROL = 2; // offset in the capability
const TABLE_OFFSET = 4;
const PENDING_OFFSET = 8;
const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;

export const MsixState = layout("msix", 1, {
  table: { u32: ENTRY_WORDS * MSIX_VECTORS_MAX },
  pending: { u32: MSIX_VECTORS_MAX / 32 },
  control: "u32", // ENABLE and FUNCTION_MASK
});

export class Msix implements IoDevice {
  readonly vectors: number;
  readonly #regs: ReturnType<typeof MsixState.view>;
  readonly #messages: MessageSink;

  /** @param vectors 1 to MSIX_VECTORS_MAX */
  constructor(regs: ReturnType<typeof MsixState.view>, vectors: number, messages: MessageSink) {
    this.vectors = vectors;
    this.#regs = regs;
    this.#messages = messages;
  }

  /**
   * @param at its offset in the configuration space
   * @param bar the BAR that this chip answers in
   * @param changed called when the guest has enabled, disabled or masked the function's messages
   */
  capability(at: number, bar: number, changed: () => void): CapabilitySpec {
    const bytes = new DataView(new ArrayBuffer(CAPABILITY_BYTES));
    bytes.setUint32(TABLE_OFFSET, bar, true);
    bytes.setUint32(PENDING_OFFSET, PENDING | bar, true);
    const regs = this.#regs;
    return {
      id: CAPABILITY,
      at,
      length: CAPABILITY_BYTES,
      read: (offset, size) => {
        bytes.setUint16(CONTROL, regs.control | (this.vectors - 1), true);
        return littleEndian(bytes, offset, size);
      },
      write: (offset, size, value) => {
        const shift = 8 * (CONTROL - offset);
        const covers = offset <= CONTROL + 1 && offset + size > CONTROL + 1;
        if (!covers) return;
        const control = shift >= 0 ? value >>> shift : value << -shift;
        regs.control = control & (ENABLE | FUNCTION_MASK);
        this.#sendPending();
        changed();
      },
    };
  }

  /** True while the function interrupts by messages alone. */
  get enabled(): boolean {
    return (this.#regs.control & ENABLE) !== 0;
  }

  /** Sends message `vector`, or remembers it while it is masked. Nothing happens while MSI-X is off. */
  signal(vector: number): void {
    if (vector >= this.vectors || !this.enabled) return;
    if (this.#isMasked(vector)) this.#regs.pending[vector >>> 5] |= 1 << (vector & 31);
    else this.#send(vector);
  }

  /** Forgets interrupts that are pending: their causes are gone. */
  clearPending(): void {
    this.#regs.pending.fill(0);
  }

  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      value |= ((this.#word(at >>> 2) >>> (8 * (at & 3))) & 0xff) << (8 * i);
    }
    return value >>> 0;
  }

  /** Other accesses than aligned ones of 32 bits are undefined (6.8.2): they do nothing. Pending bits are read-only. */
  write(offset: number, size: AccessSize, value: number): void {
    const word = offset >>> 2;
    if (size !== 4 || (offset & 3) !== 0 || word >= ENTRY_WORDS * this.vectors) return;
    const control = word % ENTRY_WORDS === VECTOR_CONTROL;
    this.#regs.table[word] = control ? value & VECTOR_MASKED : value;
    if (control) this.#sendIfPending((word - VECTOR_CONTROL) / ENTRY_WORDS);
  }

  reset(): void {
    const { table, pending } = this.#regs;
    table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) {
      table[ENTRY_WORDS * vector + VECTOR_CONTROL] = VECTOR_MASKED;
    }
    pending.fill(0);
    this.#regs.control = 0;
  }

  #word(word: number): number {
    const { table, pending } = this.#regs;
    if (word < ENTRY_WORDS * this.vectors) return table[word];
    return pending[word - PENDING / 4] ?? 0;
  }

  #isMasked(vector: number): boolean {
    if ((this.#regs.control & FUNCTION_MASK) !== 0) return true;
    return this.#regs.table[ENTRY_WORDS * vector + VECTOR_CONTROL] !== 0;
  }

  #sendPending(): void {
    if (!this.enabled) return;
    const { pending } = this.#regs;
    if (pending.every((word) => word === 0)) return;
    for (let vector = 0; vector < this.vectors; vector++) this.#sendIfPending(vector);
  }

  #sendIfPending(vector: number): void {
    const { pending } = this.#regs;
    const bit = 1 << (vector & 31);
    if ((pending[vector >>> 5] & bit) === 0 || !this.enabled || this.#isMasked(vector)) return;
    pending[vector >>> 5] &= ~bit;
    this.#send(vector);
  }

  #send(vector: number): void {
    const { table } = this.#regs;
    const entry = ENTRY_WORDS * vector;
    const address = table[entry + ADDRESS_HIGH] * 2 ** 32 + table[entry + ADDRESS];
    this.#messages.send(address, table[entry + DATA]);
  }
}
