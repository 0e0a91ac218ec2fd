/**
 * The host's end of a guest's vsock device: the connections, by their ports.
 *
 * The guest makes as many connections as it likes, up to MAX_CONNECTIONS, and each has
 * a buffer of a fixed size. While answers wait for room, no further packets are taken,
 * so that there is a limit to those too.
 *
 * Source: VIRTIO 1.2, 5.10.6.
 */

import { HEADER_BYTES, HOST_CID, OP_REQUEST, OP_RST, PacketHeader, TYPE_STREAM } from "./packet.ts";
import { PacketPort, type PacketSink } from "./packet-port.ts";
import { VsockError, VsockStream, type VsockWire } from "./vsock-stream.ts";

const MAX_CONNECTIONS = 1024;
const MAX_RESETS = 64;
/** Ports that `connect` uses itself. */
const FIRST_OWN_PORT = 2 ** 30;
const MAX_PORT = 2 ** 32 - 2;

export interface VsockConnectOptions {
  /** The writable side stays open after the guest has ended its own; otherwise it ends too. Default: false. */
  readonly allowHalfOpen?: boolean;
}

/** A port of the host at which guests may connect. */
export interface VsockListener {
  readonly port: number;
  /** Connections stay. */
  close(): void;
}

interface Listening {
  readonly accept: (stream: VsockStream) => void;
  readonly allowHalfOpen: boolean;
}

export class VsockHost implements PacketSink, VsockWire {
  readonly #guestCid: number;
  readonly #streams = new Map<string, VsockStream>();
  /** Also those that the guest has forgotten, while a reader has not taken all of them. */
  readonly #alive = new Set<VsockStream>();
  readonly #listeners = new Map<number, Listening>();
  /** Ports of connections that the guest is to forget. */
  readonly #resets: { readonly hostPort: number; readonly guestPort: number }[] = [];
  readonly #in = new PacketHeader();
  readonly #out = new PacketHeader();
  #port: PacketPort | undefined;
  #nextPort = FIRST_OWN_PORT;
  #isClosed = false;

  constructor(guestCid: number) {
    this.#guestCid = guestCid;
  }

  /** A power cycle begins: the guest knows no connection. */
  plug(): PacketPort {
    this.loseAll();
    this.#port = new PacketPort(this);
    return this.#port;
  }

