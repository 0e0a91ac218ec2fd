/**
 * Where gdb connects to: a TCP port or a socket file, for one debugger at a time.
 *
 * Who connects can read and change everything in the guest. So a port is one of
 * this machine alone unless a host's address is given.
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
  /** As gdb's "target remote" takes it. */
  readonly address: string;
  readonly #server: Server;
  readonly #target: DebugTarget;
  #socket: Socket | undefined;
  #session: Session | undefined;
  /** A session that is ending takes its breakpoints out before the next begins. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(server: Server, address: string, target: DebugTarget) {
    this.#server = server;
    this.address = address;
    this.#target = target;
    server.on("connection", (socket) => {
      socket.on("error", () => {}); // it ends, which is what counts
      const last = this.#socket;
      if (last !== undefined && !last.destroyed && !last.readableEnded && !last.writableEnded) {
        socket.destroy(); // one debugger at a time
        return;
      }
      this.#socket = socket;
      this.#turn = this.#turn.then(() => this.#serve(socket));
    });
  }

  /** @throws {SystemError} EADDRINUSE and whatever else keeps it from listening there. */
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

  /** Lets go of a debugger, whose breakpoints go with it, and listens no more. */
  async close(): Promise<void> {
    this.#server.close();
    await this.#session?.close(false).catch(() => {}); // the machine has ended, and its breakpoints with it
    this.#socket?.destroySoon(); // the last packet goes first
    this.#socket?.unref();
  }

  async #serve(socket: Socket): Promise<void> {
    socket.setNoDelay();
    try {
      await this.#target.pause();
      await this.#converse(socket);
    } catch {
      // The connection broke, which ends the session as its orderly end does.
    }
    await this.#session?.close(false).catch(() => {});
    this.#session = undefined;
    if (this.#socket === socket) this.#socket = undefined;
    socket.destroySoon();
  }

  /** Answers packets one after the other, and reads no more of them than it answers. */
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
  // A host that cannot be looked up has a code of its own.
  if (error.syscall !== "listen") return error;
  return new SystemError(errno, "listen", `waiting for gdb at ${name}`, ADVICE[error.code ?? ""]);
}
