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
-uuid c7d7ad2c-6e4b-4d5f-9d0a-3f2f1d1c0a5e
-no-user-config
-nodefaults
-rtc base=utc,driftfix=slew
-global kvm-pit.lost_tick_policy=discard
-no-hpet
-device piix3-usb-uhci,id=usb,bus=pci.0,addr=0x1.0x2
-drive file=/var/lib/nova/instances/i/disk,if=none,id=drive-virtio-disk0,format=qcow2,cache=none
-device virtio-blk-pci,scsi=off,bus=pci.0,addr=0x4,drive=drive-virtio-disk0,id=virtio-disk0,bootindex=1
-netdev tap,fd=32,id=hostnet0,vhost=on,vhostfd=37
-device virtio-net-pci,netdev=hostnet0,id=net0,mac=fa:16:3e:d1:2d:99,bus=pci.0,addr=0x3
-chardev file,id=charserial0,path=/var/lib/nova/instances/i/console.log
-device isa-serial,chardev=charserial0,id=serial0
-chardev pty,id=charserial1
-device isa-serial,chardev=charserial1,id=serial1
-device virtio-balloon-pci,id=balloon0,bus=pci.0,addr=0x5
-k en-us
-sandbox off
-msg timestamp=on`;

/** What later versions have, each with what is said until then. */
const LATER = [
  ["-no-shutdown", "the machine ends when its guest shuts down"],
  ["-device usb-tablet,id=input0", "this machine has no USB"],
  ["-vnc 0.0.0.0:12", "this machine has no display; its console is -serial"],
  ["-device cirrus-vga,id=video0,bus=pci.0,addr=0x2", "this machine has no display; its console is -serial"],
  ["-mon chardev=charmonitor,id=monitor,mode=control", "this version has no monitor"],
] as const;
const MONITOR = "-chardev socket,id=charmonitor,path=/var/lib/libvirt/qemu/i.monitor,server,nowait";

const wordsOf = (text: string) => text.trim().split(/\s+/);

test("the line without screen and monitor becomes a machine, and each device keeps its slot", () => {
  const command = parseRun(wordsOf(LINE));
  const golden = readFileSync(new URL("openstack-line.json", import.meta.url), "utf8");
  expect(JSON.parse(JSON.stringify(command))).toEqual(JSON.parse(golden));
});

test("of the whole line, one message names all that has to be left out, and nothing else", () => {
  const whole = [LINE, MONITOR, ...LATER.map(([option]) => option)].flatMap(wordsOf);
  const message = LATER.map(([option, why]) => `${option}: ${why}`).join("\n  also ");
  expect(() => parseRun(whole)).toThrow(expect.objectContaining({ message }));
});
