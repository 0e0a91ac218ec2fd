/** A network card. The io thread finds what it is connected to by the part's name. */

import { NET_FIELDS } from "../../net/card-counters.ts";
import { type NetCard, VirtioNet } from "../../virtio/net/net.ts";
import { VirtioNetState } from "../../virtio/net/net-registers.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

export const virtioNet: VirtioPart<NetCard> = {
  kind: "virtio-net",
  bootNodes: ["ethernet", "ethernet-phy@0"],
  unit({ name, take, ports }, config) {
    const { io } = ports;
    const counters = ports.counters(name, NET_FIELDS);
    const regs = take(VirtioNetState);
    if (io === undefined) return { device: new VirtioNet(config, regs) };
    const { memory, report } = io;
    const backEnd = io.network(name);
    const ioSide = { name, backend: backEnd.backend, memory, report, counters };
    return { device: new VirtioNet(config, regs, ioSide), backEnd };
  },
};
