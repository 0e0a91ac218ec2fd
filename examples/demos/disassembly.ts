/** One instruction as text in Intel syntax, by iced-x86. */
import iced from "iced-x86";

const MAX_LENGTH = 15; // bytes; a processor rejects longer instructions

export interface Instruction {
  readonly text: string;
  /** As hexadecimal digits. */
  readonly bytes: string;
  /** In bytes. */
  readonly length: number;
}

/**
 * The instruction at `address` of a guest's memory.
 *
 * @param bits width of the code there, as its segment defines it
 */
export function disassemble(memory: Uint8Array, address: number, bits: 16 | 32 | 64): Instruction {
  const bytes = memory.subarray(address, address + MAX_LENGTH);
  const decoder = new iced.Decoder(bits, bytes, iced.DecoderOptions.None);
  const formatter = new iced.Formatter(iced.FormatterSyntax.Intel);
  formatter.hexPrefix = "0x";
  formatter.hexSuffix = "";
  formatter.uppercaseHex = false;
  formatter.branchLeadingZeros = false;
  formatter.spaceAfterOperandSeparator = true;
  decoder.ip = BigInt(address);
  const instruction = decoder.decode();
  const text = formatter.format(instruction);
  const { length } = instruction;
  // They are in WebAssembly's memory, which the garbage collector does not manage.
  for (const each of [instruction, formatter, decoder]) each.free();
  return { text, length, bytes: Buffer.from(bytes.subarray(0, length)).toString("hex") };
}
