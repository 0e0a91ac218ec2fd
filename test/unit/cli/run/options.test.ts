import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { OptionError } from "../../../../src/base/errors.ts";
import { parseSize } from "../../../../src/base/units.ts";
import { parseRun, runHelp } from "../../../../src/cli/run/command-line.ts";
import { deviceHelp } from "../../../../src/cli/run/drive-options.ts";
import { KEYS_HELP } from "../../../../src/cli/run/escape-filter.ts";
import { OPTIONS } from "../../../../src/cli/run/options.ts";
import { ACCEPTED, REFUSED } from "../../../../src/cli/run/other-options.ts";
import type { RunRequest } from "../../../../src/cli/run/request.ts";

function request(...argv: string[]): RunRequest {
  const command = parseRun(["-kernel", "K", ...argv]);
  if (command.action !== "run") throw new Error(`printed instead: ${command.text}`);
  return command.request;
}

function printed(...argv: string[]): string {
  const command = parseRun(argv);
  if (command.action !== "print") throw new Error("ran instead of printing");
  return typeof command.text === "string" ? command.text : "";
}

const MIB = 2 ** 20;

test("the line that people's fingers know becomes a machine", () => {
  const line =
    "-m 256 -smp 2 -name test -kernel K -initrd I -append console=ttyS0 -drive file=disk.img,format=raw,if=virtio,readonly=on " +
    "-nographic -no-reboot -serial stdio -M microvm -enable-kvm -cpu host -display none";
  expect(parseRun(line.split(" "))).toEqual({
    action: "run",
    request: {
      vm: {
        memory: "256M",
        cpus: 2,
        name: "test",
        kernel: "K",
        initrd: "I",
        cmdline: "console=ttyS0",
        drives: [{ file: "disk.img", format: "raw", readOnly: true, werror: "enospc" }],
        onReset: "exit",
        machine: "microvm",
        serialPorts: 1,
      },
      serials: [{ kind: "stdio" }],
      debugConsole: { kind: "none" },
      stats: false,
      startStopped: false,
      traceUnclaimed: false,
      traceFiles: [],
      notes: [],
    },
  });
});

test("two dashes and an equals sign say the same as one dash and a space", () => {
  const plain = request("-m", "256", "-append", "a=b c");
  expect(request("--m", "256", "--append", "a=b c")).toEqual(plain);
  expect(request("-m=256", "--append=a=b c")).toEqual(plain);
});

test("a guest alone gets its console on the terminal and is started again when it resets", () => {
  expect(request()).toEqual({
    vm: { kernel: "K", serialPorts: 1 },
    serials: [{ kind: "stdio" }],
    debugConsole: { kind: "none" },
    stats: false,
    startStopped: false,
    traceUnclaimed: false,
    traceFiles: [],
    notes: [],
  });
});

test.each([
  ["256", 256 * MIB],
  ["256M", 256 * MIB],
  ["256m", 256 * MIB],
  ["1G", 1024 * MIB],
  ["1.5G", 1536 * MIB],
  ["1048576K", 1024 * MIB],
  ["size=256M", 256 * MIB],
])("-m %s", (typed, bytes) => {
  expect(parseSize(request("-m", typed).vm.memory ?? 0, (sentence) => new Error(sentence))).toBe(bytes);
});

test.each([
  ["2", 2],
  ["cpus=2", 2],
  ["4,sockets=2,cores=2,threads=1", 4],
  ["4,sockets=2", 4],
  ["sockets=2,cores=2", 4],
  ["cores=3,threads=2", 6],
  ["2,maxcpus=2", 2],
])("-smp %s", (typed, cpus) => {
  expect(request("-smp", typed).vm.cpus).toBe(cpus);
});

describe("drives", () => {
  test("every key reaches the machine", () => {
    const typed =
      "file=a,,b.img,format=raw,if=virtio,read-only=on,cache=writethrough,aio=threads,discard=ignore,detect-zeroes=unmap," +
      "rerror=stop,werror=report,throttling.iops-total=100,bps_rd=2M,snapshot=on,serial=S1,media=disk,id=d0";
    expect(request("-drive", typed).vm.drives).toEqual([
      {
        file: "a,b.img",
        format: "raw",
        readOnly: true,
        cache: "writethrough",
        aio: "threads",
        discard: "ignore",
        detectZeroes: "unmap",
        rerror: "stop",
        werror: "report",
        throttling: { iopsTotal: 100, bpsRead: 2 * MIB },
        snapshot: true,
        serial: "S1",
        media: "disk",
        id: "d0",
      },
    ]);
  });

  test("a write that fails for want of room waits until there is some, unless werror says otherwise", () => {
    expect(request("-drive", "file=a").vm.drives).toEqual([{ file: "a", werror: "enospc" }]);
  });

  test("aio=native is taken for what does the same today, discard=on and off for its two words", () => {
    expect(request("-drive", "file=a,aio=native,discard=on").vm.drives).toMatchObject([
      { aio: "io_uring", discard: "unmap" },
    ]);
    expect(request("-drive", "file=a,discard=off").vm.drives).toMatchObject([{ discard: "ignore" }]);
  });

  test("-snapshot keeps all images as they are", () => {
    expect(request("-drive", "file=a", "-snapshot", "-drive", "file=b").vm.drives).toMatchObject([
      { file: "a", snapshot: true },
      { file: "b", snapshot: true },
    ]);
  });

  test("drives keep the order in which they were given", () => {
    const files = request("-drive", "file=a", "-drive", "file=b").vm.drives?.map((drive) => drive.file);
    expect(files).toEqual(["a", "b"]);
  });

  test("a drive with if=none is attached by a -device, before or after it", () => {
    const device = ["-device", "virtio-blk-device,drive=d0,serial=S,num-queues=2,write-cache=off"];
    const drive = ["-drive", "id=d0,file=a,format=raw,if=none"];
    const attached = [
      { id: "d0", file: "a", format: "raw", serial: "S", queues: 2, writeCache: false, werror: "enospc" },
    ];
    expect(request(...drive, ...device).vm.drives).toEqual(attached);
    expect(request(...device, ...drive).vm.drives).toEqual(attached);
  });

  test("a -device may be JSON, as libvirt writes it", () => {
    const device = {
      driver: "virtio-blk-device",
      drive: "d0",
      id: "root",
      "num-queues": 2,
      "write-cache": "off",
    };
    expect(
      request("-drive", "id=d0,file=a,if=none", "-device", JSON.stringify(device)).vm.drives,
    ).toMatchObject([{ file: "a", id: "root", queues: 2, writeCache: false }]);
    expect(request("-device", '{"driver":"virtio-rng-device","id":"r"}').vm.rng).toEqual({ id: "r" });
    expect(() => request("-device", '{"drive":"d0"}')).toThrow("the device is missing");
    expect(() => request("-device", '{"driver":')).toThrow("this is not JSON");
  });

  test("a drive with if=none that no -device attaches is not in the machine", () => {
    expect(request("-drive", "id=d0,file=a,if=none").vm.drives).toBeUndefined();
  });
});

