/**
 * The server that gdb connects to: a TCP port or a socket file, for one debugger at a
 * time.
 *
 * Whoever connects can read and change everything in the guest. So a port is on the
 * loopback interface unless an address is set.
 */
import { createServer, type Server, type Socket } from "node:net";
import { constants } from "node:os";
import { SystemError } from "../sys/errors.ts";
import { ACKNOWLEDGE, frame, PacketReader, REJECT } from "./packet.ts";
import { type Connection, Session } from "./session.ts";
import type { DebugTarget } from "./target.ts";

const LOOPBACK = "127.0.0.1";

/** A TCP port, 0 for any that is free, at an address of this machine (default 127.0.0.1); or the path of a socket. */
export type GdbPlace = { readonly port: number; readonly host?: string } | { readonly path: string };

export class GdbServer {
  /** In the syntax of gdb's "target remote". */
  readonly address: string;
  readonly #server: Server;
  readonly #target: DebugTarget;
  #socket: Socket | undefined;
  #session: Session | undefined;
  /** A session that ends removes its breakpoints before the next one begins. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(server: Server, address: string, target: DebugTarget) {
    this.#server = server;
    this.address = address;
    this.#target = target;
    server.on("connection", (socket) => {
      socket.on("error", () => {}); // the socket closes then, which ends the session
      const last = this.#socket;
      if (last !== undefined && !last.destroyed && !last.readableEnded && !last.writableEnded) {
        socket.destroy(); // one debugger at a time
        return;
      }
      this.#socket = socket;
      this.#turn = this.#turn.then(() => this.#serve(socket));
    });
  }

  /** @throws {SystemError} EADDRINUSE, and other errors of listening there. */
  static async listen(place: GdbPlace, target: DebugTarget): Promise<GdbServer> {
    const where = "path" in place ? place : { host: LOOPBACK, ...place };
    const name = "path" in where ? where.path : join(where.host, where.port);
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => reject(refusal(error, name)));
      server.listen(where, () => resolve());
    });
    const bound = server.address();
    const address = bound !== null && typeof bound === "object" ? join(bound.address, bound.port) : name;
    return new GdbServer(server, address, target);
  }

  /** Disconnects the debugger, removes its breakpoints, and stops listening. */
  async close(): Promise<void> {
    this.#server.close();
    await this.#session?.close(false).catch(() => {}); // the machine has ended, and so have its breakpoints
    this.#socket?.destroySoon(); // after the last packet
    this.#socket?.unref();
  }

  async #serve(socket: Socket): Promise<void> {
    socket.setNoDelay();
    try {
      await this.#target.pause();
      await this.#converse(socket);
    } catch {
      // A broken connection ends the session, as an orderly end does.
    }
    await this.#session?.close(false).catch(() => {});
    this.#session = undefined;
    if (this.#socket === socket) this.#socket = undefined;
    socket.destroySoon();
  }

  /** Answers packets one after the other, and reads the next one only after the answer. */
  async #converse(socket: Socket): Promise<void> {
    const reader = new PacketReader();
    let acknowledges = true;
    let last: Uint8Array = new Uint8Array();
    const connection: Connection = {
      send: (body) => {
        last = frame(body);
        socket.write(last);
      },
      stopAcknowledging: () => {
        acknowledges = false;
      },
      end: () => void socket.end(),
    };
    const session = new Session(this.#target, connection);
    this.#session = session;
    for await (const chunk of socket) {
      const bytes: Uint8Array = chunk;
      for (const incoming of reader.push(bytes)) {
        const acknowledge = acknowledges;
        if (incoming.kind === "packet") {
          if (acknowledge) socket.write(ACKNOWLEDGE);
          await session.receive(incoming.body);
        } else if (incoming.kind === "interrupt") await session.interrupt();
        else if (incoming.kind === "damaged" && acknowledge) socket.write(REJECT);
        else if (incoming.kind === "nack" && acknowledge) socket.write(last);
      }
      if (socket.writableNeedDrain)
        await new Promise((resolve) => socket.once("drain", resolve).once("close", resolve));
    }
  }
}

function join(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

const ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE:
    "Another program listens there: choose another port or path. A socket file nobody uses can be removed.",
  EADDRNOTAVAIL: "This machine has no such address.",
  EACCES: "This user may not: ports below 1024 are root's.",
};

function refusal(error: NodeJS.ErrnoException, name: string): Error {
  const errno = error.errno ?? -constants.errno.EINVAL;
  // A host name that cannot be resolved has a code of its own.
  if (error.syscall !== "listen") return error;
  return new SystemError(errno, "listen", `waiting for gdb at ${name}`, ADVICE[error.code ?? ""]);
}
