/** Finds the firmware of a PC on the host: SeaBIOS, where distributions have it. */
import { existsSync, readFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { OptionError } from "../base/errors.ts";
import { KIB, MIB } from "../base/units.ts";

const SEABIOS = "bios-256k.bin";
/** Debian, Ubuntu and Fedora; Arch; QEMU installed by hand; RHEL. */
const FOLDERS = ["/usr/share/seabios", "/usr/share/qemu", "/usr/local/share/qemu", "/usr/share/qemu-kvm"];

/** Firmware is mapped so that it ends at 4 GiB and begins on a boundary of this. */
const UNIT = 64 * KIB;
/** More would reach the I/O APIC's and the local APICs' pages. */
const MOST = 8 * MIB;

/**
 * The image, filled up at its front to a multiple of 64 KiB.
 * @param firmware an image, or the name of its file; SeaBIOS without it
 * @param folder where names are searched first
 */
export function readFirmware(
  firmware: string | Uint8Array | undefined,
  folder: string | undefined,
): Uint8Array {
  const bytes = typeof firmware === "object" ? firmware : readImage(firmware, folder);
  const name = typeof firmware === "string" ? `firmware "${firmware}"` : "firmware";
  if (bytes.length === 0 || bytes.length > MOST) {
    throw new OptionError(`${name}: ${bytes.length} bytes are not a BIOS; it has up to 8 MiB`);
  }
  const padded = new Uint8Array(Math.ceil(bytes.length / UNIT) * UNIT);
  padded.set(bytes, padded.length - bytes.length);
  return padded;
}

function readImage(name: string | undefined, folder: string | undefined): Uint8Array {
  const folders = [...(folder === undefined ? [] : [folder]), ...FOLDERS];
  if (name !== undefined && (isAbsolute(name) || existsSync(name))) return read(name);
  const found = folders.map((each) => join(each, name ?? SEABIOS)).find((path) => existsSync(path));
  if (found !== undefined) return read(found);
  if (name !== undefined) {
    throw new OptionError(`firmware "${name}": there is no such file, nor one in ${folders.join(", ")}`);
  }
  throw new OptionError(
    `there is no firmware for a pc: install the package seabios (Fedora: seabios-bin), or give an image with -bios FILE; ${SEABIOS} is searched in ${folders.join(", ")}`,
  );
}

function read(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw error instanceof Error ? new OptionError(`firmware "${path}": ${error.message}`) : error;
  }
}