test("serial ports are connected in the order given", () => {
  const { serials, vm } = request("-serial", "file:out.txt", "-serial", "mon:stdio", "-serial", "null");
  expect(serials).toEqual([{ kind: "file", path: "out.txt" }, { kind: "stdio" }, { kind: "none" }]);
  expect(vm.serialPorts).toBe(3);
});

test("a -chardev is the place of a -serial, of an isa-serial or of the debug console", () => {
  const file = { label: "a", kind: "file", path: "a.log", append: true };
  const unix = { label: "b", kind: "socket", place: { path: "/s" }, isServer: true, waits: false };
  const made = request(
    ...["-chardev", "file,id=a,path=a.log,append=on", "-chardev", "socket,id=b,path=/s,server,nowait"],
    ...["-chardev", "pty,id=c,mux=on", "-chardev", "file,id=d,path=d.log", "-serial", "chardev:a"],
    ...["-device", "isa-serial,chardev=b,id=s1,index=2,irq=4", "-device", "isa-serial,chardev=c"],
    ...["-device", "isa-debugcon,chardev=d,iobase=0x402"],
  );
  expect(made.serials).toEqual([file, { label: "c", kind: "pty" }, unix]);
  expect(made.debugConsole).toEqual({ label: "d", kind: "file", path: "d.log" });
  expect(made.vm.serialPorts).toBe(3);
  expect(made.notes).toEqual([]);
});

test("a -chardev may be described behind its user, and one without a user is noted", () => {
  const made = request("-serial", "chardev:a", "-chardev", "null,id=a", "-chardev", "null,id=b");
  expect(made.serials).toEqual([{ label: "a", kind: "none" }]);
  expect(made.notes).toEqual([
    "-chardev null,id=b: nothing uses it; a serial port does by -device isa-serial,chardev=b",
  ]);
});

test("a port between others that nothing is connected to is there", () => {
  const made = request("-chardev", "pty,id=c", "-device", '{"driver":"isa-serial","chardev":"c","index":1}');
  expect(made.serials).toEqual([{ kind: "none" }, { label: "c", kind: "pty" }]);
});

test("-serial takes sockets in QEMU's short form", () => {
  const { serials } = request(
    "-serial",
    "tcp::4444,server,nowait",
    "-serial",
    "unix:/s",
    "-serial",
    "tcp:[::1]:5",
  );
  expect(serials).toEqual([
    { kind: "socket", place: { port: 4444 }, isServer: true, waits: false },
    { kind: "socket", place: { path: "/s" }, isServer: false, waits: false },
    { kind: "socket", place: { host: "::1", port: 5 }, isServer: false, waits: false },
  ]);
});

test("SCSI disks are on the controllers that they name", () => {
  const drive = (id: string) => ["-drive", `file=${id},format=raw,if=none,id=${id}`];
  const { vm } = request(
    ...["-M", "pc", ...drive("a"), ...drive("b"), "-device", "virtio-scsi-pci,id=s0,num_queues=2,addr=0x6"],
    ...[
      "-device",
      "virtio-scsi-pci",
      "-device",
      "scsi-hd,drive=a,bus=s0.0,channel=0,scsi-id=3,lun=1,serial=S",
    ],
    ...["-device", "scsi-hd,drive=b,bus=scsi.0,bootindex=1", "-drive", "file=c,if=scsi,bus=1,unit=7"],
  );
  expect(vm).toMatchObject({ scsi: [{ id: "s0", queues: 2, addr: "0x6" }, {}] });
  expect(vm.drives).toMatchObject([
    { file: "c", interface: "scsi", controller: 1, target: 7 },
    { file: "a", interface: "scsi", controller: 0, target: 3, lun: 1, serial: "S" },
    { file: "b", interface: "scsi", controller: 1, bootindex: 1 },
  ]);
});

test("CD drives are on SCSI controllers, empty or with a file, as libvirt and libguestfs write them", () => {
  const { vm } = request(
    ...["-M", "pc", "-device", "virtio-scsi-pci,id=scsi0", "-drive", "file=a.iso,if=none,id=a,readonly=on"],
    ...["-device", "scsi-cd,bus=scsi0.0,channel=0,scsi-id=0,lun=2,device_id=drive-scsi0-0-0-2,drive=a,id=cd"],
    ...["-device", "scsi-cd,bus=scsi0.0,scsi-id=1", "-drive", "if=scsi,media=cdrom,unit=5"],
    ...["-drive", "if=none,id=drive-ide0-1-0,readonly=on", "-device", "ide-cd,drive=drive-ide0-1-0"],
  );
  expect(vm.drives).toMatchObject([
    { interface: "scsi", media: "cdrom", target: 5 },
    { interface: "scsi", media: "cdrom", file: "a.iso", target: 0, lun: 2, id: "cd" },
    { interface: "scsi", media: "cdrom", target: 1 },
    { interface: "ide", media: "cdrom" },
  ]);
  expect(vm.drives?.map(({ file }) => file)).toEqual([undefined, "a.iso", undefined, undefined]);
});

