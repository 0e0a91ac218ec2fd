/** A proxy between client and server of a unix socket: it changes the bytes of one of them, by a seed. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { random } from "./random.ts";

/** After this long without a byte, one side waits for bytes that will not come. */
const SILENCE_MS = 50;

export class CorruptingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  /**
   * @param spoilt the side whose bytes are changed
   * @param most the largest distance of two changes in bytes, and of the first from the start
   */
  constructor(path: string, target: string, spoilt: "client" | "server", seed: number, most: number) {
    const next = random(seed);
    this.#server = createServer((client) => {
      const server = connect(target);
      const spoil = new Spoiler(next, most);
      this.#join(client, server, spoilt === "client" ? spoil : undefined);
      this.#join(server, client, spoilt === "server" ? spoil : undefined);
      for (const socket of [client, server]) socket.setTimeout(SILENCE_MS, () => this.#end(client, server));
    }).listen(path);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(from: Socket, to: Socket, spoil: Spoiler | undefined): void {
    this.#sockets.add(from);
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    from.on("data", (chunk) => {
      if (!to.destroyed) to.write(spoil?.apply(chunk) ?? chunk);
    });
  }

  #end(...sockets: Socket[]): void {
    for (const socket of sockets) socket.destroy();
  }
}

/** Changes single bytes; sometimes removes some, or inserts some. */
class Spoiler {
  readonly #next: () => number;
  readonly #most: number;
  #until: number;

  constructor(next: () => number, most: number) {
    this.#next = next;
    this.#most = most;
    this.#until = this.#number(most);
  }

  apply(chunk: Buffer): Buffer {
    let bytes = Buffer.from(chunk);
    while (this.#until < bytes.length) {
      const at = this.#until;
      const kind = this.#number(5);
      if (kind === 0)
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + this.#number(8))]);
      else if (kind === 1) {
        const more = Buffer.alloc(1 + this.#number(8), this.#number(256));
        bytes = Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
      } else bytes[at] = kind === 2 ? 0xff : this.#number(256);
      this.#until = at + 9 + this.#number(this.#most);
    }
    this.#until -= bytes.length;
    return bytes;
  }

  #number(below: number): number {
    return Math.floor(this.#next() * below);
  }
}
