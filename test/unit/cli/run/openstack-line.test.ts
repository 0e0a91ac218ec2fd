/** The command line that OpenStack's Nova gives QEMU: what of it becomes a machine, and what is refused. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseRun } from "../../../../src/cli/run/command-line.ts";

const LINE = `
-name instance-00000024
-machine pc-i440fx-trusty,accel=kvm,usb=off
-cpu SandyBridge,+erms,+smep,+fsgsbase,+pdpe1gb,+rdrand,+f16c,+osxsave,+dca,+pcid,+pdcm,+xtpr,+tm2,+est,+smx,+vmx,+ds_cpl,+monitor,+dtes64,+pbe,+tm,+ht,+ss,+acpi,+ds,+vme
-m 2048
-smp 1,sockets=1,cores=1,threads=1
-no-user-config
-nodefaults
-rtc base=utc,driftfix=slew
-global kvm-pit.lost_tick_policy=discard
-no-hpet
-drive file=/var/lib/nova/instances/i/disk,if=none,id=drive-virtio-disk0,format=qcow2,cache=none
-device virtio-blk-pci,scsi=off,bus=pci.0,addr=0x4,drive=drive-virtio-disk0,id=virtio-disk0,bootindex=1
-netdev tap,fd=32,id=hostnet0,vhost=on,vhostfd=37
-device virtio-net-pci,netdev=hostnet0,id=net0,mac=fa:16:3e:d1:2d:99,bus=pci.0,addr=0x3
-device virtio-balloon-pci,id=balloon0,bus=pci.0,addr=0x5
-k en-us
-msg timestamp=on`;

/** What there is no device for yet, each with what is said instead. */
const NOT_BUILT = [
  ["-chardev file,id=charserial0,path=console.log", "write the place in -serial"],
  ["-device isa-serial,chardev=charserial0,id=serial0", 'unknown device "isa-serial"'],
  ["-device piix3-usb-uhci,id=usb,bus=pci.0,addr=0x1.0x2", 'unknown device "piix3-usb-uhci"'],
  ["-device usb-tablet,id=input0", 'unknown device "usb-tablet"'],
  ["-device cirrus-vga,id=video0,bus=pci.0,addr=0x2", 'unknown device "cirrus-vga"'],
  ["-vnc 0.0.0.0:12", "this machine has no display"],
  ["-mon chardev=charmonitor,id=monitor,mode=control", "this version has no monitor"],
] as const;

const wordsOf = (text: string) => text.trim().split(/\s+/);

test("the machine half of the line becomes a machine, and the card keeps its slot and its address", () => {
  const command = parseRun(wordsOf(LINE));
  const golden = readFileSync(new URL("openstack-line.json", import.meta.url), "utf8");
  expect(JSON.parse(JSON.stringify(command))).toEqual(JSON.parse(golden));
});

test.each(NOT_BUILT)("%s is refused by name", (option, sentence) => {
  expect(() => parseRun([...wordsOf(LINE), ...wordsOf(option)])).toThrow(sentence);
});
