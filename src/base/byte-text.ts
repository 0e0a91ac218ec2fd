/**
 * Text that may not be UTF-8: names of files on Linux, and names stored in images,
 * are bytes. A string carries them exactly if each byte that is not part of UTF-8
 * becomes one lone surrogate, U+DC80 to U+DCFF.
 *
 * Source: PEP 383 ("surrogateescape"), so that Python's names and these are the same.
 */

const FIRST_ESCAPE = 0xdc80;
const LAST_ESCAPE = 0xdcff;
/** With the flag u, the surrogates of a pair are one character, which is not matched. */
const UNPAIRED = /\p{Surrogate}/gu;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

export function textOfBytes(bytes: Uint8Array): string {
  const whole = decoded(bytes);
  if (whole !== undefined) return whole;
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes[at]);
    const part = at + length <= bytes.length ? decoded(bytes.subarray(at, at + length)) : undefined;
    text += part ?? String.fromCharCode(FIRST_ESCAPE - 0x80 + bytes[at]);
    at += part === undefined ? 1 : length;
  }
  return text;
}

/** @throws {RangeError} for a surrogate that does not represent a byte */
export function bytesOfText(text: string): Uint8Array {
  if (!hasEscapes(text)) return encoder.encode(text);
  const bytes: number[] = [];
  let at = 0;
  for (const { index, 0: unit } of text.matchAll(UNPAIRED)) {
    bytes.push(...encoder.encode(text.slice(at, index)));
    const code = unit.charCodeAt(0);
    if (code < FIRST_ESCAPE || code > LAST_ESCAPE) {
      throw new RangeError(`${JSON.stringify(text)} has half a character in it, which no name can have`);
    }
    bytes.push(code - FIRST_ESCAPE + 0x80);
    at = index + 1;
  }
  bytes.push(...encoder.encode(text.slice(at)));
  return Uint8Array.from(bytes);
}

/** True for text that UTF-8 cannot represent. */
export function hasEscapes(text: string): boolean {
  return text.search(UNPAIRED) >= 0;
}

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Bytes of the sequence that one begins; 1 where none begins. */
function sequenceLength(first: number): number {
  if (first >= 0xf0) return 4;
  if (first >= 0xe0) return 3;
  return first >= 0xc2 ? 2 : 1;
}
