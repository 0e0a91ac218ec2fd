/**
 * The other options of QEMU 11.1 and 7.2: those that change nothing here, which are accepted, and those that
 * are refused, with what to do instead.
 *
 * Source: `qemu-system-x86_64 -help` of 11.1.3 and 7.2.22, and qemu-options.hx. A test compares the names.
 */

export interface RefusedOption {
  readonly name: string;
  readonly why: string;
}

export interface AcceptedOption extends RefusedOption {
  /** It takes a value. */
  readonly hasValue: boolean;
}

const NO_DISPLAY = "this machine has no display";

/** They say what is so anyway, or concern what is not there. */
export const ACCEPTED: readonly AcceptedOption[] = [
  ...flags("the check concerns floppy disks alone", "no-fd-bootchk"),
  ...flags("no disk here needs it", "win2k-hack"),
  ...flags("this machine has no HPET", "no-hpet"),
  ...flags(NO_DISPLAY, "full-screen", "portrait"),
  ...values(NO_DISPLAY, "rotate"),
  ...flags("no device prevents snapshots", "only-migratable"),
  ...values("it changes nothing; give a property to the device itself, with -device", "global"),
  ...values("the terminal decides what a key is", "k"),
  ...values("messages have one form", "msg"),
  ...values("nothing is deprecated", "compat"),
  ...values("random numbers are the host's", "seed"),
  ...values("memory is not locked, and CPUs may idle", "overcommit"),
];

/** They would have to do something. */
export const REFUSED: readonly RefusedOption[] = [
  ...refused("the tables of the machine describe it completely", "acpitable"),
  ...refused("give the descriptor where it is used, as in -netdev tap,fd=N", "add-fd"),
  ...refused("write the value in the option itself", "set"),
  ...refused("this machine has no sound", "audio", "audiodev", "audio-help"),
  ...refused(
    "start the command as that user, with your service manager or with setpriv",
    "async-teardown",
    "chroot",
    "runas",
    "run-with",
  ),
  ...refused("-trace records what happens; see -trace help", "d", "D", "dfilter", "dump-vmstate"),
  ...refused(
    "it is of QEMU's emulator; guests run under KVM here",
    "enable-sync-profile",
    "perfmap",
    "jitdump",
    "singlestep",
    "plugin",
    "icount",
  ),
  ...refused("a PC has no device tree", "dtb"),
  ...refused("the key is Ctrl-A", "echr"),
  ...refused("this version shares no folders; give the guest a disk image", "fsdev", "virtfs"),
  ...refused("give the disk with -drive file=PATH", "mtdblock"),
  ...refused("this version takes no files for firmware", "fw_cfg", "option-rom", "smbios", "shim"),
  ...refused("use an NBD server, or a block device of the host", "iscsi"),
  ...refused("guests find devices by ACPI", "no-acpi"),
  ...refused("the machine ends when its guest shuts down", "no-shutdown"),
  ...refused("this version has no migration; -loadvm DIR starts from a snapshot", "incoming"),
  ...refused("this version has no UEFI firmware and no flash; -bios FILE gives a BIOS", "pflash"),
  ...refused("write the place in -serial: stdio, file:PATH, pty or none", "chardev"),
  ...refused(
    "not supported; start it in the background with your shell or service manager, and -serial file:PATH",
    "daemonize",
  ),
  ...refused("not supported", "pidfile"),
  ...refused("this machine has no display; its console is -serial", "vnc", "spice", "sdl", "curses"),
  ...refused("this machine has no USB", "usb", "usbdevice"),
  ...refused("this version has no monitor", "qmp", "mon", "qmp-pretty", "preconfig"),
  ...refused("it is for tests of QEMU", "qtest", "qtest-log"),
  ...refused("the process is not confined; run it under a user account of its own", "sandbox"),
  ...refused("guests run under KVM, not under Xen", "xen-attach", "xen-domid", "xen-domid-restrict"),
  ...refused("this machine has no TPM", "tpmdev"),
  ...refused("this machine has no watchdog", "watchdog-action"),
  ...refused("this machine has no floppy drive", "fda", "fdb"),
  ...refused("this machine has no SD card", "sd"),
  ...refused("this machine has no Open Firmware", "prom-env", "g"),
];

function flags(why: string, ...names: string[]): AcceptedOption[] {
  return names.map((name) => ({ name, hasValue: false, why }));
}

function values(why: string, ...names: string[]): AcceptedOption[] {
  return names.map((name) => ({ name, hasValue: true, why }));
}

function refused(why: string, ...names: string[]): RefusedOption[] {
  return names.map((name) => ({ name, why }));
}
