/**
 * A serial port on a socket: `nc -U PATH` may connect, disconnect, and connect again. One client has it at a
 * time.
 *
 * Without a client, the guest's output is dropped, as in QEMU: the guest must not wait then. With one, nothing
 * is dropped in either direction.
 */
import { lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { Writable } from "node:stream";
import { SystemError } from "../../sys/errors.ts";
import type { Receiver } from "./keyboard.ts";
import type { SocketPlace } from "./serial-draft.ts";

export class SocketConsole extends Writable {
  #server: Server | undefined;
  #receiver: Receiver | undefined;
  #session: Socket | undefined;
  #arrived: (() => void) | undefined;

  /** Listens there. @throws {SystemError} EADDRINUSE, and other errors of listening */
  static async listen(place: SocketPlace): Promise<SocketConsole> {
    const console = new SocketConsole();
    if ("path" in place) removeStaleSocket(place.path);
    // A port without a host must not be one that the whole network can reach.
    const where = "port" in place ? { host: "127.0.0.1", ...place } : place;
    const server = createServer((socket) => console.#begin(socket));
    console.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) =>
        reject(failure(error, "listen", `waiting for a client at ${socketName(place)}`)),
      );
      server.listen(where, () => resolve());
    });
    return console;
  }

  /** Connects there. @throws {SystemError} ECONNREFUSED, ENOENT, and other errors of connecting */
  static async connect(place: Exclude<SocketPlace, { fd: number }>): Promise<SocketConsole> {
    const console = new SocketConsole();
    const socket = connect("port" in place ? { host: "127.0.0.1", ...place } : place);
    await new Promise<void>((resolve, reject) => {
      socket.once("error", (error) =>
        reject(failure(error, "connect", `connecting to ${socketName(place)}`)),
      );
      socket.once("connect", () => resolve());
    });
    console.#begin(socket);
    return console;
  }

  /** Settles when there is a client. */
  client(): Promise<void> {
    if (this.#session !== undefined) return Promise.resolve();
    return new Promise((resolve) => {
      this.#arrived = resolve;
    });
  }

  /** Sends input from the client to `receiver`. What came before is still in the socket. */
  connectInput(receiver: Receiver): void {
    this.#receiver = receiver;
    receiver.on("drain", () => this.#session?.resume());
    if (this.#session !== undefined) this.#listenTo(this.#session, receiver);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    // When the client has gone, the callback gets an error, and the rest of the output is lost.
    if (this.#session === undefined) done();
    else this.#session.write(chunk, () => done());
  }

  override _final(done: () => void): void {
    if (this.#session === undefined) done();
    else this.#session.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#server?.close();
    this.#session?.destroy();
    done(error);
  }

  #begin(socket: Socket): void {
    if (this.#session !== undefined) {
      socket.destroy();
      return;
    }
    this.#session = socket;
    socket.setNoDelay(true);
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => {
      this.#session = undefined;
    });
    if (this.#receiver !== undefined) this.#listenTo(socket, this.#receiver);
    this.#arrived?.();
  }

  #listenTo(socket: Socket, receiver: Receiver): void {
    socket.on("data", (chunk: Buffer) => {
      if (!receiver.write(chunk)) socket.pause();
    });
  }
}

/** As messages name it. */
export function socketName(place: SocketPlace): string {
  if ("path" in place) return `unix:${place.path}`;
  if ("fd" in place) return `descriptor ${place.fd}`;
  return `tcp:${place.host ?? "127.0.0.1"}:${place.port}`;
}

/** A socket file of a server that ended would be in the way. QEMU removes it too. */
function removeStaleSocket(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) unlinkSync(path);
}

function failure(error: NodeJS.ErrnoException, call: string, doing: string): Error {
  return error.errno === undefined ? error : new SystemError(error.errno, call, doing);
}
