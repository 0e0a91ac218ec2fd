/**
 * UDP of the guest: a session for each pair of endpoints, with a connected socket of the host, so that nobody else can
 * answer, and a closed port is reported. Sessions end after some time without datagrams; the oldest makes room for a new
 * one.
 */
import type { Socket } from "node:dgram";
import { put16 } from "./bytes.ts";
import { DNS_PORT } from "./dns-message.ts";
import { type Flow, type FlowKey, FlowTable } from "./flow-table.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { type Packet, UDP } from "./packet.ts";

const MAX_SESSIONS = 1024;
const IDLE_MS = 120_000;
/** A query and its answer. */
const IDLE_DNS_MS = 10_000;
/** Datagrams that wait for a decision or a socket. */
const MAX_WAITING = 16;
const MAX_QUEUED_BYTES = 256 * 1024;
const MAX_DATAGRAM_BYTES = 65_507;

/** Sends a datagram of the guest to where it is to go. */
type SendDatagram = (data: Uint8Array) => void;

export interface UdpContext {
  readonly writer: FrameWriter;
  readonly mac: Uint8Array;
  macOf(guest: Uint8Array): Uint8Array;
  now(): number;
  wakeAt(deadline: number): void;
  /** The host refused the datagrams of this session. */
  refused(session: UdpSession): void;
}

export class UdpSession implements Flow {
  readonly key: FlowKey;
  deadline = 0;
  /** The IP header and first bytes of a datagram, for an ICMP error about it. */
  quoted = new Uint8Array(0);
  readonly #context: UdpContext;
  readonly #guest: Uint8Array;
  readonly #outer: Uint8Array;
  readonly #closed: (session: UdpSession) => void;
  /** Sees datagrams for the guest before they are sent. */
  onAnswer: ((data: Uint8Array) => void) | undefined;
  onClosed: (() => void) | undefined;
  #send: SendDatagram | undefined;
  #socket: Socket | undefined;
  #isConnected = false;
  #waiting: Buffer[] = [];
  #unsent: Buffer[] = [];
  #isClosed = false;

  constructor(key: FlowKey, context: UdpContext, closed: (session: UdpSession) => void) {
    this.key = key;
    this.#context = context;
    this.#closed = closed;
    this.#guest = key.guest;
    this.#outer = key.outer;
    this.touch();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** A datagram of the guest; it is lent. */
  input(data: Uint8Array): void {
    if (this.#isClosed) return;
    this.touch();
    if (this.#send !== undefined) this.#send(data);
    else if (this.#waiting.length < MAX_WAITING) this.#waiting.push(Buffer.from(data));
  }

  /** A datagram for the guest. */
  output(data: Uint8Array): void {
    if (this.#isClosed || data.length > MAX_DATAGRAM_BYTES) return;
    this.touch();
    this.onAnswer?.(data);
    const { writer, mac } = this.#context;
    const at = writer.beginIp(this.#context.macOf(this.#guest), mac, this.#outer, this.#guest, UDP);
    put16(writer.bytes, at, this.key.outerPort);
    put16(writer.bytes, at + 2, this.key.guestPort);
    writer.bytes.set(data, at + 8);
    writer.finishIp(at + 8 + data.length); // without room it is lost, as datagrams are
  }

  /** Where datagrams go from now on; those that wait are sent. */
  open(send: SendDatagram): void {
    if (this.#isClosed) return;
    this.#send = send;
    for (const data of this.#waiting) send(data);
    this.#waiting = [];
  }

  /** Gives the session a socket of the host, whose datagrams are for the guest. */
  attach(socket: Socket, address: string, port: number): void {
    if (this.#isClosed) {
      socket.close();
      return;
    }
    this.#socket = socket;
    socket.on("message", (data) => this.output(data));
    socket.on("error", () => {
      // ECONNREFUSED: a datagram found a closed port.
      this.#context.refused(this);
      this.close();
    });
    socket.connect(port, address, () => {
      this.#isConnected = true;
      for (const data of this.#unsent) socket.send(data);
      this.#unsent = [];
    });
  }

  get hasSocket(): boolean {
    return this.#socket !== undefined;
  }

  /** Sends a datagram by the socket; it is not copied. */
  toHost(data: Buffer): void {
    const socket = this.#socket;
    if (socket === undefined || this.#isClosed) return;
    if (!this.#isConnected) {
      if (this.#unsent.length < MAX_WAITING) this.#unsent.push(data);
    } else if (socket.getSendQueueSize() < MAX_QUEUED_BYTES) socket.send(data);
  }

  touch(): void {
    const idle = this.key.outerPort === DNS_PORT ? IDLE_DNS_MS : IDLE_MS;
    this.deadline = this.#context.now() + idle;
    this.#context.wakeAt(this.deadline);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#waiting = [];
    this.#unsent = [];
    try {
      this.#socket?.close();
    } catch {
      // It closed itself after an error.
    }
    this.onClosed?.();
    this.#closed(this);
  }
}

export class UdpSessions {
  readonly #context: UdpContext;
  readonly #table = new FlowTable<UdpSession>();

  constructor(context: UdpContext) {
    this.#context = context;
  }

  get size(): number {
    return this.#table.size;
  }

  find(packet: Packet): UdpSession | undefined {
    return this.#table.find(packet);
  }

  add(key: FlowKey): UdpSession {
    if (this.#table.size >= MAX_SESSIONS) this.#closeOldest();
    const session = new UdpSession(key, this.#context, (closed) => this.#table.delete(closed));
    this.#table.add(session);
    return session;
  }

  /** A session that a sender outside began; for the guest it comes from a port of `from`. */
  addInbound(guest: Uint8Array, port: number, from: Uint8Array): UdpSession {
    return this.add(this.#table.freeKey(guest, port, from));
  }

  expire(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const session of this.#table) {
      if (session.deadline <= now) session.close();
      else if (session.deadline < next) next = session.deadline;
    }
    return next;
  }

  clear(): void {
    for (const session of [...this.#table]) session.close();
  }

  /** The machine was paused for so long. */
  postpone(ms: number): void {
    for (const session of this.#table) session.deadline += ms;
  }

  #closeOldest(): void {
    let oldest: UdpSession | undefined;
    for (const session of this.#table) {
      if (oldest === undefined || session.deadline < oldest.deadline) oldest = session;
    }
    oldest?.close();
  }
}
