/** A virtio entropy device. */
import { VirtioRng } from "../../virtio/rng.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

export const virtioRng: VirtioPart<object> = {
  kind: "virtio-rng",
  unit({ ports: { io } }) {
    return { device: new VirtioRng(io && { memory: io.memory, source: { fill: io.random } }) };
  },
};
