/**
 * Options of QEMU that are not built, with what to do instead. other-options.ts has those that no machine of
 * this version will have.
 *
 * Source: QEMU 11.1 and 7.2, qemu-options.hx.
 */

import { ACCEPTED, REFUSED as OTHERS, type OtherOption } from "./other-options.ts";

const DISK = "this machine has virtio disks only; use -drive file=PATH,format=raw,if=virtio";
const DISPLAY = "this machine has no display; its console is -serial";
const CONTROL = "this version has no monitor";
const FIRMWARE = "this version has no UEFI firmware and no flash; -bios FILE gives a BIOS";

const REFUSED: ReadonlyMap<string, string> = new Map(
  Object.entries({
    fda: DISK,
    sd: DISK,
    pflash: FIRMWARE,
    vnc: DISPLAY,
    spice: DISPLAY,
    sdl: DISPLAY,
    curses: DISPLAY,
    qmp: CONTROL,
    mon: CONTROL,
    incoming: "this version has no migration; -loadvm DIR starts from a snapshot",
    usb: "this machine has no USB",
    usbdevice: "this machine has no USB",
    chardev: "write the place in -serial: stdio, file:PATH, pty or none",
    daemonize:
      "not supported; start it in the background with your shell or service manager, and -serial file:PATH",
    pidfile: "not supported",
  }),
);

/** The sentence for an option of QEMU, without its dashes; undefined for any other word. */
export function refuseQemuOption(name: string): string | undefined {
  return REFUSED.get(name) ?? OTHERS.find((option) => option.name === name)?.why;
}

/** The option of that name if it is accepted and changes nothing. */
export function acceptedQemuOption(name: string): OtherOption | undefined {
  return ACCEPTED.find((option) => option.name === name);
}

/**
 * The rows of the manual: what becomes of options that are not built.
 * @param built names of those that are
 */
export function qemuOptionRows(built: ReadonlySet<string>): { name: string; answer: string }[] {
  const refused = [...REFUSED].map(([name, why]) => ({ name, answer: `refused: ${why}` }));
  const others = OTHERS.map(({ name, why }) => ({ name, answer: `refused: ${why}` }));
  const accepted = ACCEPTED.map(({ name, why }) => ({ name, answer: `accepted: ${why}` }));
  const rows = new Map([...accepted, ...others, ...refused].map((row) => [row.name, row]));
  return [...rows.values()]
    .filter(({ name }) => !built.has(name))
    .sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1));
}
