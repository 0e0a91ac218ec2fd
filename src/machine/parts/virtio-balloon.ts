/** A memory balloon: see virtio/balloon.ts. */
import { type BalloonOptions, BalloonState, VirtioBalloon } from "../../virtio/balloon.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

export const virtioBalloon: VirtioPart<BalloonOptions> = {
  kind: "virtio-balloon",
  unit({ name, take, ports }, config) {
    const { io } = ports;
    const news = ports.ready(name);
    const ioSide = io && { memory: io.memory, discard: io.discard, reported: () => news.raise() };
    return { device: new VirtioBalloon(config, take(BalloonState), ioSide) };
  },
};
