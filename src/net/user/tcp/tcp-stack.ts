/** All TCP connections of a guest: finds the one that a segment belongs to, begins and ends them, and keeps their time. */
import { randomInt } from "node:crypto";
import type { Duplex } from "node:stream";
import { put16, put32 } from "../bytes.ts";
import { FlowKey, FlowTable } from "../flow-table.ts";
import type { FrameWriter } from "../frame-writer.ts";
import { type Packet, TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from "../packet.ts";
import { TcpConnection, type TcpOwner } from "./tcp-connection.ts";
import type { TcpContext } from "./tcp-context.ts";

/** Enough for a busy guest; each may be a descriptor of the host. FlowTable.freeKey relies on it. */
const MAX_CONNECTIONS = 4096;
/** With more in all buffers, each connection has to do with little. */
const PRESSURE_BYTES = 64 * 1024 * 1024;

export interface TcpStackOptions {
  readonly writer: FrameWriter;
  readonly mac: Uint8Array;
  macOf(guest: Uint8Array): Uint8Array;
  now(): number;
  wakeAt(deadline: number): void;
  blocked(): void;
  /** The guest asks for a connection: `establish`, or `reset`. */
  requested(connection: TcpConnection): void;
}

export class TcpStack implements TcpContext, TcpOwner {
  readonly writer: FrameWriter;
  readonly mac: Uint8Array;
  readonly #options: TcpStackOptions;
  readonly #table = new FlowTable<TcpConnection>();
  #dirty: TcpConnection[] = [];
  #buffered = 0;

  constructor(options: TcpStackOptions) {
    this.#options = options;
    this.writer = options.writer;
    this.mac = options.mac;
  }

  get size(): number {
    return this.#table.size;
  }

  get buffered(): number {
    return this.#buffered;
  }

  input(packet: Packet): void {
    const { flags } = packet;
    let connection = this.#table.find(packet);
    const isSyn = (flags & (TCP_SYN | TCP_ACK | TCP_RST)) === TCP_SYN;
    if (connection !== undefined && isSyn && connection.isReplacedBy(packet)) {
      connection.drop();
      connection = undefined;
    }
    if (connection !== undefined) {
      connection.input(packet);
    } else if (isSyn && (flags & TCP_FIN) === 0 && this.#table.size < MAX_CONNECTIONS) {
      const fresh = new TcpConnection(FlowKey.of(packet), "connecting", randomSequence(), this, this);
      fresh.noteSyn(packet);
      this.#table.add(fresh);
      this.#options.requested(fresh);
    } else if ((flags & TCP_RST) === 0) {
      this.#refuse(packet);
    }
  }

  /** A connection to a port of the guest. Undefined: there are too many. */
  connect(guest: Uint8Array, port: number, from: Uint8Array, stream: Duplex): TcpConnection | undefined {
    if (this.#table.size >= MAX_CONNECTIONS) return undefined;
    const key = this.#table.freeKey(guest, port, from);
    const connection = new TcpConnection(key, "syn-sent", randomSequence(), this, this);
    this.#table.add(connection);
    connection.connect(stream);
    return connection;
  }

  /** Sends what the batch of frames made due. */
  batchEnd(): void {
    const dirty = this.#dirty;
    for (let n = 0; n < dirty.length; n++) dirty[n].flush();
    dirty.length = 0;
  }

  room(): void {
    for (const connection of this.#table) connection.output();
  }

  /** The guest's Ethernet address is known now: SYNs that found nobody are sent again at once. */
  retrySyns(): void {
    for (const connection of this.#table) connection.retrySyn();
  }

  /** Lets connections whose time has come act. Returns the next deadline. */
  expire(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const connection of this.#table) {
      if (connection.deadline <= now) connection.expire(now);
      if (connection.deadline < next) next = connection.deadline;
    }
    return next;
  }

  /** The machine was paused for so long: nobody could answer. */
  postpone(ms: number): void {
    for (const connection of this.#table) connection.deadline += ms;
  }

  /** Forgets all connections; their streams are reset. */
  clear(): void {
    for (const connection of [...this.#table]) connection.drop();
  }

  macOf(guest: Uint8Array): Uint8Array {
    return this.#options.macOf(guest);
  }

  now(): number {
    return this.#options.now();
  }

  wakeAt(deadline: number): void {
    this.#options.wakeAt(deadline);
  }

  account(delta: number): void {
    this.#buffered += delta;
  }

  get isPressed(): boolean {
    return this.#buffered > PRESSURE_BYTES;
  }

  blocked(): void {
    this.#options.blocked();
  }

  closed(connection: TcpConnection): void {
    this.#table.delete(connection);
  }

  dirty(connection: TcpConnection): void {
    this.#dirty.push(connection);
  }

  /** The answer to a segment of an unknown connection (RFC 9293, 3.10.7.1). */
  #refuse(packet: Packet): void {
    const { bytes: frame, addresses, destination, addressBytes, flags } = packet;
    const { writer } = this;
    const { bytes } = writer;
    const guest = frame.slice(addresses, destination);
    const outer = frame.slice(destination, destination + addressBytes);
    const hasAck = (flags & TCP_ACK) !== 0;
    const length = packet.dataBytes + ((flags & TCP_SYN) !== 0 ? 1 : 0) + ((flags & TCP_FIN) !== 0 ? 1 : 0);
    const at = writer.beginIp(this.macOf(guest), this.mac, outer, guest, TCP);
    put16(bytes, at, packet.destinationPort);
    put16(bytes, at + 2, packet.sourcePort);
    put32(bytes, at + 4, hasAck ? packet.acknowledgement : 0);
    put32(bytes, at + 8, hasAck ? 0 : packet.sequence + length);
    bytes[at + 12] = 0x50;
    bytes[at + 13] = hasAck ? TCP_RST : TCP_RST | TCP_ACK;
    put32(bytes, at + 14, 0);
    put16(bytes, at + 18, 0);
    writer.finishTcp(20, undefined, 0);
  }
}

/** RFC 6528 asks for numbers that others cannot guess. */
function randomSequence(): number {
  return randomInt(0x1_0000_0000) | 0;
}
