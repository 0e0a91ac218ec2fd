/**
 * The other options of QEMU 11.1 and 7.2: those that change nothing here, which are accepted, and those that
 * are refused, with what to do instead.
 *
 * Source: `qemu-system-x86_64 -help` of 11.1.3 and 7.2.22, and qemu-options.hx. A test compares the names.
 */

export interface OtherOption {
  readonly name: string;
  /** It takes a value. */
  readonly hasValue: boolean;
  readonly why: string;
}

const NO_DISPLAY = "this machine has no display";
const NO_SCREEN = `${NO_DISPLAY}; its console is -serial`;
const NO_SOUND = "this machine has no sound";
const NO_MONITOR = "this version has no monitor";
const EMULATOR = "it is of QEMU's emulator; guests run under KVM here";
const XEN = "guests run under KVM, not under Xen";

/** They say what is so anyway, or concern what is not there. */
export const ACCEPTED: readonly OtherOption[] = [
  ...flags("the check concerns floppy disks alone", "no-fd-bootchk"),
  ...flags("no disk here needs it", "win2k-hack"),
  ...flags("there is an HPET only with -machine hpet=on", "no-hpet"),
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
export const REFUSED: readonly OtherOption[] = [
  ...values("the tables of the machine describe it completely", "acpitable"),
  ...values("give the descriptor where it is used, as in -netdev tap,fd=N", "add-fd"),
  ...values("write the value in the option itself", "set"),
  ...values(NO_SOUND, "audio", "audiodev"),
  ...flags(NO_SOUND, "audio-help"),
  ...values(
    "start the command as that user, with your service manager or with setpriv",
    "async-teardown",
    "chroot",
    "runas",
    "run-with",
  ),
  ...values("-trace records what happens; see -trace help", "d", "D", "dfilter", "dump-vmstate"),
  ...flags(EMULATOR, "enable-sync-profile", "perfmap", "jitdump", "singlestep"),
  ...values(EMULATOR, "plugin", "icount"),
  ...values("a PC has no device tree", "dtb"),
  ...values("the key is Ctrl-A", "echr"),
  ...values("this version shares no folders; give the guest a disk image", "fsdev", "virtfs"),
  ...values("give the disk with -drive file=PATH", "mtdblock"),
  ...values("firmware runs no code from files; -fw_cfg gives it data", "option-rom", "shim"),
  ...values("use an NBD server, or a block device of the host", "iscsi"),
  ...flags("guests find devices by ACPI", "no-acpi"),
  ...flags("the machine ends when its guest shuts down", "no-shutdown"),
  ...values("this version has no migration; -loadvm DIR starts from a snapshot", "incoming"),
  ...flags(
    "not supported; start it in the background with your shell or service manager, and -serial file:PATH",
    "daemonize",
  ),
  ...values("not supported", "pidfile"),
  ...values(NO_SCREEN, "vnc", "spice"),
  ...flags(NO_SCREEN, "sdl", "curses"),
  ...values("this machine has no USB", "usbdevice"),
  ...values(NO_MONITOR, "qmp", "mon", "qmp-pretty"),
  ...flags(NO_MONITOR, "preconfig"),
  ...values("it is for tests of QEMU", "qtest", "qtest-log"),
  ...flags(XEN, "xen-attach", "xen-domid-restrict"),
  ...values(XEN, "xen-domid"),
  ...values("this machine has no TPM", "tpmdev"),
  ...values("this machine has no watchdog", "watchdog-action"),
  ...values("this machine has no floppy drive", "fda", "fdb"),
  ...values("this machine has no SD card", "sd"),
  ...values("this machine has no Open Firmware", "prom-env", "g"),
];

function flags(why: string, ...names: string[]): OtherOption[] {
  return names.map((name) => ({ name, hasValue: false, why }));
}

function values(why: string, ...names: string[]): OtherOption[] {
  return names.map((name) => ({ name, hasValue: true, why }));
}