test("-usb and a USB controller without devices are left out, with a note", () => {
  const { notes } = request("-M", "pc", "-usb", "-device", "piix3-usb-uhci,id=usb,bus=pci.0,addr=0x1.0x2");
  expect(notes).toHaveLength(2);
  expect(notes[0]).toBe("-usb: left out, as no device could be on it");
});

test("with -nodefaults COM1 is connected to nothing unless -serial says so", () => {
  expect(request("-nodefaults").serials).toEqual([{ kind: "none" }]);
  expect(request("-nodefaults", "-serial", "pty").serials).toEqual([{ kind: "pty" }]);
});

test("devices, traces and our own options", () => {
  expect(request("-device", "virtio-rng-device").vm.rng).toBe(true);
  expect(request("-device", "virtio-rng,id=r").vm.rng).toEqual({ id: "r" });
  expect(request("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04").vm.rng).toBeUndefined();
  expect(request("--trace", "unclaimed").traceUnclaimed).toBe(true);
  expect(request("-trace", "net").traceNetwork).toBe(true);
  expect(request("-trace", "exits=f,network=on").traceFiles).toEqual([
    { path: "f", filter: { network: true } },
  ]);
  expect(request("--trace", "exits=boot.trace").traceFiles).toEqual([{ path: "boot.trace", filter: {} }]);
  const filtered =
    "exits=a,,b.json,registers=on,memory=50,reason=IO,device=com1,device=cmos,port=0x3f8-0x3ff,port=128,vcpu=0";
  expect(request("-trace", filtered).traceFiles).toEqual([
    {
      path: "a,b.json",
      filter: {
        registers: true,
        memory: { everyMs: 50 },
        reasons: ["IO"],
        devices: ["com1", "cmos"],
        ports: [
          [0x3f8, 0x3ff],
          [128, 128],
        ],
        vcpus: [0],
      },
    },
  ]);
  expect(request("--stats").stats).toBe(true);
  expect(request("-load-address", "0x1000").vm.loadAddress).toBe(0x1000);
  expect(request("--memory-backing", "anonymous").vm).toMatchObject({ memoryBacking: "anonymous" });
  expect(request("-debugcon", "file:log").debugConsole).toEqual({ kind: "file", path: "log" });
  expect(request("-machine", "microvm,accel=kvm,acpi=on,rtc=on").vm.machine).toBe("microvm");
  expect(request("-M", "accel=kvm").vm.machine).toBeUndefined();
  expect(request("-M", "accel=kvm").vm.pit).toBeUndefined();
  expect(request("-M", "microvm,pit=off").vm.pit).toBe(false);
  expect(request("-M", "pit=on").vm.pit).toBe(true);
});

test("an option given twice counts as typed last", () => {
  expect(request("-m", "1G", "-m", "256").vm.memory).toBe("256M");
});

test("a qcow2 drive's caches have QEMU's names: L2 tables alone, or four parts of five for them", () => {
  const bytes = (key: string) => request("-drive", `file=a,format=qcow2,${key}`).vm.drives?.[0].cacheBytes;
  expect(bytes("l2-cache-size=1M")).toBe(2 ** 20);
  expect(bytes("cache-size=1280k")).toBe(2 ** 20);
  expect(bytes("readonly=on")).toBe(undefined);
});

test("a device on the PCI bus says where it is, and which interfaces it has", () => {
  const { vm } = request(
    ...["-M", "pc", "-drive", "if=none,id=d,file=a", "-device", "virtio-rng-pci,addr=0x1f.1"],
    ...[
      "-device",
      "virtio-blk-pci,drive=d,bus=pci.0,addr=04.0,disable-modern=on,disable-legacy=auto,scsi=off,config-wce=off,queue-size=64",
    ],
  );
  expect(vm.rng).toEqual({ addr: "0x1f.1" });
  expect(vm.drives?.[0]).toMatchObject({
    addr: "04.0",
    disableModern: true,
    disableLegacy: false,
    configWce: false,
    queueSize: 64,
  });
});

test("the kernel's command line may be empty or look like an option", () => {
  expect(request("-append", "").vm.cmdline).toBe("");
  expect(request("-append", "-stats").vm.cmdline).toBe("-stats");
});

