/** Debian's gdb with commands on its command line; and the protocol by hand, for packets that gdb does not send. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { frame, type Incoming, PacketReader } from "../../src/gdb/packet.ts";

export interface GdbRun {
  /** Standard output and standard error, in the order of arrival. */
  readonly output: string;
  readonly status: number | null;
}

/** A command for runGdb: lets the guest run, and sends Ctrl-C some time later. */
export const RUN_A_WHILE = "run a while";
const A_WHILE_MS = 1_500;
const MARK = "@running";

/** Runs gdb with these commands to its end. */
export async function runGdb(
  commands: readonly string[],
  { file, limitMs = 60_000 }: { file?: string; limitMs?: number } = {},
): Promise<GdbRun> {
  const words = ["-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off"];
  for (const command of commands) {
    if (command === RUN_A_WHILE) words.push("-ex", `echo ${MARK}\\n`, "-ex", "continue");
    else words.push("-ex", command);
  }
  if (file !== undefined) words.push(file);
  const child = spawn("gdb", words, { stdio: ["ignore", "pipe", "pipe"] });
  const timers = [setTimeout(() => child.kill("SIGKILL"), limitMs)];
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      const marks = count(output);
      output += chunk.toString();
      if (count(output) > marks) timers.push(setTimeout(() => child.kill("SIGINT"), A_WHILE_MS));
    });
  }
  const [status] = await once(child, "close");
  for (const timer of timers) clearTimeout(timer);
  return { output, status };
}

function count(output: string): number {
  return output.split(MARK).length;
}

/** A connection that speaks the protocol, without acknowledgements. */
export class RemoteClient implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #packets: string[] = [];
  #wake: () => void = () => {};
  closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const reader = new PacketReader();
    socket.on("data", (chunk: Buffer) => {
      for (const incoming of reader.push(chunk)) this.#take(incoming);
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
      this.#wake();
    });
  }

  /** @param address "HOST:PORT" */
  static async connect(address: string): Promise<RemoteClient> {
    const at = address.lastIndexOf(":");
    const socket = connect(Number(address.slice(at + 1)), address.slice(0, at));
    const client = new RemoteClient(socket);
    await once(socket, "connect");
    await client.ask("QStartNoAckMode");
    return client;
  }

  send(body: string): void {
    this.#socket.write(frame(body));
  }

  /** Sends bytes unchanged. */
  raw(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** The next packet; undefined when the connection is closed. */
  async receive(): Promise<string | undefined> {
    while (this.#packets.length === 0) {
      if (this.closed) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#packets.shift();
  }

  ask(body: string): Promise<string | undefined> {
    this.send(body);
    return this.receive();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closed) return;
    this.#socket.destroy();
    await once(this.#socket, "close");
  }

  #take(incoming: Incoming): void {
    if (incoming.kind !== "packet") return;
    this.#packets.push(incoming.body);
    this.#wake();
  }
}
