/**
 * Options of QEMU's that people will try and that mean nothing to this machine:
 * what to say instead of "unknown option".
 *
 * Source: QEMU 7.2, qemu-options.hx.
 */

const DISK = "this machine has virtio disks only; use -drive file=PATH,format=raw,if=virtio";
const NETWORK = "this version has no network device";
const DISPLAY = "this machine has no display; its console is -serial";
const CONTROL = "this version cannot be controlled from outside while it runs";
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
    netdev: NETWORK,
    vnc: DISPLAY,
    spice: DISPLAY,
    sdl: DISPLAY,
    curses: DISPLAY,
    qmp: CONTROL,
    mon: CONTROL,
    loadvm: CONTROL,
    incoming: CONTROL,
    usb: "this machine has no USB",
    usbdevice: "this machine has no USB",
    object:
      "not needed here: virtio-rng-device takes the host's random numbers, and -memory-backing names the memory",
    chardev: "name the place at -serial itself: stdio, file:PATH, pty or none",
    numa: "this version gives all memory to one node",
    daemonize:
      "not known; start it in the background with your shell or service manager, and -serial file:PATH",
    pidfile: "not known",
  }),
);

/** The sentence for an option of QEMU's, given without its dashes; undefined for any other word. */
export function refuseQemuOption(name: string): string | undefined {
  return REFUSED.get(name);
}
