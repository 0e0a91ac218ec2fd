/** `vmexit/network`: networks for a machine's cards. By name; nothing else. */

export { CaptureFile, captured } from "./net/capture.ts";
export { FramePort } from "./net/frame-port.ts";
export type { GuestLink, Network, Offload } from "./net/link.ts";
export { NetworkSwitch } from "./net/network-switch.ts";
export type { ConnectNetwork } from "./net/program-network.ts";
export type { GuestForward, GuestForwardTarget, HostForward, OpenForward } from "./net/user/forwards.ts";
export type { Metadata, MetadataTree } from "./net/user/metadata.ts";
export type {
  ConnectionDecision,
  ConnectionRequest,
  DnsDecision,
  DnsQuestion,
  UserNetworkOptions,
} from "./net/user/options.ts";
export { UserNet } from "./net/user/user-net.ts";
export type { UserNetworkCounters } from "./net/user/user-network.ts";
