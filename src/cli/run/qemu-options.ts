/**
 * Options of QEMU that mean nothing to this machine, with what to do instead.
 *
 * Source: QEMU 7.2, qemu-options.hx.
 */

const DISK = "this machine has virtio disks only; use -drive file=PATH,format=raw,if=virtio";
const DISPLAY = "this machine has no display; its console is -serial";
const CONTROL = "this version has no monitor";
const FIRMWARE = "this machine has no firmware; give it a kernel with -kernel";

const REFUSED: ReadonlyMap<string, string> = new Map(
  Object.entries({
    hda: DISK,
    hdb: DISK,
    hdc: DISK,
    hdd: DISK,
    cdrom: DISK,
    fda: DISK,
    sd: DISK,
    pflash: FIRMWARE,
    bios: FIRMWARE,
    boot: FIRMWARE,
    vnc: DISPLAY,
    spice: DISPLAY,
    sdl: DISPLAY,
    curses: DISPLAY,
    qmp: CONTROL,
    mon: CONTROL,
    incoming: "this version has no migration; -loadvm DIR starts from a snapshot",
    usb: "this machine has no USB",
    usbdevice: "this machine has no USB",
    object:
      "not needed: virtio-rng-device uses the host's random numbers, and -memory-backing selects the memory",
    chardev: "write the place in -serial: stdio, file:PATH, pty or none",
    numa: "in this version all memory is in one node",
    daemonize:
      "not supported; start it in the background with your shell or service manager, and -serial file:PATH",
    pidfile: "not supported",
  }),
);

/** The sentence for an option of QEMU, without its dashes; undefined for any other word. */
export function refuseQemuOption(name: string): string | undefined {
  return REFUSED.get(name);
}
