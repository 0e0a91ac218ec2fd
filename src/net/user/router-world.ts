/** What decides where a guest's packets lead, for TCP, UDP and pings alike. */
import type { NetworkEvent, NetworkEvents } from "../network-event.ts";
import { formatAddress } from "./addresses.ts";
import type { FlowKey } from "./flow-table.ts";
import type { Host } from "./host.ts";
import type { NameServer } from "./name-server.ts";
import type { NetworkPlan, UserNetworkOptions } from "./options.ts";

export interface RouterWorld {
  readonly plan: NetworkPlan;
  readonly options: UserNetworkOptions;
  readonly host: Host;
  readonly names: NameServer;
  readonly events: NetworkEvents;
}

/** Reports what became of a connection, or of the first datagram of a session. */
export function report(
  { events, names }: RouterWorld,
  protocol: "tcp" | "udp" | "icmp",
  key: FlowKey,
  verdict: NetworkEvent["verdict"],
  detail?: string,
): void {
  if (events.observer === undefined) return;
  const address = formatAddress(key.outer);
  const name = names.nameOf(address);
  const place = name ?? (address.includes(":") ? `[${address}]` : address);
  events.observer({
    protocol,
    target: protocol === "icmp" ? place : `${place}:${key.outerPort}`,
    verdict,
    ...(detail === undefined ? {} : { detail }),
  });
}
