/** A virtio entropy device. */
import { VirtioRng } from "../../virtio/rng.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

export const virtioRng: VirtioPart<object> = {
  kind: "virtio-rng",
  device({ ports: { io } }) {
    if (io === undefined) return new VirtioRng();
    return new VirtioRng({ memory: io.memory, source: { fill: (bytes) => io.random(bytes) } });
  },
};