test.each<[string, string]>([
  [
    "-drive file=root.img,fromat=qcow2",
    '-drive file=root.img,fromat=qcow2: unknown key "fromat" (did you mean "format"?)',
  ],
  [
    "-drive file=a,format=qcow",
    'format="qcow" is not known (did you mean "qcow2"?); use raw, qcow2, vmdk, vpc, vhdx, vdi or auto',
  ],
  ["-drive file=a,format=qcow2,other-files=all", "use folder or anywhere"],
  [
    "-drive file=a,l2-cache-size=much",
    'l2-cache-size="much" is not a size; write a number with K, M, G or T',
  ],
  ["-drive file=a,cache-size=3G", 'cache-size="3G" is out of range; give up to 2G'],
  [
    "-drive file=a,if=ide",
    "-drive file=a,if=ide: a microvm has virtio disks only; use -drive file=PATH,if=virtio",
  ],
  ["-drive file=a,if=floppy", 'if="floppy" is not possible: use if=virtio or if=scsi, or if=ide on a pc'],
  ["-drive if=none,id=a,file=a -device ide-hd,drive=a", "a microvm has virtio disks only"],
  ["-device ide-hd", "the drive is missing: drive=ID"],
  ["-device ide-cd,bus=ide.2", 'bus="ide.2" is not a channel; write ide.0 or ide.1'],
  ["-drive file=a,cache=writebak", 'cache="writebak" is not known (did you mean "writeback"?)'],
  ["-drive file=a,rerror=enospc", 'rerror="enospc" is not known; use report, ignore or stop'],
  ["-drive file=a,iops=many", 'throttling.iops-total="many" is not a size'],

  ["-drive file=a,serial=123456789012345678901", "is not at most 20 characters"],
  ["-drive file=a,readonly=maybe", 'readonly="maybe" is neither on nor off'],
  ["-drive format=raw", "-drive format=raw: the file is missing: file=PATH"],
  ["-drive id=x,file=a -drive id=x,file=b", 'another drive has the id "x"'],
  [
    "-drive id=x,file=a -device virtio-blk-device,drive=x",
    'the drive "x" is attached already; give it if=none',
  ],
  ["-device virtio-blk-device,drive=x", "there is no -drive with id=x"],
  ["-device virtio-blk-device", "the drive is missing: drive=ID"],
  ["-device virtio-blk-pci,drive=x", "a microvm has no PCI bus; use virtio-blk-device"],
  ["-device virtio-balloon-pci", "a microvm has no PCI bus; use virtio-balloon-device"],
  ["-M pc -device virtio-rng-device", "a pc has its virtio devices on the PCI bus; use virtio-rng-pci"],
  ["-M pc -device virtio-rng-pci,addr=20", 'addr="20" is not a place on a PCI bus'],
  ["-M pc -device virtio-rng-pci,addr=1.8", 'addr="1.8" is not a place on a PCI bus'],
  ["-M pc -device virtio-rng-pci,bus=pci.1", "the PCI bus of a pc is pci.0"],
  ["-M pc -drive id=x,if=none,file=a -device virtio-blk-pci,drive=x,scsi=on", 'scsi="on" is not possible'],
  [
    "-M pc -drive id=x,if=none,file=a -device virtio-blk-pci,drive=x,queue-size=100",
    "queue-size=100 is not a power of two",
  ],
  ["-device lsi53c895a,id=scsi", "this version has one SCSI controller: virtio-scsi"],
  ["-device scsi-hd", "the drive is missing: drive=ID"],
  ["-drive file=a,if=none,id=x -device scsi-hd,drive=x", "there is no SCSI controller; add one before it"],
  [
    "-drive file=a,if=none,id=x -device virtio-scsi-device -device scsi-hd,drive=x,bus=scsi0.0",
    "there is no SCSI controller with the bus scsi0.0",
  ],
  ["-drive file=a,if=ide,unit=2", "unit=2 is out of range; give a whole number from 0 to 1"],
  ["-device virtio-scsi-pci", "use virtio-scsi-device"],
  ["-device virtio-rgn", 'unknown device "virtio-rgn" (did you mean "virtio-rng"?)'],
  ["-device isa-debug-exit", "write isa-debug-exit,iobase=0xf4,iosize=0x04"],
  ["-device isa-debug-exit,iobase=0x501", "on this machine it is 0xf4"],
  ["-device virtio-rng -device virtio-rng-device", "this machine has one such device"],
  ["-m 256X", 'unknown unit "X"; use K, M, G or T'],
  ["-m 0", "give from 1M to 1T"],
  ["-m 1G,slots=2", 'unknown key "slots"'],
  ["-smp 0", "Invalid CPU topology: CPU topology parameters must be greater than zero"],
  [
    "-smp 3,sockets=2",
    "Invalid CPU topology: product of the hierarchy must match maxcpus: sockets (2) * dies (1) * modules (1) * cores (1) * threads (1) != maxcpus (3)",
  ],
  [
    "-smp 2,maxcpus=1",
    "Invalid CPU topology: maxcpus must be equal to or greater than smp: sockets (1) * dies (1) * modules (1) * cores (1) * threads (1) == maxcpus (1) < smp_cpus (2)",
  ],
  ["-serial stdio -serial stdio", "two serial ports cannot share one keyboard"],
  ["-serial none -serial none -serial none -serial none -serial none", "this machine has four serial ports"],
  ["-serial file:", "the file's name is missing"],
  ["-serial udp::4444", 'unknown place "udp::4444"'],
  ["-serial tcp:4444,server", '"4444" is not a place as in tcp:127.0.0.1:4444'],
  ["-serial unix:s,wait=off", "wait= is for the side that listens"],
  ["-serial chardev:c", "there is no -chardev with id=c"],
  ["-chardev null", "the name is missing: id=ID"],
  ["-chardev null,id=c -chardev null,id=c", 'another -chardev has the id "c"'],
  ["-chardev null,id=c -serial chardev:c -serial chardev:c", 'the -chardev "c" is that of -serial chardev:c'],
  ["-chardev file,id=c", "the file's name is missing: path=PATH"],
  ["-chardev vc,id=c", 'this version has no back end "vc"'],
  ["-chardev socket,id=c,path=s,port=1", "give one of path=PATH, port=PORT"],
  ["-chardev socket,id=c,path=s,server=on,telnet=on", 'telnet="on" is not possible'],
  ["-chardev stdio,id=c,signal=on", "Ctrl-C is for the guest"],
  ["-device isa-serial", "the back end is missing: chardev=ID"],
  ["-chardev pty,id=c -device isa-debugcon,chardev=c", "the debug console only sends"],
  ["-chardev pty,id=c -device isa-serial,chardev=c,index=0,irq=3", "it is 4 of COM1"],
  ["-serial pty -chardev pty,id=c -device isa-serial,chardev=c,index=0", "COM1 is connected already"],
  ["-chroot /x -runas me", "-chroot /x: start the command as that user"],
  ["-chroot /x -runas me", "also -runas me: start the command as that user"],
  ["-serial stdoi", 'did you mean "stdio"?'],
  ["-debugcon pty", "the debug console only sends"],
  ["-M q35", 'type="q35" is not known; use microvm'],
  ["-machine microvm,accel=tcg", 'accel="tcg" is not possible: guests always run under KVM'],
  ["-machine microvm,acpi=off", 'acpi="off" is not possible'],
  ["-accel tcg", "guests always run under KVM"],
  ["-display gtk", "this version has no display; write -display none"],
  ["-trace all", "-trace help lists the traces"],
  ["-trace device=com1", "the file for the exits is missing: exits=FILE"],
  ["-trace exits=f,port=9-8", 'port="9-8" is not a port or a range of ports'],
  ["-trace exits=f,port=0x10000", "is not a port"],
  ["-trace exits=f,registers=some", "neither on nor off"],
  ["-trace exits=f,memory=0", "memory=0 is out of range; give a whole number from 1"],
  ["-trace exits=f,vcpu=x", 'vcpu="x" is not a whole number'],
  ["-trace exits=f,reasons=IO", 'unknown key "reasons" (did you mean "reason"?)'],
  ["-load-address 0x100000", "give a whole number from 0 to 1048575"],
  ["-memory-backing memdf", 'did you mean "memfd"?'],
  ["-hda disk.img", "a microvm has virtio disks only; use -drive file=PATH,if=virtio, or a pc by -M pc"],
  ["-vnc :1", "this machine has no display"],
  ["-kernle K", '-kernle: unknown option (did you mean "-kernel"?)'],
  ["-stats=yes", "-stats takes no value"],
  ["-initrd", "-initrd: needs a value, as in -initrd initrd.img"],
  ["-initrd -nographic", "and the next word is the option -nographic"],
  ["disk.img", '"disk.img": expected an option'],
  ["-", '"-": expected an option'],
])("%s is refused with a sentence", (line, sentence) => {
  const attempt = () => parseRun(["-kernel", "K", ...line.split(" ")]);
  expect(attempt).toThrow(OptionError);
  expect(attempt).toThrow(sentence);
});

