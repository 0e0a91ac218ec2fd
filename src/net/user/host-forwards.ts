/** Ports of the host that lead to the guest: `hostfwd=`. */
import { once } from "node:events";
import type { Server, Socket } from "node:net";
import { OptionError } from "../../base/errors.ts";
import { formatAddress, fromNumber, parseIpv4 } from "./addresses.ts";
import type { HostForward, OpenForward } from "./forwards.ts";
import type { Host } from "./host.ts";
import type { NetworkPlan } from "./options.ts";
import type { UdpSession, UdpSessions } from "./udp-sessions.ts";

const LOOPBACK = "127.0.0.1";

export interface ForwardTargets {
  /** Connects an accepted socket to the guest. */
  accept(socket: Socket, guest: Uint8Array, port: number): void;
  readonly sessions: UdpSessions;
  /** From where the guest sees them. */
  readonly gateway: Uint8Array;
}

/** Listens. @throws {OptionError} if the host does not let it, or the port is in use */
export async function openForward(
  forward: HostForward,
  plan: NetworkPlan,
  host: Host,
  targets: ForwardTargets,
): Promise<OpenForward> {
  const guest =
    forward.guestAddress === undefined ? fromNumber(plan.firstLease) : parseIpv4(forward.guestAddress);
  if (guest === undefined) throw new OptionError(`hostfwd: "${forward.guestAddress}" is not an IPv4 address`);
  const { protocol, hostAddress = LOOPBACK, hostPort, guestPort } = forward;
  try {
    const open = protocol === "tcp" ? listenTcp : listenUdp;
    const [port, close] = await open(hostAddress, hostPort, guest, guestPort, host, targets);
    return { protocol, hostAddress, hostPort: port, guestAddress: formatAddress(guest), guestPort, close };
  } catch (error) {
    throw new OptionError(`hostfwd ${protocol}:${hostAddress}:${hostPort}: ${reasonOf(error)}`);
  }
}

type Opened = [port: number, close: () => Promise<void>];

async function listenTcp(
  address: string,
  port: number,
  guest: Uint8Array,
  guestPort: number,
  host: Host,
  targets: ForwardTargets,
): Promise<Opened> {
  const server: Server = host.server((socket) => targets.accept(socket, guest, guestPort));
  server.listen(port, address);
  await once(server, "listening");
  server.on("error", () => {}); // of one connection that could not be accepted
  server.unref();
  const bound = server.address();
  const close = async () => {
    const closed = once(server, "close");
    server.close();
    await closed;
  };
  return [bound !== null && typeof bound === "object" ? bound.port : port, close];
}

async function listenUdp(
  address: string,
  port: number,
  guest: Uint8Array,
  guestPort: number,
  host: Host,
  { sessions, gateway }: ForwardTargets,
): Promise<Opened> {
  const socket = host.datagrams(address.includes(":") ? 6 : 4);
  const peers = new Map<string, UdpSession>();
  socket.on("message", (data, from) => {
    const name = `${from.address} ${from.port}`;
    let session = peers.get(name);
    if (session === undefined || session.isClosed) {
      session = sessions.addInbound(guest, guestPort, gateway);
      session.open((answer) => socket.send(Buffer.from(answer), from.port, from.address));
      session.onClosed = () => peers.delete(name);
      peers.set(name, session);
    }
    session.output(data);
  });
  socket.bind(port, address);
  await once(socket, "listening");
  socket.on("error", () => {});
  socket.unref();
  const close = async () => {
    for (const session of peers.values()) session.close();
    const closed = once(socket, "close");
    socket.close();
    await closed;
  };
  return [socket.address().port, close];
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") return "this port of the host is in use";
  if (code === "EACCES") return "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)";
  if (code === "EADDRNOTAVAIL") return "the host has no such address";
  return error.message;
}
