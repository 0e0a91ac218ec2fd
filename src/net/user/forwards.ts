/** `hostfwd=` and `guestfwd=`, in QEMU's syntax. */
import type { Duplex } from "node:stream";
import { OptionError } from "../../base/errors.ts";
import { parseIpv4 } from "./addresses.ts";

/** A port of the host that leads to a port of the guest. */
export interface HostForward {
  readonly protocol: "tcp" | "udp";
  /** Where the host listens. Default 127.0.0.1. */
  readonly hostAddress?: string | undefined;
  /** 0: the host chooses one. */
  readonly hostPort: number;
  /** Default: the first address that DHCP gives. */
  readonly guestAddress?: string | undefined;
  readonly guestPort: number;
}

/** An address and port of the guest's network that lead elsewhere. */
export interface GuestForward {
  readonly server: string;
  readonly port: number;
  readonly to: GuestForwardTarget;
}

export type GuestForwardTarget =
  /** Run for each connection; its standard input and output are the connection. */
  | { readonly command: string }
  | { readonly host: string; readonly port: number }
  | { readonly path: string }
  | { open(): Duplex };

const HOST_FORWARD = /^(?:(tcp|udp)|):([^:]*):(\d+)-([^:]*):(\d+)$/;

/** `tcp:127.0.0.1:2222-10.0.2.15:22`, `tcp::2222-:22`, `::2222-:22`. @throws {OptionError} */
export function parseHostForward(text: string, guest?: string): HostForward {
  const refuse = (why: string): never => {
    throw new OptionError(
      `hostfwd=${text}: ${why}; expected [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`,
    );
  };
  const match = HOST_FORWARD.exec(text) ?? refuse("not a forward");
  const [, protocol, hostAddress, hostPort, guestAddress, guestPort] = match;
  if (hostAddress !== "" && parseIpv4(hostAddress) === undefined)
    refuse(`"${hostAddress}" is not an IPv4 address`);
  if (guestAddress !== "" && parseIpv4(guestAddress) === undefined) {
    refuse(`"${guestAddress}" is not an IPv4 address`);
  }
  if (Number(hostPort) > 65_535) refuse(`${hostPort} is not a port`);
  if (Number(guestPort) > 65_535 || Number(guestPort) === 0) refuse(`${guestPort} is not a port`);
  return {
    protocol: protocol === "udp" ? "udp" : "tcp",
    hostAddress: hostAddress === "" ? undefined : hostAddress,
    hostPort: Number(hostPort),
    guestAddress: guestAddress === "" ? guest : guestAddress,
    guestPort: Number(guestPort),
  };
}

const GUEST_FORWARD = /^(?:tcp|):([^:]+):(\d+)-(.+)$/;
const TCP_TARGET = /^tcp:([^:]+):(\d+)$/;

/** `tcp:10.0.2.100:80-cmd:cat`, `…-tcp:127.0.0.1:8080`, `…-unix:/path`. @throws {OptionError} */
export function parseGuestForward(text: string): GuestForward {
  const refuse = (why: string): never => {
    throw new OptionError(
      `guestfwd=${text}: ${why}; expected [tcp]:server:port-cmd:command, -tcp:host:port or -unix:path`,
    );
  };
  const match = GUEST_FORWARD.exec(text) ?? refuse("not a forward");
  const [, server, port, target] = match;
  if (parseIpv4(server) === undefined) refuse(`"${server}" is not an IPv4 address`);
  if (Number(port) > 65_535 || Number(port) === 0) refuse(`${port} is not a port`);
  const to = targetOf(target) ?? refuse(`a target "${target}" is not supported`);
  return { server, port: Number(port), to };
}

function targetOf(text: string): GuestForwardTarget | undefined {
  if (text.startsWith("cmd:")) return { command: text.slice(4) };
  if (text.startsWith("unix:")) return { path: text.slice(5) };
  const tcp = TCP_TARGET.exec(text);
  return tcp === null ? undefined : { host: tcp[1], port: Number(tcp[2]) };
}

/** A forward that is open. */
export interface OpenForward {
  readonly protocol: "tcp" | "udp";
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly guestAddress: string;
  readonly guestPort: number;
  close(): Promise<void>;
}