test("without a kernel a PC starts its firmware, and a microvm has nothing to start", () => {
  const vm = { machine: "pc", firmware: "b.bin", firmwareFolder: "folder", serialPorts: 1 };
  expect(parseRun(["-bios", "b.bin", "-L", "folder"])).toMatchObject({ request: { vm } });
  expect(() => parseRun(["-M", "microvm"])).toThrow("give one with -kernel FILE");
});

test.each(["pc", "pc-i440fx-8.2", "pc-i440fx-trusty", "type=pc"])("-M %s is a PC", (name) => {
  expect(request("-M", name).vm.machine).toBe("pc");
});

test.each(["?", "help"])("-cpu %s lists the models", async (word) => {
  const command = parseRun(["-cpu", word]);
  if (command.action !== "print" || typeof command.text === "string") throw new Error("no list");
  expect(await command.text()).toContain(
    "  core2duo-v1           Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz\n",
  );
});

test("-smp says how the guest sees its CPUs", () => {
  const { vm } = request("-smp", "8,sockets=2,cores=2,threads=2");
  expect(vm).toMatchObject({ cpus: 8, topology: { sockets: 2, dies: 1, cores: 2, threads: 2 } });
  expect(request("-smp", "1,maxcpus=4").vm).toMatchObject({ cpus: 1, topology: { cores: 4 } });
  expect(request("-smp", "4").vm.topology).toBeUndefined();
});

test("-cpu goes to the machine as it is typed", () => {
  expect(request("-cpu", "SandyBridge,+erms").vm).toMatchObject({ cpu: "SandyBridge,+erms" });
});

test("-rtc base= moves the CMOS clock", () => {
  const offset = (base: string) => request("-rtc", `base=${base}`).vm.rtcOffset ?? Number.NaN;
  expect(offset("utc")).toBe(0);
  expect(offset("localtime")).toBe(-new Date().getTimezoneOffset() * 60_000);
  expect(
    Math.abs(offset("2006-06-17T16:01:21") - (Date.UTC(2006, 5, 17, 16, 1, 21) - Date.now())),
  ).toBeLessThan(5000);
  expect(request("-rtc", "base=utc,driftfix=slew,clock=host").vm).toMatchObject({
    rtcOffset: 0,
    rtcSlew: true,
  });
});

test("-trace firmware prints the debug console on standard error", () => {
  expect(request("-trace", "firmware").debugConsole).toEqual({ kind: "stderr" });
  expect(request("-trace", "firmware").traceUnclaimed).toBe(false);
  expect(() => request("-debugcon", "stdio", "-trace", "firmware")).toThrow("connected already");
});

test("flash chips are named as people name them for OVMF", () => {
  const chips = [{ file: "C", readOnly: true }, { file: "V" }];
  const flash = (...argv: string[]) => {
    const command = parseRun(argv);
    return command.action === "run" ? command.request.vm.flash : undefined;
  };
  const drive = (more: string) => ["-drive", `if=pflash,format=raw,${more}`];
  expect(flash(...drive("unit=0,readonly=on,file=C"), ...drive("unit=1,file=V"))).toMatchObject(chips);
  expect(flash(...drive("unit=1,file=V"), ...drive("readonly=on,file=C"))).toMatchObject(chips);
  expect(flash("-pflash", "C", "-pflash", "V")).toMatchObject([{ file: "C" }, { file: "V" }]);
  const nodes = [
    ...["-blockdev", "driver=file,filename=C,node-name=code-file,read-only=on"],
    ...["-blockdev", "driver=raw,file=code-file,node-name=code,read-only=on"],
    ...["-drive", "if=none,id=vars,format=raw,file=V"],
  ];
  expect(flash(...nodes, "-machine", "pc,pflash0=code,pflash1=vars")).toMatchObject(chips);
  expect(() => flash("-machine", "pc,pflash0=code")).toThrow("there is no -blockdev with node-name=code");
  expect(() => flash(...drive("unit=1,file=V"))).toThrow("flash chip 0, which has the firmware, is missing");
  expect(() => flash("-drive", "if=pflash,format=qcow2,file=C")).toThrow("a flash chip is a raw file");
  expect(() => flash("-pflash", "A", "-pflash", "B", "-pflash", "C")).toThrow(
    "there is a flash chip 1 already",
  );
});

