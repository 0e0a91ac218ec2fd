/** Power cycles that begin with firmware: the boot CPU starts at the reset vector. */
import { firmwareFiles } from "../boot/firmware-files.ts";
import { firmwareDescription, type OwnerFiles } from "../machine/describe/firmware.ts";
import type { Machine } from "../machine/machine.ts";
import { FIRMWARE, flashMemory } from "../machine/pc-memories.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { setUpCpus } from "./cpus.ts";
import { readFirmware } from "./firmware-file.ts";
import { type FlashFile, openFlash } from "./flash-files.ts";
import { generationIdPlace, setGenerationId } from "./generation-id.ts";
import type { Hardware } from "./hardware.ts";
import { networkRoms } from "./network-roms.ts";
import type { Origin } from "./power-cycle.ts";
import { FIRMWARE_PROTOCOL, type PowerOn } from "./power-on.ts";
import { bytesOf, ownerFiles, putFwCfg } from "./user-files.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {OptionError} if there is no firmware */
export function firmwarePowerOn(options: CheckedOptions): PowerOn {
  const chips = openFlash(options.flash);
  const image = chips.length > 0 ? new Uint8Array() : readFirmware(options.firmware, options.firmwareFolder);
  let { bootOnce } = options;
  const given = ownerFiles(options);
  // UEFI has drivers of its own.
  const roms = chips.length > 0 ? [] : networkRoms(options);
  const owner = { ...given, userFiles: new Map([...roms, ...given.userFiles]) };
  const uuid = owner.smbios.text(1, "uuid") ?? options.uuid;
  return {
    userFilesBytes: bytesOf(owner.userFiles),
    firmware() {
      const bootOrder = bootOnce ?? options.bootOrder;
      bootOnce = undefined;
      return {
        size: image.length,
        ...(chips.length === 0 ? {} : { flash: chips.map(({ size, readOnly }) => ({ size, readOnly })) }),
        bootOrder,
        bootMenu: options.bootMenu,
        ...(options.bootStrict ? { bootStrict: true } : {}),
        ...(uuid === undefined ? {} : { uuid }),
      };
    },
    origin: (note) => new FirmwareOrigin(image, chips, options, owner, note),
  };
}

class FirmwareOrigin implements Origin {
  readonly #image: Uint8Array;
  readonly #chips: readonly FlashFile[];
  readonly #options: CheckedOptions;
  readonly #owner: OwnerFiles;
  readonly #note: (text: string) => void;

  constructor(
    image: Uint8Array,
    chips: readonly FlashFile[],
    options: CheckedOptions,
    owner: OwnerFiles,
    note: (text: string) => void,
  ) {
    this.#owner = owner;
    this.#image = image;
    this.#chips = chips;
    this.#options = options;
    this.#note = note;
  }

  memories(): ReadonlyMap<string, GuestRam> {
    return new Map(this.#chips.map((chip, n) => [flashMemory(n), chip.map()]));
  }

  /** Returns the boot protocol's name. @throws {RangeError} if KVM has no read-only memory here */
  fill(hardware: Hardware, machine: Machine): string {
    const { spec, board } = machine;
    if (hardware.vm.checkExtension("READONLY_MEM") <= 0)
      throw new RangeError("KVM on this host has no read-only memory, which firmware needs");
    const image = hardware.memories.get(FIRMWARE);
    if (image !== undefined) new Uint8Array(image.map(0, image.size)).set(this.#image);
    const description = firmwareDescription(spec, board.parts(spec), this.#owner);
    const generationId = generationIdPlace(machine);
    const acpi = {
      ...description.acpi,
      more: this.#options.acpiTables ?? [],
      ...(generationId === undefined ? {} : { generationId }),
    };
    setGenerationId(hardware, machine);
    const files = firmwareFiles({ ...description, acpi });
    putFwCfg(hardware, files);
    setUpCpus(hardware, spec, undefined, this.#options.cpuChoice).forEach(this.#note);
    return FIRMWARE_PROTOCOL;
  }
}
