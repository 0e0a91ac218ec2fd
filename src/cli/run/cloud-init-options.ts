/** `-cloud-init`: the seed of cloud-init, from files. QEMU has no such option; a seed is a -drive there. */
import { keysOf, readKeys } from "../../config/keys.ts";
import { table } from "../../config/schema.ts";
import { text } from "../../config/value.ts";
import { splitKeyValues } from "../key-values.ts";
import type { OptionRow } from "./option-row.ts";

const KEYS = keysOf(
  table({
    "user-data": { type: text("FILE"), help: "" },
    "meta-data": { type: text("FILE"), help: "" },
    "network-config": { type: text("FILE"), help: "" },
  }),
);

export const CLOUD_INIT_OPTIONS: readonly OptionRow[] = [
  {
    names: ["cloud-init"],
    argument: "user-data=FILE[,meta-data=FILE][,network-config=FILE]",
    example: "-cloud-init user-data=seed.yaml",
    help: "adds a read-only disk labelled cidata, which cloud-init and CirrOS read, with these files",
    apply: (draft, value, _typed, complain) => {
      draft.cloudInit = readKeys(splitKeyValues(value), KEYS, complain);
    },
  },
];
