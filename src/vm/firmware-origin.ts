/** Power cycles that begin with firmware: the boot CPU starts at the reset vector. */
import { firmwareFiles } from "../boot/firmware-files.ts";
import { packFwCfg } from "../boot/fw-cfg.ts";
import { firmwareDescription } from "../machine/describe/firmware.ts";
import type { Machine } from "../machine/machine.ts";
import { FIRMWARE, FW_CFG } from "../machine/pc-memories.ts";
import { setUpCpus } from "./cpus.ts";
import { readFirmware } from "./firmware-file.ts";
import type { Hardware } from "./hardware.ts";
import type { Origin } from "./power-cycle.ts";
import { FIRMWARE_PROTOCOL, type PowerOn } from "./power-on.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {OptionError} if there is no firmware */
export function firmwarePowerOn(options: CheckedOptions): PowerOn {
  const image = readFirmware(options.firmware, options.firmwareFolder);
  let { bootOnce } = options;
  const { uuid } = options;
  return {
    firmware() {
      const bootOrder = bootOnce ?? options.bootOrder;
      bootOnce = undefined;
      return {
        size: image.length,
        bootOrder,
        bootMenu: options.bootMenu,
        ...(uuid === undefined ? {} : { uuid }),
      };
    },
    origin: (note) => new FirmwareOrigin(image, options, note),
  };
}

class FirmwareOrigin implements Origin {
  readonly #image: Uint8Array;
  readonly #options: CheckedOptions;
  readonly #note: (text: string) => void;

  constructor(image: Uint8Array, options: CheckedOptions, note: (text: string) => void) {
    this.#image = image;
    this.#options = options;
    this.#note = note;
  }

  /** Returns the boot protocol's name. @throws {RangeError} if KVM has no read-only memory here */
  fill(hardware: Hardware, { spec, board }: Machine): string {
    const memory = (name: string): Uint8Array => {
      const found = hardware.memories.get(name);
      if (found === undefined)
        throw new RangeError("KVM on this host has no read-only memory, which firmware needs");
      return new Uint8Array(found.map(0, found.size));
    };
    memory(FIRMWARE).set(this.#image);
    const description = firmwareDescription(spec, board.parts(spec));
    const acpi = { ...description.acpi, more: this.#options.acpiTables ?? [] };
    const files = firmwareFiles({ ...description, acpi });
    memory(FW_CFG).set(packFwCfg(files));
    setUpCpus(hardware, spec, undefined, this.#options.cpuChoice).forEach(this.#note);
    return FIRMWARE_PROTOCOL;
  }
}