test("-fw_cfg and -smbios add up; a name without opt/ is noted", () => {
  const { vm, notes } = request(
    ...["-M", "pc", "-fw_cfg", "name=opt/a,string=b,,c", "-fw_cfg", "etc/x,file=F"],
    ...["-smbios", "type=1,serial=42", "-smbios", "type=11,value=a,value=b,path=F"],
  );
  expect(vm).toMatchObject({
    fwCfg: [
      { name: "opt/a", string: "b,c" },
      { name: "etc/x", file: "F" },
    ],
    smbios: [
      { type: "1", serial: "42" },
      { type: "11", value: ["a", "b"], path: ["F"] },
    ],
  });
  expect(notes.join()).toContain("-fw_cfg etc/x,file=F: names of such files should begin with opt/");
  expect(() => request("-fw_cfg", "opt/a")).toThrow("give either file= or string=");
  expect(() => request("-fw_cfg", "opt/a,file=F,string=S")).toThrow("give either file= or string=");
  expect(() => request("-smbios", "file=F")).toThrow("tables from a file are not possible");
});

test("-name takes QEMU's keys", () => {
  const named = request("-name", "guest=g,process=p,debug-threads=on");
  expect([named.vm.name, named.processName]).toEqual(["g", "p"]);
});

test("-action reboot=shutdown is -no-reboot", () => {
  expect(request("-action", "reboot=shutdown,panic=exit-failure,watchdog=reset").vm.onReset).toBe("exit");
});

test("an option that changes nothing is accepted with its value", () => {
  expect(request("-global", "virtio-blk-pci.scsi=off", "-k", "en-us", "-no-fd-bootchk").vm).toEqual(
    request().vm,
  );
});

/** Of `qemu-system-x86_64 -help`, 11.1.3 and 7.2.22. */
const QEMU_OPTIONS =
  "-preconfig accel acpitable action add-fd append async-teardown audio audio-help audiodev bios " +
  "blockdev boot cdrom chardev chroot compat cpu d D daemonize debugcon device dfilter display drive " +
  "dtb dump-vmstate echr enable-kvm enable-sync-profile fda fdb fsdev full-screen fw_cfg gdb global " +
  "h hda hdb hdc hdd help icount incoming initrd iscsi jitdump k kernel L loadvm M m machine " +
  "mem-path mem-prealloc mon monitor msg mtdblock name net netdev nic no-acpi no-fd-bootchk no-hpet " +
  "no-reboot no-shutdown no-user-config nodefaults nographic numa object only-migratable option-rom " +
  "overcommit parallel perfmap pflash pidfile plugin portrait qmp qmp-pretty readconfig rotate rtc " +
  "run-with runas s S sandbox sd seed serial set shim singlestep smbios smp snapshot spice tpmdev " +
  "trace usb usbdevice uuid version vga virtfs vnc watchdog-action win2k-hack xen-attach xen-domid " +
  "xen-domid-restrict";

test("every option of QEMU 11.1 and 7.2 is taken, or refused by name", () => {
  const unknown = QEMU_OPTIONS.split(" ").filter((name) => {
    try {
      parseRun([`-${name}`, "x"]);
      return false;
    } catch (error) {
      return error instanceof Error && error.message.includes("unknown option");
    }
  });
  expect(unknown).toEqual([]);
});

test("no option has two answers: -fda was said to be a virtio disk in one table, and a floppy in another", () => {
  const names = [
    ...OPTIONS.flatMap((row) => row.names),
    ...[...ACCEPTED, ...REFUSED].map(({ name }) => name),
  ];
  expect(names.filter((name, n) => names.indexOf(name) !== n)).toEqual([]);
  expect(() => parseRun(["-fda", "a"])).toThrow("-fda a: this machine has no floppy drive");
});

test("lists are printed in place of running", () => {
  expect(printed("-M", "help")).toMatch(
    /^Supported machines are:\nmicrovm {14}virtio .*\npc {19}Standard PC /,
  );
  expect(printed("-device", "help")).toContain("virtio-rng-device");
  expect(printed("-device", "virtio-blk,help")).toContain("num-queues=N");
  expect(printed("-device", "virtio-blk,help")).not.toContain("virtio-rng");
  expect(printed("-trace", "help")).toContain("unclaimed");
  expect(printed("-m", "256", "-help")).toBe(runHelp());
});

test("help shows every option, and each option does what its row says", () => {
  const help = runHelp();
  const words = help.replace(/\s+/g, " ");
  for (const row of OPTIONS) {
    expect(words).toContain(row.help);
    for (const name of row.names) {
      expect(help).toContain(`-${name}`);
      // A row that takes a value says so itself when the value is missing; one that takes none does its work.
      const bare = () => parseRun(["-kernel", "K", "-s", `-${name}`]);
      if (row.argument === undefined) expect(bare).not.toThrow();
      else expect(bare).toThrow(`-${name}: needs a value`);
    }
  }
  const names = OPTIONS.flatMap((row) => row.names);
  expect(new Set(names).size).toBe(names.length);
});

test("every example in the table is accepted", () => {
  for (const { example } of OPTIONS) {
    if (example === undefined) continue;
    const words = example.replaceAll("'", "").split(" ");
    expect(() => parseRun(["-kernel", "K", ...words]), example).not.toThrow();
  }
});

test("any words at all either make a machine or are refused as options", () => {
  const words = [
    ...OPTIONS.flatMap((row) => row.names.flatMap((name) => [`-${name}`, `--${name}`, `-${name}=`])),
    ..."help ? none stdio pty 1 0 -1 256M 1e9 0x10 kvm microvm file=a id=a,file=b,if=none cpus=9999999999 cores=2,cores=3".split(
      " ",
    ),
    ..."virtio-blk-device,drive=a isa-debug-exit,iobase=0xf4 ,, ,=, = - -- --- -=x = \u0000 é 💾 __proto__ constructor=1".split(
      " ",
    ),
    "",
    "\n",
    "toString",
    "-__proto__",
    "-constructor",
    "x".repeat(5000),
    `-${"y".repeat(5000)}`,
    ",".repeat(5000),
  ];
  // Numerical Recipes' generator: the same words at every run.
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (let round = 0; round < 20_000; round++) {
    const argv = Array.from({ length: random(6) }, () => {
      const word = words[random(words.length)];
      return random(4) === 0 ? word + words[random(words.length)] : word;
    });
    try {
      parseRun(argv);
    } catch (error) {
      if (!(error instanceof OptionError)) throw new Error(`${JSON.stringify(argv)}: ${error}`);
    }
  }
});

