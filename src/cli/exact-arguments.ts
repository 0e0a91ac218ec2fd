/**
 * The command line as bytes. Node decodes it as UTF-8 and puts U+FFFD for other bytes,
 * which would change the names of files.
 */
import { readFileSync } from "node:fs";
import { bytesOfText, hasEscapes, textOfBytes } from "../base/byte-text.ts";

/** As Node decodes arguments. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** An argument is not UTF-8, and its bytes cannot be read. */
export class InexactArgument extends Error {
  constructor(word: string) {
    super(`${JSON.stringify(word)} is not UTF-8, and its bytes cannot be read from /proc/self/cmdline`);
  }
}

/**
 * The last arguments of the process, each as `textOfBytes` returns it.
 * @throws {InexactArgument} rather than returning another name
 */
export function exactArguments(argv: readonly string[], read = readCommandLine): readonly string[] {
  const doubtful = argv.find((word) => word.includes("\ufffd"));
  if (doubtful === undefined) return argv;
  const words = splitAtZeros(read()).slice(-argv.length);
  return argv.map((word, i) => {
    if (!word.includes("\ufffd")) return word;
    const bytes = words[i];
    if (bytes === undefined || decoder.decode(bytes) !== word) throw new InexactArgument(word);
    return textOfBytes(bytes);
  });
}

/** The first word that is not UTF-8, for commands that cannot take such words. */
export function wordThatIsNotText(argv: readonly string[]): string | undefined {
  return argv.find(hasEscapes);
}

/** Text for a stream, as the bytes that it stands for. */
export function exactOutput(text: string): string | Uint8Array {
  return hasEscapes(text) ? bytesOfText(text) : text;
}

function readCommandLine(): Uint8Array {
  try {
    return readFileSync("/proc/self/cmdline");
  } catch {
    return new Uint8Array();
  }
}

function splitAtZeros(bytes: Uint8Array): Uint8Array[] {
  const words: Uint8Array[] = [];
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(0, start);
    words.push(bytes.subarray(start, end < 0 ? bytes.length : end));
    start = end < 0 ? bytes.length : end + 1;
  }
  return words;
}
