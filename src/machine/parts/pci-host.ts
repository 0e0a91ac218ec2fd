/** The ports of a PCI bus: configuration space and the reset register; and the bus's interrupt lines. */
import { ConfigPorts, ConfigPortsState } from "../../pci/bus.ts";
import { InterruptRouter, InterruptRouterState } from "../../pci/interrupt-router.ts";
import type { Part } from "../part.ts";
import type { PciSegment } from "../pci-part.ts";

export const pciHost: Part<PciSegment> = {
  kind: "pci-host",
  assemble(slot, segment) {
    const { ports, place } = slot;
    const regs = slot.take(InterruptRouterState);
    const router: InterruptRouter = new InterruptRouter(
      regs,
      slot.addHidden({ read: () => 0, write() {}, reset: () => router.reset(place.gsi ?? 0) }),
      ports.driveIrq,
    );
    segment.router = router;
    slot.drivesLines(router);
    return { lock: slot.add(new ConfigPorts(slot.take(ConfigPortsState), segment.bus, ports.power)) };
  },
};
