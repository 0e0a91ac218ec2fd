/**
 * iPXE for the cards that firmware is to boot from. SeaBIOS takes a card's option ROM from a fw_cfg file of this
 * name in place of one in the card (src/optionroms.c, lookup_hardcode).
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OptionError } from "../base/errors.ts";
import type { NetworkConfig } from "../config/devices/virtio-net.ts";
import type { CheckedOptions } from "./validate.ts";

/** Debian and Ubuntu; Fedora; QEMU installed by hand; RHEL. */
const FOLDERS = ["/usr/lib/ipxe/qemu", "/usr/share/ipxe/qemu", "/usr/share/qemu", "/usr/local/share/qemu"];
const NETWORK = "n";

/**
 * @param usual folders where ROMs are searched after `firmwareFolder`
 * @throws {OptionError} if a ROM that is needed is not on this host
 */
export function networkRoms(
  { network, bootOrder, bootOnce, firmwareFolder }: CheckedOptions,
  usual: readonly string[] = FOLDERS,
): Map<string, Uint8Array> {
  const folders = [...(firmwareFolder === undefined ? [] : [firmwareFolder]), ...usual];
  const roms = new Map<string, Uint8Array>();
  const isFirst = [bootOrder, bootOnce ?? ""].some((order) => order.startsWith(NETWORK));
  for (const card of network) {
    if (!isFirst && (card.bootindex ?? -1) < 0) continue;
    const [device, file] = romOf(card);
    roms.set(`pci${device}.rom`, readRom(file, folders));
  }
  return roms;
}

/** Vendor and device as SeaBIOS writes them, and iPXE's file. */
function romOf({ model, disableLegacy }: NetworkConfig): readonly [device: string, file: string] {
  if (model === "e1000") return ["8086,100e", "pxe-e1000.rom"];
  return [disableLegacy ? "1af4,1041" : "1af4,1000", "pxe-virtio.rom"];
}

function readRom(file: string, folders: readonly string[]): Uint8Array {
  const found = folders.map((each) => join(each, file)).find((path) => existsSync(path));
  if (found !== undefined) return readFileSync(found);
  throw new OptionError(
    `firmware boots from a network by iPXE: install the package ipxe-qemu (Fedora: ipxe-roms-qemu); ${file} is searched in ${folders.join(", ")}`,
  );
}
