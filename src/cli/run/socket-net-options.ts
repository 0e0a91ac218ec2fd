/**
 * `-netdev socket`, `stream`, `dgram` and `hubport`: cables to other monitors.
 *
 * Source: QEMU 7.2, qemu-options.hx and qapi/net.json (NetdevSocketOptions,
 * NetdevStreamOptions, NetdevDgramOptions, NetdevHubPortOptions).
 */
import type { NetworkOptions } from "../../config/devices/virtio-net.ts";
import { type KeyValue, keysOf, readKeys } from "../../config/keys.ts";
import { table } from "../../config/schema.ts";
import { flag, integer, refused, text, words } from "../../config/value.ts";
import type { NetworkSwitch } from "../../net/network-switch.ts";
import type { DatagramOptions, SocketPlace, StreamOptions } from "../../net/socket-network.ts";
import type { Complain } from "../key-values.ts";

const port = integer(1, 65_535, "PORT");

export const SOCKET_KEYS = keysOf(
  table({
    listen: { type: text("[HOST]:PORT"), help: "waits for another monitor there, by TCP" },
    connect: { type: text("HOST:PORT"), help: "connects to one" },
    mcast: { type: text("GROUP:PORT"), help: "a cable for all monitors that name this group, by UDP" },
    udp: { type: text("HOST:PORT"), help: "another monitor, by UDP; with localaddr=" },
    localaddr: {
      type: text("[HOST]:PORT"),
      help: "where it reaches this one; with mcast= an interface's address",
    },
    fd: { type: refused("an open socket cannot be passed; use connect=, or -netdev stream"), help: "" },
  }),
);

export const STREAM_KEYS = keysOf(
  table({
    server: { type: flag, help: "waits for the other side (default: off)" },
    "addr.type": { type: words(["inet", "unix"]), help: "how it is reached (required)" },
    "addr.host": { type: text("HOST"), help: "of an inet socket" },
    "addr.port": { type: port, help: "of an inet socket" },
    "addr.path": { type: text("PATH"), help: "of a unix socket" },
    reconnect: {
      type: integer(0, 86_400, "SECONDS"),
      help: "when a connection that ended is tried again (default: never)",
    },
  }),
);

const ONLY_INET = words(["inet"]);
export const DGRAM_KEYS = keysOf(
  table({
    "remote.type": { type: ONLY_INET, help: "UDP (required)" },
    "remote.host": {
      type: text("HOST"),
      help: "where frames are sent; a group is a cable for all who name it",
    },
    "remote.port": { type: port, help: "its port" },
    "local.type": { type: ONLY_INET, help: "UDP" },
    "local.host": { type: text("HOST"), help: "where frames come (default: anywhere)" },
    "local.port": { type: port, help: "its port" },
  }),
);

export const HUBPORT_KEYS = keysOf(
  table({
    hubid: {
      type: integer(0, 2 ** 31 - 1),
      required: "the hub is missing: hubid=N",
      help: "the hub's number (required)",
    },
    netdev: { type: refused("a hub connects cards; give the other network a card of its own"), help: "" },
  }),
);

/** The frames of a socket are complete, so the card leaves nothing to it. */
function stream(options: StreamOptions): NetworkOptions {
  return {
    offloads: false,
    connect: async (link) => (await import("../../net/socket-network.ts")).streamNetwork(options)(link),
  };
}

function datagrams(options: DatagramOptions): NetworkOptions {
  return {
    offloads: false,
    connect: async (link) => (await import("../../net/socket-network.ts")).datagramNetwork(options)(link),
  };
}

export function socketNetwork(pairs: readonly KeyValue[], complain: Complain): NetworkOptions {
  const { listen, connect, mcast, udp, localaddr } = readKeys(pairs, SOCKET_KEYS, complain);
  const ways = [listen, connect, mcast, udp].filter((way) => way !== undefined);
  if (ways.length !== 1) throw complain("give one of listen=, connect=, mcast= and udp=");
  if (listen !== undefined) return stream({ place: placeOf(listen, complain), isServer: true });
  if (connect !== undefined) return stream({ place: placeOf(connect, complain), isServer: false });
  const remote = placeOf(mcast ?? udp ?? "", complain);
  if (mcast !== undefined)
    return datagrams({ remote, isMulticast: true, via: localaddr?.replace(/:\d*$/, "") });
  if (localaddr === undefined)
    throw complain("udp= needs localaddr=[HOST]:PORT, where the other side sends its frames");
  return datagrams({ remote, local: bindOf(localaddr, complain), isMulticast: false });
}

export function streamSocket(pairs: readonly KeyValue[], complain: Complain): NetworkOptions {
  const said = readKeys(pairs, STREAM_KEYS, complain);
  const {
    "addr.type": type,
    "addr.host": host,
    "addr.port": port,
    "addr.path": path,
    server = false,
    reconnect = 0,
  } = said;
  if (server && reconnect > 0) throw complain("reconnect= is for the side that connects: server=off");
  const common = { isServer: server, reconnectMs: reconnect === 0 ? undefined : reconnect * 1000 };
  if (type === "unix") {
    if (path === undefined) throw complain("the socket's name is missing: addr.path=PATH");
    return stream({ ...common, place: { path } });
  }
  if (type === undefined) throw complain("the place is missing: addr.type=inet or unix, and its other keys");
  if (port === undefined) throw complain("the port is missing: addr.port=PORT");
  const place: SocketPlace = host === undefined || host === "" ? { port } : { host, port };
  return stream({ ...common, place });
}

export function datagramSocket(pairs: readonly KeyValue[], complain: Complain): NetworkOptions {
  const said = readKeys(pairs, DGRAM_KEYS, complain);
  const { "remote.host": host, "remote.port": port, "local.host": localHost, "local.port": localPort } = said;
  if (said["remote.type"] === undefined || host === undefined || port === undefined) {
    throw complain("the other side is missing: remote.type=inet,remote.host=HOST,remote.port=PORT");
  }
  const remote = { host, port };
  if (isGroup(host)) return datagrams({ remote, isMulticast: true, via: localHost });
  if (localPort === undefined)
    throw complain("the port for its frames is missing: local.type=inet,local.port=PORT");
  return datagrams({ remote, local: { host: localHost, port: localPort }, isMulticast: false });
}

/** @param hubs those of this command line, by number */
export function hubPort(
  pairs: readonly KeyValue[],
  complain: Complain,
  hubs: Map<number, Promise<NetworkSwitch>>,
): NetworkOptions {
  const { hubid = 0 } = readKeys(pairs, HUBPORT_KEYS, complain);
  return {
    connect: async (link) => {
      const hub = hubs.get(hubid) ?? makeSwitch();
      hubs.set(hubid, hub);
      return (await hub).plug(link);
    },
  };
}

async function makeSwitch(): Promise<NetworkSwitch> {
  const { NetworkSwitch } = await import("../../net/network-switch.ts");
  return new NetworkSwitch();
}

function placeOf(given: string, complain: Complain): { host: string; port: number } {
  const { host = "127.0.0.1", port } = bindOf(given, complain);
  return { host, port };
}

function bindOf(given: string, complain: Complain): { host?: string; port: number } {
  const found = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(given);
  const port = Number(found?.[3]);
  if (found === null || port === 0 || port > 65_535)
    throw complain(`"${given}" is not a place as in 127.0.0.1:1234`);
  const host = found[1] ?? found[2];
  return host === "" ? { port } : { host, port };
}

function isGroup(host: string): boolean {
  return /^(22[4-9]|23\d)\./.test(host) || /^ff/i.test(host);
}
