/**
 * Writes a trace to a file while the guest runs. If the file cannot be written,
 * that is reported, and the trace ends but not the guest. If the guest is faster
 * than the file, exits are missing in the trace, which is reported too.
 */
import { open } from "node:fs/promises";
import type { Writable } from "node:stream";
import { ChromeTrace } from "../../trace/chrome.ts";
import { encodeRecord, type TraceRecord } from "../../trace/format.ts";

/** What a VirtualMachine's trace() gives. */
export interface RecordSource extends AsyncIterable<TraceRecord> {
  stop(): void;
}

/** How much text is collected before it is written, unless records come slowly. */
const CHUNK = 1 << 16;
const FLUSH_MS = 50;

export class TraceFileWriter {
  readonly path: string;
  readonly #file: Writable;
  #failure: Error | undefined;
  #text = "";

  private constructor(path: string, file: Writable) {
    this.path = path;
    this.#file = file;
    file.on("error", (error) => {
      this.#failure ??= error;
    });
  }

  /** Creates the file. @throws what node:fs throws */
  static async create(path: string): Promise<TraceFileWriter> {
    const file = await open(path, "w");
    return new TraceFileWriter(path, file.createWriteStream());
  }

  /** Writes all records. Never throws: failures are reported to `notice`. */
  async write(records: RecordSource, notice: (text: string) => void): Promise<void> {
    const chrome = this.path.endsWith(".json") ? new ChromeTrace() : undefined;
    let dropped = 0;
    const timer = setInterval(() => void this.#flush(), FLUSH_MS);
    try {
      for await (const record of records) {
        this.#text += chrome === undefined ? encodeRecord(record) : chrome.encode(record);
        if (record.kind === "end") dropped = record.dropped;
        if (this.#text.length >= CHUNK) await this.#flush();
        if (this.#failure !== undefined) break;
      }
    } finally {
      clearInterval(timer);
    }
    await this.#flush();
    await this.#close();
    if (this.#failure !== undefined) {
      notice(`vmexit: the trace ${this.path} ends here: ${this.#failure.message}\n`);
    } else if (dropped > 0) {
      notice(`vmexit: the trace ${this.path} lacks ${dropped} exits: it could not be written fast enough\n`);
    }
  }

  /** Waits until the file can take more. */
  async #flush(): Promise<void> {
    const text = this.#text;
    if (text === "" || this.#failure !== undefined) return;
    this.#text = "";
    if (this.#file.write(text)) return;
    await new Promise<void>((resolve) => {
      const go = () => {
        this.#file.off("drain", go).off("close", go);
        resolve();
      };
      this.#file.once("drain", go).once("close", go);
    });
  }

  async #close(): Promise<void> {
    if (this.#file.closed) return;
    await new Promise<void>((resolve) => {
      this.#file.once("close", resolve);
      this.#file.end();
    });
  }
}
