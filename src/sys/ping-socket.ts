/**
 * A socket of the host for echo requests (icmp(7)): any user of a group in net.ipv4.ping_group_range may open one. The
 * kernel chooses the identifier, and passes only the replies to it.
 */
import { createSocket, type Socket } from "node:dgram";
import { native } from "./native.ts";

const AF_INET = 2;
const AF_INET6 = 10;

/** As a socket for datagrams: each is an ICMP message. Undefined if this host does not permit it. */
export function openPingSocket(family: 4 | 6): Socket | undefined {
  const descriptor = native.pingSocket(family === 4 ? AF_INET : AF_INET6);
  if (descriptor < 0) return undefined;
  const socket = createSocket(family === 4 ? "udp4" : "udp6");
  socket.bind({ fd: descriptor, exclusive: true });
  return socket;
}