test("the manual shows help as it is printed", async () => {
  const manual = await readFile(new URL("../../../../docs/cli.md", import.meta.url), "utf8");
  expect(manual).toContain(runHelp());
  expect(manual).toContain(deviceHelp());
  for (const line of KEYS_HELP.trim().split("\n")) expect(manual).toContain(line);
});

test("the manual's lines are accepted as printed", async () => {
  const manual = await readFile(new URL("../../../../docs/cli.md", import.meta.url), "utf8");
  const lines = manual.replaceAll("\\\n", " ").match(/^vmexit run .*$/gm) ?? [];
  expect(lines.length).toBeGreaterThanOrEqual(3);
  for (const line of lines) {
    const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2]).slice(2);
    expect(parseRun(words).action, line).toBe("run");
  }
});

test.each([
  ["tcp::1234", { port: 1234 }],
  ["tcp:0.0.0.0:5", { port: 5, host: "0.0.0.0" }],
  ["tcp:[::1]:1234,server=on,wait=off", { port: 1234, host: "::1" }],
  ["unix:/tmp/gdb.sock", { path: "/tmp/gdb.sock" }],
  ["none", undefined],
])("-gdb %s says where gdb may connect", (place, expected) => {
  expect(request("-gdb", place).gdb).toEqual(expected);
});

test("-s and -S are QEMU's: port 1234, and a guest that waits for gdb", () => {
  expect(request("-s", "-S")).toMatchObject({ gdb: { port: 1234 }, startStopped: true });
  expect(request("-s").startStopped).toBe(false);
});

test.each([
  [["-gdb", "1234"], "-gdb 1234: not a place to listen at; use tcp::PORT, tcp:HOST:PORT or unix:PATH"],
  [["-gdb", "tcp::123456"], "-gdb tcp::123456: 123456 is not a port; the last one is 65535"],
  [["-gdb", "tcp::1,wait=on"], '-gdb tcp::1,wait=on: "wait=on" is not possible'],
  [["-S"], "-S: the guest could never start; let a debugger connect too: -s, or -gdb tcp::PORT"],
])("%j is refused", (argv, message) => {
  expect(() => request(...argv)).toThrow(message);
});

test("-loadvm continues a machine, of which only what is given is said", () => {
  const saved = (...argv: string[]) => {
    const command = parseRun(["-loadvm", "booted", ...argv]);
    if (command.action !== "run") throw new Error("printed instead");
    return command.request;
  };
  expect(saved()).toMatchObject({ loadvm: "booted", vm: {}, serials: [{ kind: "stdio" }] });
  expect(saved().vm).toEqual({ defaultNetwork: true });
  expect(saved("-nic", "none").vm).toEqual({});
  expect(saved("-m", "256", "-device", "virtio-rng-device", "-kernel", "K", "-append", "quiet").vm).toEqual({
    memory: "256M",
    defaultNetwork: true,
    rng: true,
    kernel: "K",
    cmdline: "quiet",
  });
  // Where its drives are is for the snapshot to say, as long as the line does not.
  expect(saved("-drive", "file=a").vm.drives).toEqual([{ file: "a", werror: "enospc" }]);
  expect(saved("-M", "pc", "-drive", "file=a").vm.drives).toMatchObject([{ file: "a", interface: "ide" }]);
  expect(saved("-savevm", "later").savevm).toBe("later");
  expect(request("-savevm", "later").savevm).toBe("later");
});

test("what a machine that continues has no use for is refused", () => {
  const refusal = (...argv: string[]) => expect(() => parseRun(["-loadvm", "booted", ...argv]));
  refusal("-append", "quiet").toThrow(/-append: it belongs to a kernel/);
  refusal("-load-address", "4096").toThrow(/-load-address: .*needs -kernel FILE/);
  refusal("-memory-backing", "memfd").toThrow(/memory is the file of the snapshot/);
});

