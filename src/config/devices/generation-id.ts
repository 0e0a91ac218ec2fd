import { device, ID } from "../device-table.ts";
import { table } from "../schema.ts";
import { only } from "../value.ts";

export const GENERATION_ID = device({
  kind: "generation-id",
  names: ["vmgenid"],
  help: "a VM generation ID; always there, unless -machine generation-id=off",
  options: table({ id: ID }),
  deviceKeys: table({
    guid: {
      type: only("auto", "each machine and each copy gets a new one"),
      qemu: { device: ["guid"] },
      help: "accepted",
    },
  }),
});
