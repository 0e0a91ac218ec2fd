/** The other end of a guest's vsock device, as the program's thread opens it once for a machine. */
import { Vhost } from "../../sys/vhost.ts";
import { VsockHost } from "./vsock-host.ts";

const VHOST_VSOCK = "/dev/vhost-vsock";

interface VsockOptions {
  readonly cid: number;
  readonly vhost: boolean;
  readonly vhostFd?: number | undefined;
}

/** Connections of this program, or the host's kernel. */
export type HostVsock = { readonly host: VsockHost } | { readonly kernel: Vhost };

/** @throws {SystemError} if the kernel has no vsock for this user, or another guest has the address */
export function openVsock({ cid, vhost, vhostFd }: VsockOptions): HostVsock {
  if (!vhost) return { host: new VsockHost(cid) };
  const kernel = vhostFd === undefined ? Vhost.open(VHOST_VSOCK) : Vhost.adopt(vhostFd);
  try {
    kernel.setGuestCid(cid);
  } catch (error) {
    kernel.close();
    throw error;
  }
  return { kernel };
}
