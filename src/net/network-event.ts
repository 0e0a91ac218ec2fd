/** What a network did with a wish of its guest, for people and traces. */

export interface NetworkEvent {
  readonly protocol: "tcp" | "udp" | "icmp" | "dns" | "dhcp";
  /** `name:port`, by the name under which the guest found the address; a name that was asked for; an address. */
  readonly target: string;
  /**
   * open: data may pass. denied: by the rules, or by the program. refused: by the other end. answered: by the network
   * itself, or by the program. forwarded: to the host's resolvers. closed: an open connection has ended.
   */
  readonly verdict: "open" | "denied" | "refused" | "answered" | "forwarded" | "closed";
  readonly detail?: string;
}

export type NetworkObserver = (event: NetworkEvent) => void;

/** Who is called, if anybody is. Asked before an event is made, as most machines are not observed. */
export class NetworkEvents {
  observer: NetworkObserver | undefined;
}
