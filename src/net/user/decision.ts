/** What a program decides about a connection, or about the first datagram of a session: one question for TCP and UDP. */
import { formatAddress } from "./addresses.ts";
import type { FlowKey } from "./flow-table.ts";
import type { NameServer } from "./name-server.ts";
import type { ConnectionDecision, ConnectionRequest, UserNetworkOptions } from "./options.ts";

/** Asks `onConnect`. Without one, without an answer, and after an error the guest is denied. */
export async function askProgram(
  options: UserNetworkOptions,
  names: NameServer,
  protocol: ConnectionRequest["protocol"],
  key: FlowKey,
  sni?: string,
): Promise<ConnectionDecision> {
  const address = formatAddress(key.outer);
  const request: ConnectionRequest = {
    protocol,
    host: names.nameOf(address) ?? address,
    address,
    port: key.outerPort,
    guest: { address: formatAddress(key.guest), port: key.guestPort },
    ...(sni === undefined || sni === "" ? {} : { sni }),
  };
  try {
    return (await options.onConnect?.(request)) ?? "deny";
  } catch (error) {
    options.onNote?.(
      `onConnect threw for ${request.host}:${request.port}, which is denied: ${String(error)}`,
    );
    return "deny";
  }
}
