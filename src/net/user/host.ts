/** What the user network uses of the host. Tests give it another. */
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { getServers } from "node:dns";
import { readFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { openPingSocket } from "../../sys/ping-socket.ts";

export interface Host {
  /** A TCP connection; it emits "connect" or "error". */
  connect(address: string, port: number): Socket;
  connectPath(path: string): Socket;
  /** Accepted connections keep their writing half when the other side ends. */
  server(accepted: (socket: Socket) => void): Server;
  datagrams(family: 4 | 6): DatagramSocket;
  /** For ICMP echo requests; undefined if this user may not send them. */
  pings(family: 4 | 6): DatagramSocket | undefined;
  /** Addresses of resolvers, perhaps with a port. */
  nameservers(): readonly string[];
  /** The text of the hosts file. */
  hostsFile(): string;
}

export const nodeHost: Host = {
  connect: (host, port) => connect({ host, port, allowHalfOpen: true, noDelay: true, keepAlive: true }),
  connectPath: (path) => connect({ path, allowHalfOpen: true }),
  server: (accepted) => createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, accepted),
  datagrams: (family) => createSocket(family === 4 ? "udp4" : "udp6"),
  pings: openPingSocket,
  nameservers: getServers,
  hostsFile: () => {
    try {
      return readFileSync("/etc/hosts", "utf8");
    } catch {
      return "";
    }
  },
};
