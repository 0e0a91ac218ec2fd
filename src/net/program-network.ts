/** A network that a program provides for one card. */
import type { GuestLink, Network } from "./link.ts";

/** Called once for a machine; a reset of the guest is `Network.reset`. */
export type ConnectNetwork = (link: GuestLink) => Network | Promise<Network>;
