/**
 * The instructions at an exit, as text.
 *
 * A trace has the bytes at RIP, but the instruction at RIP is not always the one that
 * exited: KVM completes a HLT, a store to MMIO and, when it emulates, an OUT before
 * it returns (x86_emulate_instruction, kvm_emulate_halt). The completed instruction
 * is known if an earlier exit had the bytes before this RIP.
 *
 * The text is iced-x86's, in Intel syntax. The trace's mode decides the width of code;
 * a 16-bit segment in protected mode is decoded as a 32-bit one.
 */
import {
  Decoder,
  DecoderOptions,
  FlowControl,
  Formatter,
  FormatterSyntax,
  Instruction as Iced,
  Mnemonic,
  OpKind,
} from "iced-x86";
import type { CpuMode, ExitRecord } from "vmexit/trace";
import type { Instruction, Listing } from "./report-data.ts";

const BITNESS: Readonly<Record<CpuMode, 16 | 32 | 64>> = {
  real: 16,
  "virtual-8086": 16,
  protected: 32,
  compatibility: 32,
  long: 64,
};

/** The reasons for which an instruction can make KVM_RUN return. */
type Kind = "in" | "out" | "memory" | "HLT" | "HYPERCALL" | "other";

interface Decoded extends Instruction {
  readonly kind: Kind;
}

const KINDS: ReadonlyMap<Mnemonic, Kind> = new Map<Mnemonic, Kind>([
  [Mnemonic.In, "in"],
  [Mnemonic.Insb, "in"],
  [Mnemonic.Insw, "in"],
  [Mnemonic.Insd, "in"],
  [Mnemonic.Out, "out"],
  [Mnemonic.Outsb, "out"],
  [Mnemonic.Outsw, "out"],
  [Mnemonic.Outsd, "out"],
  [Mnemonic.Hlt, "HLT"],
  [Mnemonic.Vmcall, "HYPERCALL"],
  [Mnemonic.Vmmcall, "HYPERCALL"],
  [Mnemonic.Lea, "other"],
  [Mnemonic.Nop, "other"],
]);

/** After these instructions, the next bytes need not run next. */
const ENDS: ReadonlySet<FlowControl> = new Set([
  FlowControl.Return,
  FlowControl.UnconditionalBranch,
  FlowControl.IndirectBranch,
]);

/** The number of instructions that are stored by the address after them. */
const MAX_REMEMBERED = 65_536;
const ADDRESS_DIGITS = { 16: 4, 32: 8, 64: 16 } as const;

export class Disassembly {
  readonly listings: Listing[] = [];
  readonly #formatter = new Formatter(FormatterSyntax.Intel);
  readonly #instruction = new Iced();
  /** The index of a listing, by everything that it depends on. */
  readonly #known = new Map<string, number>();
  readonly #before = new Map<string, Decoded>();

  constructor() {
    this.#formatter.hexPrefix = "0x";
    this.#formatter.hexSuffix = "";
    this.#formatter.uppercaseHex = false;
    this.#formatter.spaceAfterOperandSeparator = true;
  }

  /** The index of the listing for an exit; undefined if the trace has no code there. */
  listingOf(exit: ExitRecord): number | undefined {
    if (exit.code === undefined || exit.code === "") return undefined;
    const cause = causeOf(exit);
    const before = this.#before.get(`${exit.mode} ${exit.rip}`);
    const stepped = before?.kind === cause ? before : undefined;
    const key = `${exit.mode} ${exit.rip} ${exit.code} ${cause} ${exit.direction} ${stepped?.text}`;
    let index = this.#known.get(key);
    if (index === undefined) {
      index = this.listings.push(this.#list(exit, exit.code, cause, stepped)) - 1;
      this.#known.set(key, index);
    }
    return index;
  }

  #list(exit: ExitRecord, code: string, cause: Kind, stepped: Decoded | undefined): Listing {
    const decoded = this.#decode(exit, Buffer.from(code, "hex"));
    const lines = decoded.map(({ address, bytes, text }) => ({ address, bytes, text }));
    if (cause === "other") return { lines };
    // A store to MMIO has completed when KVM returns: the instruction at RIP is the next one.
    if (decoded[0]?.kind === cause && exit.direction !== "write") return { lines, cause: 0 };
    if (stepped === undefined) return { lines };
    const { address, bytes, text } = stepped;
    return { lines: [{ address, bytes, text }, ...lines], cause: 0 };
  }

  #decode({ mode, rip }: ExitRecord, code: Uint8Array): Decoded[] {
    const bitness = BITNESS[mode];
    const decoder = new Decoder(bitness, code, DecoderOptions.None);
    const instruction = this.#instruction;
    const digits = ADDRESS_DIGITS[bitness];
    const lines: Decoded[] = [];
    try {
      decoder.ip = BigInt(rip);
      for (let at = 0; decoder.canDecode; ) {
        decoder.decodeOut(instruction);
        // The bytes end in the middle of the instruction, or are not an instruction.
        if (instruction.isInvalid) break;
        const end = at + instruction.length;
        const line: Decoded = {
          address: `0x${instruction.ip.toString(16).padStart(digits, "0")}`,
          bytes: Buffer.from(code.subarray(at, end)).toString("hex"),
          text: this.#formatter.format(instruction),
          kind: kindOf(instruction),
        };
        lines.push(line);
        this.#remember(mode, instruction.nextIP, line);
        if (ENDS.has(instruction.flowControl)) break;
        at = end;
      }
    } finally {
      decoder.free();
    }
    return lines;
  }

  #remember(mode: CpuMode, next: bigint, line: Decoded): void {
    if (line.kind === "other" || this.#before.size >= MAX_REMEMBERED) return;
    this.#before.set(`${mode} 0x${next.toString(16)}`, line);
  }
}

function causeOf({ reason, direction }: ExitRecord): Kind {
  if (reason === "MMIO") return "memory";
  if (reason === "HLT" || reason === "HYPERCALL") return reason;
  return direction === "in" || direction === "out" ? direction : "other";
}

function kindOf(instruction: Iced): Kind {
  const kind = KINDS.get(instruction.mnemonic);
  if (kind !== undefined) return kind;
  for (let i = 0; i < instruction.opCount; i++) {
    // The kinds from here on are all memory operands: implied by a string instruction, or explicit.
    if (instruction.opKind(i) >= OpKind.MemorySegSI) return "memory";
  }
  return "other";
}
