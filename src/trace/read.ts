/**
 * Reads a trace file, record by record.
 *
 * A truncated file (the writer died, the disk was full) is read up to its last
 * complete line; a last `cut` record then says where it ends. Any other file that is
 * not a trace is an error that names the line. Lines have a bounded length, so no file
 * can fill memory.
 */
import { createReadStream } from "node:fs";
import { isTraceRecord, isUnknownKind } from "./check.ts";
import { TRACE_VERSION, type TraceRecord } from "./format.ts";

/** A file that is not a trace, or that this version cannot read. */
export class TraceError extends Error {
  override readonly name = "TraceError";
  readonly code = "ETRACE";
}

/** The last record of a truncated file; never in a file. */
export interface CutRecord {
  readonly kind: "cut";
  /** A sentence for people: where the file ends. */
  readonly message: string;
  /** Complete lines read. */
  readonly line: number;
  /** Bytes of the file up to the end of the last complete line. */
  readonly offset: number;
}

/** A record of `readTrace`. */
export type ReadRecord = TraceRecord | CutRecord;

/** Many times the longest line that vmexit writes. */
export const MAX_LINE_BYTES = 2 ** 20;

const NEWLINE = 0x0a;
const QUOTED_LENGTH = 40;

/**
 * The records of the file at `path`, in its order; the first is the header.
 *
 * @throws {TraceError} if it is not a trace; errors of node:fs if it cannot be read.
 */
export function readTrace(path: string): AsyncGenerator<ReadRecord, void> {
  return parseTrace(createReadStream(path, { highWaterMark: 1 << 18 }), path);
}

/** The same for bytes from elsewhere. @param name for messages */
export async function* parseTrace(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<ReadRecord, void> {
  const parser = new Parser(name);
  for await (const line of lines(chunks, name)) {
    const record = parser.parse(line);
    if (record === undefined) continue;
    yield record;
    if (record.kind === "cut") return;
  }
  const missing = parser.missing();
  if (missing !== undefined) yield missing;
}

/** A line, and whether the newline that ends it was there. */
interface Line {
  readonly text: string;
  /** Offsets in the file: of its first byte, and of the next line. */
  readonly start: number;
  readonly end: number;
  readonly whole: boolean;
}

class Parser {
  readonly #name: string;
  #line = 0;
  #offset = 0;
  #ended = false;

  constructor(name: string) {
    this.#name = name;
  }

  /** Undefined for a line to ignore. */
  parse({ text, start, end, whole }: Line): ReadRecord | undefined {
    this.#offset = start;
    if (!whole && this.#line > 0) return this.#cut("in the middle of a line");
    this.#line++;
    this.#offset = end;
    const value = parseJson(text);
    if (!whole && text.startsWith('{"kind":"trace"')) throw this.#error("cut short in its header");
    if (this.#line === 1) this.#checkHeader(value, text);
    else if (this.#ended) throw this.#error("more follows after the end record");
    if (isTraceRecord(value)) {
      if (value.kind === "trace" && this.#line > 1) throw this.#error("a second header");
      if (value.kind === "end") this.#ended = true;
      return value;
    }
    if (isUnknownKind(value)) return; // of a later, compatible version
    throw this.#error(`not a trace record: ${quote(text)}`);
  }

  /** The last record, at the end of the file. */
  missing(): CutRecord | undefined {
    if (this.#line === 0) throw new TraceError(`${this.#name}: the file is empty`);
    return this.#ended ? undefined : this.#cut("without an end record");
  }

  #checkHeader(value: unknown, text: string): void {
    if (isTraceRecord(value) && value.kind === "trace") return;
    const fields = typeof value === "object" && value !== null ? value : {};
    if (
      "kind" in fields &&
      fields.kind === "trace" &&
      "version" in fields &&
      fields.version !== TRACE_VERSION
    ) {
      throw this.#error(
        `a trace of version ${String(fields.version).slice(0, QUOTED_LENGTH)}; this vmexit reads version ${TRACE_VERSION}`,
      );
    }
    const chrome = text.startsWith('{"traceEvents"') || text.startsWith("[");
    throw this.#error(
      chrome
        ? "a trace in the Chrome format, which is for Perfetto; write one to a name that does not end in .json"
        : `not a vmexit trace: it begins with ${quote(text)}`,
    );
  }

  #cut(how: string): CutRecord {
    const message = `${this.#name}: cut short: it ends ${how}, after line ${this.#line} (byte ${this.#offset})`;
    return { kind: "cut", message, line: this.#line, offset: this.#offset };
  }

  #error(sentence: string): TraceError {
    return new TraceError(`${this.#name}:${this.#line}: ${sentence}`);
  }
}

async function* lines(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Line, void> {
  let rest: Uint8Array = new Uint8Array();
  let offset = 0;
  let count = 0;
  for await (const chunk of chunks) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (;;) {
      const newline = bytes.indexOf(NEWLINE, start);
      if (newline < 0) break;
      count++;
      const end = newline + 1;
      yield {
        text: decode(bytes.subarray(start, newline)),
        start: offset + start,
        end: offset + end,
        whole: true,
      };
      start = end;
    }
    rest = bytes.subarray(start);
    offset += start;
    if (rest.length > MAX_LINE_BYTES) {
      throw new TraceError(`${name}:${count + 1}: a line of more than ${MAX_LINE_BYTES} bytes; not a trace`);
    }
  }
  if (rest.length > 0) yield { text: decode(rest), start: offset, end: offset + rest.length, whole: false };
}

function decode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
}

/** Undefined if it is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function quote(text: string): string {
  return JSON.stringify(text.length > QUOTED_LENGTH ? `${text.slice(0, QUOTED_LENGTH)}…` : text);
}
