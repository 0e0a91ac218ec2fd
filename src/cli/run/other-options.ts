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

const NO_WINDOW = "there is no window that it could change";
const SOUND = "this machine has no sound";
const TRACE = "-trace records what happens; see -trace help";
const EMULATOR = "it is of QEMU's emulator; guests run under KVM here";
const FOLDERS = "this version shares no folders; give the guest a disk image";
const USER = "start the command as that user, with your service manager or with setpriv";
const XEN = "guests run under KVM, not under Xen";
const FIRMWARE = "this version takes no files for firmware";

/** They say what is so anyway, or concern what is not there. */
export const ACCEPTED: readonly OtherOption[] = [
  ...flags("the check concerns floppy disks alone", "no-fd-bootchk"),
  ...flags("no disk here needs it", "win2k-hack"),
  ...flags("there is no HPET unless it is asked for", "no-hpet"),
  ...flags(NO_WINDOW, "full-screen", "portrait"),
  ...values(NO_WINDOW, "rotate"),
  ...flags("no device prevents snapshots", "only-migratable"),
  ...values("what is set of devices that a machine does not have changes nothing", "global"),
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
  ...values(SOUND, "audio", "audiodev"),
  ...flags(SOUND, "audio-help"),
  ...values(USER, "async-teardown", "chroot", "runas", "run-with"),
  ...values(TRACE, "d", "D", "dfilter", "dump-vmstate"),
  ...flags(EMULATOR, "enable-sync-profile", "perfmap", "jitdump", "singlestep"),
  ...values(EMULATOR, "plugin", "icount"),
  ...values("a PC has no device tree", "dtb"),
  ...values("the key is Ctrl-A", "echr"),
  ...values(FOLDERS, "fsdev", "virtfs"),
  ...values("give the disk with -drive file=PATH", "mtdblock"),
  ...values(FIRMWARE, "fw_cfg", "option-rom", "smbios", "shim"),
  ...values("use an NBD server, or a block device of the host", "iscsi"),
  ...flags("guests find devices by ACPI", "no-acpi"),
  ...flags("the machine ends when its guest shuts down", "no-shutdown"),
  ...values("there is no parallel port; use -serial", "parallel"),
  ...values("this version has no monitor", "qmp-pretty"),
  ...flags("this version has no monitor", "preconfig"),
  ...values("it is for tests of QEMU", "qtest", "qtest-log"),
  ...values("the process is not confined; run it under a user account of its own", "sandbox"),
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