describe("network cards", () => {
  const cards = (...argv: string[]) => request(...argv).vm.network;
  const card = { tap: "tap0", queues: 1 };

  test("the old form, the new form and the short form are the same machine", () => {
    const old = ["-net", "nic,model=virtio", "-net", "tap,ifname=tap0,script=no,downscript=no"];
    expect(cards(...old)).toEqual([card]);
    const long = ["-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no"];
    expect(cards(...long, "-device", "virtio-net-device,netdev=n0")).toEqual([card]);
    expect(cards("-nic", "tap,ifname=tap0,script=no,downscript=no")).toEqual([card]);
    expect(cards("-nic", "none", "-net", "none")).toBeUndefined();
  });

  test("vlan= is ignored, with a note", () => {
    const old = request("-net", "nic,vlan=0", "-net", "tap,vlan=0,ifname=tap0,script=no,downscript=no");
    expect([old.vm.network, old.notes.length]).toEqual([[card], 2]);
    expect(old.notes[0]).toContain("vlan= is ignored");
  });

  test("descriptors, queues, and keys of the card", () => {
    expect(
      cards(
        "-netdev",
        "tap,id=n,fd=32,vhost=off",
        "-device",
        "virtio-net-device,netdev=n,mac=fa:16:3e:d1:2d:99",
      ),
    ).toEqual([{ fds: [32], queues: 1, mac: "fa:16:3e:d1:2d:99" }]);
    expect(cards("-nic", "tap,fds=3:4,mac=52:54:0:1:2:3")).toEqual([
      { fds: [3, 4], queues: 2, mac: "52:54:00:01:02:03" },
    ]);
    expect(cards("-nic", "bridge,br=br7")).toEqual([{ bridge: "br7" }]);
  });

  test("frames that the kernel moves", () => {
    const tap = { bridge: "b0", queues: 1, vhost: true };
    expect(cards("-nic", "tap,br=b0,vhost=on")).toEqual([tap]);
    expect(cards("-nic", "tap,br=b0,vhostforce=on")).toEqual([{ ...tap, vhostForce: true }]);
    expect(cards("-nic", "tap,fds=3:4,vhostfds=5:6")).toEqual([
      { fds: [3, 4], queues: 2, vhost: true, vhostFds: [5, 6] },
    ]);
    expect(cards("-nic", "tap,br=b0,vhostforce=on,vhost=off")).toEqual([{ bridge: "b0", queues: 1 }]);
    expect(() => request("-nic", "tap,fd=3,vhost=off,vhostfd=5")).toThrow(
      "vhostfd is of no use with vhost=off",
    );
    expect(() => request("-nic", "tap,fd=3,vhostfd=5,vhostfds=5")).toThrow("either vhostfd or vhostfds");
  });

  test("a vsock device is the kernel's: the command has no streams of its own", () => {
    expect(request("-device", "vhost-vsock-device,guest-cid=5").vm.vsock).toEqual({ cid: 5, vhost: true });
    expect(request("-device", "vhost-vsock-device,guest-cid=5,vhostfd=9").vm.vsock).toEqual({
      cid: 5,
      vhostFd: 9,
      vhost: true,
    });
    expect(() => request("-device", "vhost-vsock-device,guest-cid=2")).toThrow("3 to 4294967294");
  });

  test("a file for the frames of a network", () => {
    const dump = ["-object", "filter-dump,id=f0,netdev=n0,file=n0.pcap,maxlen=96"];
    const plain = ["-netdev", "bridge,id=n0", "-device", "virtio-net-device,netdev=n0"];
    expect(cards(...dump, ...plain)).toEqual([{ bridge: "br0", dump: "n0.pcap", dumpBytes: 96 }]);
    expect(() => request("-object", "secret,id=r")).toThrow('"secret" is not supported');
  });

  test("cables to other monitors", () => {
    const connected = (...argv: string[]) => (cards(...argv) ?? []).map(({ connect }) => typeof connect);
    expect(connected("-nic", "socket,listen=:1234", "-nic", "socket,mcast=230.0.0.1:1234")).toEqual([
      "function",
      "function",
    ]);
    expect(connected("-nic", "stream,addr.type=unix,addr.path=S,server=off")).toEqual(["function"]);
    expect(connected("-nic", "hubport,hubid=1", "-nic", "hubport,hubid=1")).toHaveLength(2);
    for (const [line, message] of [
      ["socket", /give one of listen=/],
      ["socket,connect=nowhere", /not a place as in/],
      ["socket,udp=127.0.0.1:1", /needs localaddr=/],
      ["stream,addr.type=inet", /addr.port=PORT/],
      ["stream,server=on,addr.type=unix,addr.path=S,reconnect=1", /the side that connects/],
      ["dgram", /the other side is missing/],
      ["hubport", /hubid=N/],
    ] as const) {
      expect(() => request("-nic", line)).toThrow(message);
    }
  });

  test.each([
    ["-nic tap,model=e1000e", /use model=virtio, or model=e1000 on a pc/],
    ["-nic tap,model=rtl8139", /use model=e1000, on a pc/],
    ["-netdev user,id=n -device rtl8139,netdev=n", /use virtio-net, or e1000 on a pc/],
    ["-netdev slirp,id=n", /unknown network "slirp"/],
    ["-netdev tap", /has no name: id=ID/],
    ["-netdev tap,id=a -netdev tap,id=a", /another -netdev has the id "a"/],
    ["-device virtio-net-device", /netdev=ID/],
    ["-device virtio-net-device,netdev=n", /no -netdev with id=n/],
    ["-nic tap,fd=3,ifname=tap0", /leave out ifname/],
    ["-nic tap,mac=01:00:00:00:00:01", /first byte has to be even/],
    ["-net nic", /connected to nothing/],
    ["-net tap,script=no", /no card is connected to it/],
  ])("%s is refused", (line, message) => {
    expect(() => request(...line.split(" "))).toThrow(message);
  });
});

test("the boot order is letters, as keys or alone", () => {
  expect(request("-boot", "d").vm.bootOrder).toBe("d");
  expect(request("-boot", "order=dc,once=d,menu=on,strict=on").vm).toMatchObject({
    bootOrder: "dc",
    bootOnce: "d",
    bootMenu: true,
    bootStrict: true,
  });
  expect(() => request("-boot", "order=cc")).toThrow('-boot order=cc: order="cc" is not a boot order');
  expect(() => request("-boot", "x")).toThrow("is not a boot order");
});

test("drives of a pc: in short, by -drive, by -device, and by default", () => {
  const drives = (...words: string[]) => request("-M", "pc", ...words).vm.drives;
  expect(drives("-hda", "a", "-hdd", "d", "-cdrom", "c.iso", "-snapshot")).toMatchObject([
    { interface: "ide", file: "a", format: "auto", index: 0, snapshot: true },
    { interface: "ide", file: "d", format: "auto", index: 3, snapshot: true },
    { interface: "ide", file: "c.iso", format: "auto", index: 2, media: "cdrom" },
  ]);
  expect(drives("-drive", "file=a,format=raw", "-drive", "file=b,if=virtio")).toMatchObject([
    { interface: "ide", file: "a" },
    { file: "b" },
  ]);
  expect(drives("-drive", "file=a,if=ide,bus=1,unit=1", "-drive", "file=b,if=ide,index=2")).toMatchObject([
    { index: 3 },
    { index: 2 },
  ]);
  const hd = "ide-hd,drive=d,bus=ide.1,unit=0,serial=S,model=M,bootindex=2,bios-chs-trans=lba";
  expect(drives("-drive", "if=none,id=d,file=a", "-device", hd, "-device", "ide-cd")).toMatchObject([
    { interface: "ide", file: "a", index: 2, serial: "S", model: "M", bootindex: 2, chsTranslation: "lba" },
    { interface: "ide", media: "cdrom" },
  ]);
});

test("-uuid takes a UUID and nothing else", () => {
  const uuid = "C7D7AD2C-6e4b-4d5f-9d0a-3f2f1d1c0a5e";
  expect(request("-uuid", uuid).vm.uuid).toBe(uuid);
  expect(() => request("-uuid", "1234")).toThrow("is not a UUID");
});
