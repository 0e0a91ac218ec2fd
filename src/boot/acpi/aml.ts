/**
 * An encoder for as much of the ACPI Machine Language as a small machine needs.
 * Each function gives the bytes of one term; terms nest by being passed on.
 *
 * Source: ACPI 6.4, chapter 20 (AML grammar). Not here: operators, control
 * flow but Return and Notify, operation regions.
 */

export type Aml = Uint8Array;

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;
const METHOD_OP = 0x14;
const DUAL_NAME_PREFIX = 0x2e;
const MULTI_NAME_PREFIX = 0x2f;
const EXT_OP_PREFIX = 0x5b;
const ROOT_CHAR = 0x5c;
// Behind EXT_OP_PREFIX:
const DEVICE_OP = 0x82;
const PROCESSOR_OP = 0x83;
const NOTIFY_OP = 0x86;
const RETURN_OP = 0xa4;

export function scope(path: string, ...terms: Aml[]): Aml {
  return packaged([SCOPE_OP], concat([nameString(path), ...terms]));
}

export function device(path: string, ...terms: Aml[]): Aml {
  return packaged([EXT_OP_PREFIX, DEVICE_OP], concat([nameString(path), ...terms]));
}

/** @param id that of its structure in the MADT, below 256. It has no processor control registers */
export function processor(path: string, id: number, ...terms: Aml[]): Aml {
  const controlRegisters = [...u32(0), 0];
  return packaged(
    [EXT_OP_PREFIX, PROCESSOR_OP],
    concat([nameString(path), [id, ...controlRegisters], ...terms]),
  );
}

export function name(path: string, value: Aml): Aml {
  return concat([[NAME_OP], nameString(path), value]);
}

/** A method that is not serialized. @param argumentCount 0 to 7 */
export function method(path: string, argumentCount: number, ...terms: Aml[]): Aml {
  return packaged([METHOD_OP], concat([nameString(path), [argumentCount], ...terms]));
}

export function returns(value: Aml): Aml {
  return concat([[RETURN_OP], value]);
}

/** Notify: passes `value` to the driver of the device. */
export function notify(path: string, value: number): Aml {
  return concat([[NOTIFY_OP], nameString(path), integer(value)]);
}

/** A reference to a named object. */
export function reference(path: string): Aml {
  return nameString(path);
}

/** Package, at most 255 elements. */
export function pack(...elements: Aml[]): Aml {
  return packaged([PACKAGE_OP], concat([[elements.length], ...elements]));
}

export function buffer(bytes: Uint8Array): Aml {
  return packaged([BUFFER_OP], concat([integer(bytes.length), bytes]));
}

/** @param value 0 to 2^32 - 1 */
export function integer(value: number): Aml {
  if (value === 0) return Uint8Array.of(ZERO_OP);
  if (value === 1) return Uint8Array.of(ONE_OP);
  if (value <= 0xff) return Uint8Array.of(BYTE_PREFIX, value);
  if (value <= 0xffff) return concat([[WORD_PREFIX], u16(value)]);
  return concat([[DWORD_PREFIX], u32(value)]);
}

/** @param text ASCII */
export function string(text: string): Aml {
  return concat([[STRING_PREFIX], new TextEncoder().encode(text), [0]]);
}

/** A plug-and-play id, like "PNP0501", packed in a DWord (19.3.4, EISAID). */
export function eisaId(id: string): Aml {
  const match = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id);
  if (match === null) throw new RangeError(`${id}: not an EISA id`);
  const [, letters, product] = match;
  const vendor = [...letters].reduce((packed, letter) => (packed << 5) | (letter.charCodeAt(0) - 0x40), 0);
  const number = Number.parseInt(product, 16);
  return Uint8Array.of(DWORD_PREFIX, vendor >> 8, vendor & 0xff, number >> 8, number & 0xff);
}

/** NameString: segments of up to four characters with dots between, "\\" first for the root. */
function nameString(path: string): Aml {
  const root = path.startsWith("\\");
  const segments = path.slice(root ? 1 : 0).split(".");
  if (!segments.every((segment) => /^[A-Z_][A-Z0-9_]{0,3}$/.test(segment))) {
    throw new RangeError(`${path}: not an ACPI name`);
  }
  const prefix =
    segments.length === 1
      ? []
      : segments.length === 2
        ? [DUAL_NAME_PREFIX]
        : [MULTI_NAME_PREFIX, segments.length];
  const padded = segments.map((segment) => segment.padEnd(4, "_")).join("");
  return concat([root ? [ROOT_CHAR] : [], prefix, new TextEncoder().encode(padded)]);
}

/** An opcode, the length of what follows (which counts its own bytes), and that. */
function packaged(opcode: number[], contents: Aml): Aml {
  // 20.2.4: one byte holds 6 bits; in two to four, the first holds the low 4 bits and how many follow.
  let bytes = 1;
  while (contents.length + bytes >= (bytes === 1 ? 2 ** 6 : 2 ** (4 + 8 * (bytes - 1)))) bytes++;
  const total = contents.length + bytes;
  const length = [bytes === 1 ? total : ((bytes - 1) << 6) | (total & 0xf)];
  for (let i = 1; i < bytes; i++) length.push((total >> (4 + 8 * (i - 1))) & 0xff);
  return concat([opcode, length, contents]);
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, (value >> 8) & 0xff);
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function u64(value: number): Uint8Array {
  return concat([u32(value % 2 ** 32), u32(Math.floor(value / 2 ** 32))]);
}

export function concat(parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let end = 0;
  for (const part of parts) {
    whole.set(part, end);
    end += part.length;
  }
  return whole;
}
