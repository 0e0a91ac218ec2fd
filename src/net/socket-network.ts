/**
 * A network over a socket: another monitor, or passt, is at its other end. QEMU's
 * framing: over a stream each frame has its length before it, 32 bits, most significant
 * byte first; a datagram is a frame. Frames are complete.
 *
 * Source: QEMU 7.2, net/stream.c and net/socket.c; passt(1).
 */
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { FrameCompleter } from "./complete-frame.ts";
import type { GuestLink, Network } from "./link.ts";
import { MAX_FRAME_BYTES } from "./offloads.ts";
import type { ConnectNetwork } from "./program-network.ts";

/** Of TCP or UDP, or of a socket of the file system. */
export type SocketPlace = { readonly host?: string; readonly port: number } | { readonly path: string };

/** A reader that is so far behind loses frames, as on a cable. */
const MAX_QUEUED_BYTES = 4 << 20;
const LENGTH_BYTES = 4;
/** QEMU's: what is longer is not a frame. */
const MAX_RECORD = 4096 + 65_536;

export interface StreamOptions {
  readonly place: SocketPlace;
  /** Waits for the other side, one at a time. */
  readonly isServer: boolean;
  /** When a connection that ended is tried again; without it, never. */
  readonly reconnectMs?: number | undefined;
}

/** @throws {Error} from `plug`, if the place cannot be used */
export function streamNetwork(options: StreamOptions): ConnectNetwork {
  return async (link) => {
    const network = new StreamNetwork(options, link);
    await network.open();
    return network;
  };
}

class StreamNetwork implements Network {
  readonly #options: StreamOptions;
  readonly #link: GuestLink;
  readonly #completer = new FrameCompleter();
  readonly #length = Buffer.alloc(LENGTH_BYTES);
  #server: Server | undefined;
  #socket: Socket | undefined;
  /** Bytes that are not yet a whole frame, or for which the guest has no room. */
  #received: Buffer = Buffer.alloc(0);
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: StreamOptions, link: GuestLink) {
    this.#options = options;
    this.#link = link;
  }

  async open(): Promise<void> {
    const { place, isServer, reconnectMs } = this.#options;
    if (!isServer) {
      const connected = this.#connect();
      // With a time for that, the other side may come later.
      return reconnectMs === undefined ? connected : connected.catch(() => this.#again());
    }
    const server = createServer((socket) => {
      if (this.#socket === undefined) this.#use(socket);
      else socket.destroy();
    });
    this.#server = server;
    server.listen(place);
    await once(server, "listening");
    server.on("error", () => {}); // of one connection that could not be accepted
  }

  input(frame: Uint8Array, offload: Parameters<Network["input"]>[1]): void {
    if (this.#socket === undefined) return;
    this.#completer.complete(frame, offload, (complete) => this.#write(complete));
  }

  room(): void {
    this.#take();
    if (this.#socket?.isPaused() === true && this.#received.length < MAX_RECORD) this.#socket.resume();
  }

  reset(): void {}

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#socket?.destroy();
    this.#server?.close();
  }

  async #connect(): Promise<void> {
    const socket = createConnection(this.#options.place);
    await once(socket, "connect");
    if (this.#isClosed) socket.destroy();
    else this.#use(socket);
  }

  #again(): void {
    const { reconnectMs } = this.#options;
    if (this.#isClosed || reconnectMs === undefined) return;
    this.#timer = setTimeout(() => void this.#connect().catch(() => this.#again()), reconnectMs);
  }

  #use(socket: Socket): void {
    this.#socket = socket;
    this.#received = Buffer.alloc(0);
    socket.setNoDelay(true);
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
      if (!this.#options.isServer) this.#again();
    });
    socket.on("data", (chunk) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      if (!this.#take()) socket.pause();
    });
  }

  #write(frame: Uint8Array): void {
    const socket = this.#socket;
    if (socket === undefined || socket.writableLength > MAX_QUEUED_BYTES) return;
    this.#length.writeUInt32BE(frame.length);
    // One copy for both: the frame is valid during this call only.
    socket.write(Buffer.concat([this.#length, frame]));
  }

  /** Sends the guest all whole frames. False if it has no room. */
  #take(): boolean {
    const bytes = this.#received;
    let at = 0;
    let hasRoom = true;
    while (bytes.length - at >= LENGTH_BYTES) {
      const length = bytes.readUInt32BE(at);
      if (length === 0 || length > MAX_RECORD) {
        // Not the protocol: nothing after it can be understood.
        this.#received = Buffer.alloc(0);
        this.#socket?.destroy();
        return true;
      }
      if (bytes.length - at - LENGTH_BYTES < length) break;
      const frame = bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
      hasRoom = length > MAX_FRAME_BYTES || this.#link.send(frame);
      if (!hasRoom) break;
      at += LENGTH_BYTES + length;
    }
    this.#received = bytes.subarray(at);
    return hasRoom;
  }
}

export interface DatagramOptions {
  readonly local?: { readonly host?: string | undefined; readonly port: number } | undefined;
  readonly remote: { readonly host: string; readonly port: number };
  /** The remote address is a group: all who joined it are on one cable. */
  readonly isMulticast: boolean;
  /** The interface of the host for a group, by its address. */
  readonly via?: string | undefined;
}

export function datagramNetwork(options: DatagramOptions): ConnectNetwork {
  return async (link) => {
    const { local, remote, isMulticast, via } = options;
    const type = remote.host.includes(":") ? "udp6" : "udp4";
    const socket = createSocket({ type, reuseAddr: isMulticast });
    socket.on("error", () => {}); // as on a cable: what cannot be sent is lost
    if (isMulticast) socket.bind(remote.port, remote.host);
    else socket.bind(local?.port ?? 0, local?.host);
    await once(socket, "listening");
    if (isMulticast) {
      socket.addMembership(remote.host, via);
      socket.setMulticastLoopback(true);
      if (via !== undefined) socket.setMulticastInterface(via);
    }
    return new DatagramNetwork(socket, remote, link);
  };
}

class DatagramNetwork implements Network {
  readonly #socket: DatagramSocket;
  readonly #remote: { readonly host: string; readonly port: number };
  readonly #completer = new FrameCompleter();
  #queued = 0;

  constructor(
    socket: DatagramSocket,
    remote: { readonly host: string; readonly port: number },
    link: GuestLink,
  ) {
    this.#socket = socket;
    this.#remote = remote;
    // Without room a frame is lost, as a datagram may be.
    socket.on("message", (frame) => frame.length <= MAX_FRAME_BYTES && link.send(frame));
  }

  input(frame: Uint8Array, offload: Parameters<Network["input"]>[1]): void {
    this.#completer.complete(frame, offload, (complete) => {
      if (this.#queued > MAX_QUEUED_BYTES) return;
      const { length } = complete;
      this.#queued += length;
      // A copy: the frame is valid during this call only.
      this.#socket.send(Buffer.from(complete), this.#remote.port, this.#remote.host, () => {
        this.#queued -= length;
      });
    });
  }

  room(): void {}

  reset(): void {}

  close(): void {
    this.#socket.close();
  }
}
