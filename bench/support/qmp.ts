/**
 * Commands to a QEMU that runs: its monitor protocol.
 *
 * Source: QEMU docs/interop/qmp-spec.txt; qapi/migration.json (migrate, query-migrate).
 */
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const RETRY_MS = 50;
const POLL_MS = 5;

export class Qmp {
  readonly #socket: Socket;
  readonly #waiting: ((reply: Reply) => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    createInterface({ input: socket }).on("line", (line) => {
      const message: Reply = JSON.parse(line);
      if ("return" in message || "error" in message) this.#waiting.shift()?.(message);
    });
  }

  /** Connects to the socket at `path`, once QEMU has made it. */
  static async open(path: string, timeoutMs = 60_000): Promise<Qmp> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      try {
        const qmp = new Qmp(await connected(path));
        await qmp.run("qmp_capabilities");
        return qmp;
      } catch (error) {
        if (performance.now() > until) throw error;
        await sleep(RETRY_MS);
      }
    }
  }

  async run(execute: string, args: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const reply = new Promise<Reply>((resolve) => this.#waiting.push(resolve));
    this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const { error, return: value } = await reply;
    if (error !== undefined) throw new Error(`QMP ${execute}: ${error.desc}`);
    return typeof value === "object" && value !== null ? { ...value } : { text: value };
  }

  /** A command of the human monitor. It prints its errors. */
  async human(line: string): Promise<void> {
    const { text } = await this.run("human-monitor-command", { "command-line": line });
    if (text !== "") throw new Error(`QEMU ${line}: ${text}`);
  }

  /** Saves the machine by a migration to a file, through a program, as QEMU did before it knew `file:`. */
  async migrateTo(file: string): Promise<void> {
    await this.run("migrate", { uri: `exec:cat > ${file}` });
    for (;;) {
      const { status } = await this.run("query-migrate");
      if (status === "completed") return;
      if (status === "failed") throw new Error("QEMU's migration failed");
      await sleep(POLL_MS);
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

interface Reply {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.once("error", reject);
  });
}
