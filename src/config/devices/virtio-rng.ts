import { device, ID } from "../device-table.ts";
import { table } from "../schema.ts";

const OPTIONS = table({
  /** A name that no other device of the machine has. */
  id: ID,
});

export const VIRTIO_RNG = device({
  kind: "virtio-rng",
  names: ["virtio-rng-device", "virtio-rng"],
  help: "a source of random numbers, from the host's",
  options: OPTIONS,
});
