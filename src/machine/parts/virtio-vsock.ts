/** A vsock device. The io thread finds its other end by the part's name. */
import { VirtioVsock, VirtioVsockState, type VsockConfig } from "../../virtio/vsock/vsock.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

export const virtioVsock: VirtioPart<VsockConfig> = {
  kind: "virtio-vsock",
  unit({ name, take, ports }, config) {
    const { io } = ports;
    const regs = take(VirtioVsockState);
    if (io === undefined) return { device: new VirtioVsock(config, regs) };
    const backEnd = io.network(name);
    const backend = backEnd.kernelQueues === undefined ? backEnd.backend : undefined;
    return { device: new VirtioVsock(config, regs, { memory: io.memory, backend }), backEnd };
  },
};
