/**
 * Echo requests of the guest to hosts outside: each pair of identifier and address has a ping socket of the host, which
 * passes only the replies to it. The kernel chooses the identifier, so the guest's own is put back.
 */
import type { Socket } from "node:dgram";
import { isIP } from "node:net";
import { formatAddress } from "./addresses.ts";
import { get16, put16 } from "./bytes.ts";
import { askProgram } from "./decision.ts";
import { FlowKey } from "./flow-table.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { quote } from "./icmp.ts";
import { ICMP, ICMPV6, type Packet } from "./packet.ts";
import { type RouterWorld, report } from "./router-world.ts";

const ECHO_REPLY = 0;
const ECHO_REPLY6 = 129;
const ECHO_HEADER_BYTES = 8;
/** The kernel chooses the port of a ping socket by itself; Node's sockets want one. */
const ANY_PORT = 1;
const MAX_PINGS = 64;
const IDLE_MS = 30_000;

export interface PingContext {
  readonly writer: FrameWriter;
  readonly mac: Uint8Array;
  macOf(guest: Uint8Array): Uint8Array;
  now(): number;
  wakeAt(deadline: number): void;
  /** The guest is not to send this: `quoted` is its start. */
  prohibited(quoted: Uint8Array, guest: Uint8Array): void;
}

/** An echo request of the guest, copied. */
interface Echo {
  readonly key: string;
  readonly guest: Uint8Array;
  readonly target: Uint8Array;
  readonly identifier: number;
  /** From the ICMP header on. */
  readonly message: Buffer;
  /** For an error about it. */
  readonly quoted: Uint8Array;
}

interface Ping {
  readonly key: string;
  readonly socket: Socket;
  /** Where the requests go: elsewhere than the guest sent them, if the program redirects them. */
  readonly address: string;
  deadline: number;
}

export class Pings {
  readonly #context: PingContext;
  readonly #world: RouterWorld;
  readonly #pings = new Map<string, Ping>();
  #isClosed = false;

  constructor(context: PingContext, world: RouterWorld) {
    this.#context = context;
    this.#world = world;
  }

  get size(): number {
    return this.#pings.size;
  }

  /** An echo request to an address outside. */
  input(packet: Packet): void {
    const echo = echoOf(packet);
    const { options } = this.#world;
    const known = this.#pings.get(echo.key);
    if (known !== undefined) this.#send(known, echo);
    else if (options.restrict === true) this.#prohibit(echo);
    else if (options.onConnect === undefined) this.#begin(echo, formatAddress(echo.target));
    else void this.#decide(echo);
  }

  async #decide(echo: Echo): Promise<void> {
    const { options, names } = this.#world;
    const decision = await askProgram(options, names, "icmp", keyOf(echo));
    if (decision === "allow") this.#begin(echo, formatAddress(echo.target));
    else if (typeof decision === "object" && "redirect" in decision)
      this.#begin(echo, decision.redirect.host);
    else this.#prohibit(echo);
  }

  #begin(echo: Echo, address: string): void {
    const ping = this.#pings.get(echo.key) ?? this.#open(echo, address);
    if (ping === undefined) this.#prohibit(echo);
    else this.#send(ping, echo);
  }

  #send(ping: Ping, { message }: Echo): void {
    this.#touch(ping);
    // Without an answer, as any request, if the host does not reach the address.
    ping.socket.send(message, ANY_PORT, ping.address, () => {});
  }

  #prohibit(echo: Echo): void {
    const { quoted, guest } = echo;
    report(this.#world, "icmp", keyOf(echo), "denied");
    this.#context.prohibited(quoted, guest);
  }

  /** Ends what was idle. Returns the next deadline. */
  expire(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const ping of this.#pings.values()) {
      if (ping.deadline <= now) this.#close(ping);
      else next = Math.min(next, ping.deadline);
    }
    return next;
  }

  postpone(ms: number): void {
    for (const ping of this.#pings.values()) ping.deadline += ms;
  }

  clear(): void {
    for (const ping of this.#pings.values()) this.#close(ping);
  }

  close(): void {
    this.#isClosed = true;
    this.clear();
  }

  /** Undefined: this host has no ping sockets for us, or the address is not one. */
  #open(echo: Echo, address: string): Ping | undefined {
    const family = isIP(address) === 6 ? 6 : 4;
    const isOfFamily = isIP(address) !== 0 && (family === 4) === (echo.guest.length === 4);
    const socket = isOfFamily && !this.#isClosed ? this.#world.host.pings(family) : undefined;
    if (socket === undefined) return undefined;
    const ping: Ping = { key: echo.key, socket, address, deadline: 0 };
    socket.on("message", (reply) => this.#reply(ping, echo, reply));
    socket.on("error", () => this.#close(ping));
    if (this.#pings.size >= MAX_PINGS) this.#closeOldest();
    this.#pings.set(ping.key, ping);
    report(this.#world, "icmp", keyOf(echo), "open");
    return ping;
  }

  #reply(ping: Ping, { guest, target, identifier }: Echo, reply: Buffer): void {
    const { writer, mac } = this.#context;
    const is4 = guest.length === 4;
    if (reply.length < ECHO_HEADER_BYTES || reply[0] !== (is4 ? ECHO_REPLY : ECHO_REPLY6)) return;
    this.#touch(ping);
    const at = writer.beginIp(this.#context.macOf(guest), mac, target, guest, is4 ? ICMP : ICMPV6);
    writer.bytes.set(reply, at);
    put16(writer.bytes, at + 4, identifier);
    writer.finishIp(at + reply.length);
  }

  #touch(ping: Ping): void {
    ping.deadline = this.#context.now() + IDLE_MS;
    this.#context.wakeAt(ping.deadline);
  }

  #close(ping: Ping): void {
    if (!this.#pings.delete(ping.key)) return;
    ping.socket.close();
  }

  #closeOldest(): void {
    let oldest: Ping | undefined;
    for (const ping of this.#pings.values()) {
      if (oldest === undefined || ping.deadline < oldest.deadline) oldest = ping;
    }
    if (oldest !== undefined) this.#close(oldest);
  }
}

function keyOf({ guest, identifier, target }: Echo): FlowKey {
  return new FlowKey(guest, identifier, target, 0);
}

function echoOf(packet: Packet): Echo {
  const { bytes, addresses, destination, addressBytes, start, end } = packet;
  const guest = bytes.slice(addresses, destination);
  const target = bytes.slice(destination, destination + addressBytes);
  const identifier = get16(bytes, start + 4);
  return {
    key: `${formatAddress(guest)} ${formatAddress(target)} ${identifier}`,
    guest,
    target,
    identifier,
    message: Buffer.from(bytes.subarray(start, end)),
    quoted: quote(packet),
  };
}