  /** Connects to `port` of the guest. The stream emits "connect", or an error. */
  connect(port: number, { allowHalfOpen = false }: VsockConnectOptions = {}): VsockStream {
    checkPort(port);
    if (this.#isClosed) throw new VsockError("ESTATE", "the machine has ended");
    if (this.#alive.size >= MAX_CONNECTIONS)
      throw new VsockError("EADDRINUSE", `there are ${MAX_CONNECTIONS} vsock connections already`);
    do this.#nextPort = this.#nextPort === MAX_PORT ? FIRST_OWN_PORT : this.#nextPort + 1;
    while (this.#streams.has(keyOf(this.#nextPort, port)));
    const stream = new VsockStream(this, this.#nextPort, port, true, allowHalfOpen);
    this.#add(stream);
    stream.pump();
    return stream;
  }

  /** Calls `accept` with each connection that the guest makes to `port` of the host (CID 2). */
  listen(
    port: number,
    accept: (stream: VsockStream) => void,
    { allowHalfOpen = false }: VsockConnectOptions = {},
  ): VsockListener {
    checkPort(port);
    if (this.#listeners.has(port)) throw new VsockError("EADDRINUSE", `vsock port ${port} is in use`);
    const listening = { accept, allowHalfOpen };
    this.#listeners.set(port, listening);
    return {
      port,
      close: () => {
        if (this.#listeners.get(port) === listening) this.#listeners.delete(port);
      },
    };
  }

  /** The guest forgot all connections. */
  loseAll(why = "the guest, or its driver, began anew"): void {
    for (const stream of [...this.#streams.values()]) stream.lost(why);
    this.#resets.length = 0;
  }

  close(): void {
    this.#isClosed = true;
    this.loseAll("the machine has ended");
    this.#port = undefined;
  }

  get takes(): boolean {
    return this.#resets.length < MAX_RESETS;
  }

  input(packet: Uint8Array): void {
    if (packet.length < HEADER_BYTES) {
      this.loseAll(); // RESET_RECORD
      return;
    }
    const header = this.#in;
    header.bytes.set(packet.subarray(0, HEADER_BYTES));
    const { srcPort: guestPort, dstPort: hostPort, op } = header;
    const data = packet.subarray(HEADER_BYTES);
    const isForUs =
      header.srcCid === this.#guestCid &&
      header.dstCid === HOST_CID &&
      header.type === TYPE_STREAM &&
      header.length === data.length;
    const stream = this.#streams.get(keyOf(hostPort, guestPort));
    if (isForUs && stream !== undefined) {
      stream.input(header, data);
      return;
    }
    if (isForUs && op === OP_REQUEST && this.#accept(hostPort, guestPort, header)) return;
    // 5.10.6.4.1; an answer to a reset would be answered for ever.
    if (op !== OP_RST) this.#reset(hostPort, guestPort);
    if (!isForUs) stream?.lost("the guest sent a packet with another address or type");
  }

  room(): void {
    while (this.#resets.length > 0) {
      const [{ hostPort, guestPort }] = this.#resets;
      if (!this.#sendReset(hostPort, guestPort)) return;
      this.#resets.shift();
    }
    for (const stream of [...this.#streams.values()]) stream.pump();
    this.#port?.wake();
  }

  send(stream: VsockStream, op: number, flags: number, data?: Uint8Array): boolean {
    const header = this.#address(stream.hostPort, stream.guestPort);
    header.op = op;
    header.flags = flags;
    header.bufAlloc = stream.bufAlloc;
    header.fwdCnt = stream.fwdCnt;
    header.length = data?.length ?? 0;
    return this.#port?.send(header.bytes, data) ?? true;
  }

  forget({ hostPort, guestPort }: VsockStream, reset: boolean): void {
    if (this.#streams.delete(keyOf(hostPort, guestPort)) && reset) this.#reset(hostPort, guestPort);
  }

  /** False if nobody wants the connection. */
  #accept(hostPort: number, guestPort: number, header: PacketHeader): boolean {
    const listening = this.#listeners.get(hostPort);
    if (listening === undefined || this.#alive.size >= MAX_CONNECTIONS) return false;
    const stream = new VsockStream(this, hostPort, guestPort, false, listening.allowHalfOpen);
    this.#add(stream);
    stream.greeted(header);
    listening.accept(stream);
    return true;
  }

  #add(stream: VsockStream): void {
    this.#streams.set(keyOf(stream.hostPort, stream.guestPort), stream);
    this.#alive.add(stream);
    stream.once("close", () => this.#alive.delete(stream));
  }

  #reset(hostPort: number, guestPort: number): void {
    if (this.#resets.length === 0 && this.#sendReset(hostPort, guestPort)) return;
    this.#resets.push({ hostPort, guestPort });
  }

  #sendReset(hostPort: number, guestPort: number): boolean {
    const header = this.#address(hostPort, guestPort);
    header.op = OP_RST;
    header.flags = 0;
    header.bufAlloc = 0;
    header.fwdCnt = 0;
    header.length = 0;
    return this.#port?.send(header.bytes) ?? true;
  }

  #address(hostPort: number, guestPort: number): PacketHeader {
    const header = this.#out;
    header.srcCid = HOST_CID;
    header.dstCid = this.#guestCid;
    header.srcPort = hostPort;
    header.dstPort = guestPort;
    header.type = TYPE_STREAM;
    return header;
  }
}

function keyOf(hostPort: number, guestPort: number): string {
  return `${hostPort} ${guestPort}`;
}

function checkPort(port: number): void {
  if (!Number.isInteger(port) || port < 0 || port > MAX_PORT)
    throw new RangeError(`a vsock port is an integer from 0 to ${MAX_PORT}, not ${port}`);
}
