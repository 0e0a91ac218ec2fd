/**
 * The command line as the bytes that it is. Node takes it for UTF-8 and puts U+FFFD where
 * it is not, so that a file's name would become another one.
 */
import { readFileSync } from "node:fs";
import { bytesOfText, hasEscapes, textOfBytes } from "../base/byte-text.ts";

/** The last of the arguments that the process was started with, each as `textOfBytes` has it. */
export function exactArguments(argv: readonly string[], read = readCommandLine): readonly string[] {
  if (!argv.some((word) => word.includes("\ufffd"))) return argv;
  const words = splitAtZeros(read()).slice(-argv.length);
  return argv.map((word, i) => {
    const bytes = words[i];
    // What was not found cannot be carried exactly: whoever takes it for a name has to refuse it.
    return bytes !== undefined && new TextDecoder().decode(bytes) === word ? textOfBytes(bytes) : word;
  });
}

/** The first word that is not UTF-8, for commands that cannot carry such words. */
export function wordThatIsNotText(argv: readonly string[]): string | undefined {
  return argv.find(hasEscapes);
}

/** Text for a stream, as the bytes that it stands for. */
export function exactOutput(text: string): string | Uint8Array {
  return hasEscapes(text) ? bytesOfText(text) : text;
}

function readCommandLine(): Uint8Array {
  return readFileSync("/proc/self/cmdline");
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
