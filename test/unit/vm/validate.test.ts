import { expect, test } from "vitest";
import { OptionError } from "../../../src/base/errors.ts";
import { MAX_CPUS, type VmOptions } from "../../../src/config/machine.ts";
import { checkOptions } from "../../../src/vm/validate.ts";

const OK: VmOptions = { kernel: "vmlinuz" };
const handlers = { read: () => 0 };

/** Checks what the types forbid and JavaScript allows. */
const check = (options: unknown) => Reflect.apply(checkOptions, undefined, [options]);

const disk = (more: object = {}) => ({ ...OK, drives: [{ file: "disk.img", ...more }] });
const device = (more: object = {}) => ({ ...OK, devices: [{ name: "x", length: 1, handlers, ...more }] });
const drives = (count: number) => Array.from({ length: count }, (_, n) => ({ file: `${n}.img` }));

test("a kernel is enough; the defaults are those of the documentation", () => {
  expect(checkOptions(OK)).toEqual({
    name: "vm",
    machine: "microvm",
    memory: 128 * 2 ** 20,
    memoryBacking: "memfd",
    cpus: 1,
    kernel: "vmlinuz",
    loadAddress: undefined,
    initrd: undefined,
    cmdline: "",
    drives: [],
    cpu: "host",
    rtcOffset: 0,
    rtcSlew: false,
    fwCfg: [],
    flash: [],
    smbios: [],
    numa: [],
    hugePages: false,
    prealloc: false,
    threads: "auto",
    polling: { maxNs: 2_000_000, grow: 0, shrink: 0 },
    network: [],
    scsi: [],
    topology: { sockets: 1, dies: 1, cores: 1, threads: 1 },
    serialPorts: 1,
    pit: true,
    hpet: false,
    bootMenu: false,
    bootStrict: false,
    bootOrder: "cad",
    generationId: true,
    rng: undefined,
    devices: [],
    ownDevices: [],
    onReset: "reset",
    onUnclaimed: undefined,
    kvm: "/dev/kvm",
  });
});

/** Of a device of a microvm. */
const NO_PCI = { addr: undefined, disableModern: false, disableLegacy: false };

test("a drive needs a file and no more; it has a queue for each CPU, up to 64", () => {
  const usual = {
    id: undefined,
    source: undefined,
    format: undefined,
    otherFiles: "folder",
    cacheBytes: undefined,
    readOnly: false,
    queues: 3,
    writeCache: true,
    cache: "writeback",
    aio: "io_uring",
    discard: "unmap",
    detectZeroes: "off",
    rerror: "report",
    werror: "report",
    throttling: undefined,
    snapshot: false,
    configWce: true,
    queueSize: 256,
    ...NO_PCI,
    interface: "virtio",
    media: "disk",
    index: undefined,
    model: undefined,
    chsTranslation: "auto",
    ...{ controller: undefined, target: undefined, lun: undefined },
    bootindex: undefined,
  };
  expect(checkOptions({ ...OK, cpus: 3, drives: [{ file: "a" }, { file: "b" }] }).drives).toEqual([
    { ...usual, file: "a", serial: "vmexit-0" },
    { ...usual, file: "b", serial: "vmexit-1" },
  ]);
  expect(checkOptions({ ...OK, cpus: 200, drives: [{ file: "a" }] }).drives[0].queues).toBe(64);
});

test("everything that is given arrives", () => {
  const onUnclaimed = () => {};
  const given = {
    name: "box",
    machine: "microvm",
    memory: "1.5G",
    memoryBacking: "anonymous",
    cpus: MAX_CPUS,
    kernel: new Uint8Array(4),
    loadAddress: 0x1000,
    initrd: "initrd.img",
    cmdline: "console=ttyS0",
    drives: [
      {
        id: "root",
        file: "d",
        format: "qcow2",
        otherFiles: "anywhere",
        cacheBytes: 2 ** 31,
        readOnly: true,
        serial: "12345678901234567890",
        queues: 2,
        writeCache: false,
        cache: "none",
        aio: "threads",
        discard: "ignore",
        detectZeroes: "unmap",
        rerror: "stop",
        werror: "enospc",
        throttling: { iopsTotal: 100, bpsRead: 2 ** 20 },
        snapshot: true,
        configWce: false,
        queueSize: 2,
        interface: "virtio",
        media: "disk",
        index: 1,
        model: "MODEL",
        chsTranslation: "lba",
        ...{ controller: undefined, target: undefined, lun: undefined },
        bootindex: 3,
      },
    ],
    cpu: "host",
    rtcOffset: 0,
    rtcSlew: false,
    fwCfg: [],
    flash: [],
    smbios: [],
    numa: [],
    hugePages: false,
    prealloc: false,
    threads: "auto",
    polling: { maxNs: 2_000_000, grow: 0, shrink: 0 },
    network: [],
    scsi: [],
    topology: { sockets: 1, dies: 1, cores: 254, threads: 1 },
    serialPorts: 4,
    pit: false,
    hpet: false,
    uuid: "00112233-4455-6677-8899-aabbccddeeff",
    ...{ firmware: "bios.bin", firmwareFolder: "folder", bootOrder: "dc", bootOnce: "d", bootMenu: true },
    bootStrict: true,
    generationId: false,
    rng: { id: "entropy" },
    devices: [
      { name: "thermometer", port: 0x510, length: 2, handlers },
      { name: "leds", address: 0xd000_0000, length: 4096, handlers },
    ],
    onReset: "exit",
    onUnclaimed,
    kvm: "/dev/kvm2",
  } as const;
  const limits = { iopsTotal: 100, iopsRead: 0, iopsWrite: 0, bpsTotal: 0, bpsRead: 2 ** 20, bpsWrite: 0 };
  expect(checkOptions(given)).toEqual({
    ...given,
    drives: [{ ...given.drives[0], ...NO_PCI, source: undefined, throttling: limits }],
    rng: { ...given.rng, ...NO_PCI },
    memory: 1.5 * 2 ** 30,
    devices: [
      { ...given.devices[0], address: undefined },
      { ...given.devices[1], port: undefined },
    ],
    ownDevices: [
      { name: "thermometer", space: "ports", address: 0x510, length: 2 },
      { name: "leds", space: "memory", address: 0xd000_0000, length: 4096 },
    ],
  });
});

test.each([
  ["writeback", true],
  ["none", true],
  ["writethrough", false],
  ["directsync", false],
  ["unsafe", true],
] as const)(
  "cache %s gives the device a write cache: %s, unless that is chosen apart",
  (cache, writeCache) => {
    const [drive, chosen] = checkOptions({
      ...OK,
      drives: [
        { file: "a", cache },
        { file: "a", cache, writeCache: !writeCache },
      ],
    }).drives;
    expect(drive).toMatchObject({ cache, writeCache });
    expect(chosen).toMatchObject({ cache, writeCache: !writeCache });
  },
);

test("a number of bytes may be written with a unit, wherever a program gives one", () => {
  expect(checkOptions(disk({ cacheBytes: "16M" })).drives[0].cacheBytes).toBe(2 ** 24);
});

test("an option that is undefined is one that was not given", () => {
  const names = Object.keys(checkOptions(OK)).filter((name) => name !== "kernel" && name !== "ownDevices");
  const nothing = Object.fromEntries(names.map((name) => [name, undefined]));
  expect(check({ ...OK, ...nothing })).toEqual(checkOptions(OK));
});

test("a program's device may be an object of a class", () => {
  class Thermometer {
    degrees = 21;
    read() {
      return this.degrees;
    }
  }
  expect(checkOptions(device({ port: 0x510, handlers: new Thermometer() })).ownDevices.length).toBe(1);
});

test.each<[unknown, string]>([
  // The whole.
  [undefined, "createVm: undefined is not an object"],
  [null, "createVm: null is not an object"],
  ["vmlinuz", "createVm: vmlinuz is not an object"],
  [{}, "kernel: missing; give the path of a bzImage, a vmlinux, a Multiboot kernel or a flat binary"],
  [{ ...OK, memroy: "1G" }, 'createVm: unknown option "memroy" (did you mean "memory"?)'],
  [{ ...OK, qwertyuiop: 1 }, 'createVm: unknown option "qwertyuiop"'],
  [{ ...OK, constructor: 1 }, 'createVm: unknown option "constructor"'],
  [JSON.parse('{ "kernel": "k", "__proto__": 1 }'), 'createVm: unknown option "__proto__"'],

  // One sentence for each kind of value.
  [{ ...OK, name: 5 }, "name: 5 is not a string"],
  [{ ...OK, memory: true }, 'memory: true is not a number of bytes or a string such as "256M"'],
  [{ ...OK, cpus: "2" }, 'cpus: "2" is not a number'],
  [{ ...OK, cpus: 2n }, "cpus: 2 is not a number"],
  [{ kernel: ["vmlinuz"] }, "kernel: an object is not a path or a Uint8Array"],
  [{ kernel: null }, "kernel: null is not a path or a Uint8Array"],
  [{ ...OK, initrd: 1 }, "initrd: 1 is not a path or a Uint8Array"],
  [{ ...OK, cmdline: ["quiet"] }, "cmdline: an object is not a string"],
  [{ ...OK, drives: { file: "a" } }, "drives: an object is not an array"],
  [{ ...OK, devices: "x" }, 'devices: "x" is not an array'],
  [{ ...OK, rng: "on" }, 'rng: "on" is not true or false'],
  [{ ...OK, onUnclaimed: true }, "onUnclaimed: true is not a function"],
  [{ ...OK, kvm: () => "/dev/kvm" }, "kvm: a function is not a string"],
  [{ ...OK, kvm: Symbol("kvm") }, "kvm: Symbol(kvm) is not a string"],

  // Values.
  [
    { ...OK, machine: "microvn" },
    'machine: "microvn" is not known (did you mean "microvm"?); use microvm or pc',
  ],
  [{ ...OK, memory: "256X" }, 'memory: "256X" has the unknown unit "X"; use K, M, G or T'],
  [{ ...OK, memory: "much" }, 'memory: "much" is not a size; write a number with K, M, G or T, as in 256M'],
  [{ ...OK, memory: "1023K" }, 'memory: "1023K" is out of range; give from 1M to 1T'],
  [{ ...OK, memory: "2T" }, 'memory: "2T" is out of range; give from 1M to 1T'],
  [{ ...OK, memory: 0 }, "memory: 0 is out of range; give from 1M to 1T"],
  [{ ...OK, memory: -1 }, "memory: -1 is out of range; give from 1M to 1T"],
  [{ ...OK, memory: Number.NaN }, "memory: NaN is out of range; give from 1M to 1T"],
  [{ ...OK, memory: 2 ** 21 + 0.5 }, "memory: 2097152.5 is out of range; give from 1M to 1T"],
  [{ ...OK, memory: "1025K" }, 'memory: "1025K" is not a multiple of 4K'],
  [{ ...OK, memoryBacking: "file" }, 'memoryBacking: "file" is not known; use memfd or anonymous'],
  [{ ...OK, cpus: 0 }, "cpus: 0 is out of range; give a whole number from 1 to 254"],
  [{ ...OK, cpus: 255 }, "cpus: 255 is out of range; give a whole number from 1 to 254"],
  [{ ...OK, cpus: 1.5 }, "cpus: 1.5 is out of range; give a whole number from 1 to 254"],
  [{ ...OK, cpus: Number.NaN }, "cpus: NaN is out of range; give a whole number from 1 to 254"],
  [
    { ...OK, loadAddress: 2 ** 20 },
    "loadAddress: 1048576 is out of range; give a whole number from 0 to 1048575",
  ],
  [
    { ...OK, cpus: 5, topology: { sockets: 2, cores: 2 } },
    "topology: there is room for 4 CPUs, and cpus is 5",
  ],
  [
    { ...OK, cpus: 193, topology: { sockets: 65, cores: 3 } },
    "topology: the last CPU would have APIC id 256; this version has ids up to 254. Powers of two leave no gaps",
  ],
  [{ ...OK, topology: { cores: 0 } }, "topology.cores: 0 is out of range; give a whole number from 1 to 254"],
  [{ ...OK, serialPorts: 5 }, "serialPorts: 5 is out of range; give a whole number from 1 to 4"],
  [{ ...OK, serialPorts: 0 }, "serialPorts: 0 is out of range; give a whole number from 1 to 4"],
  [{ ...OK, onReset: "halt" }, 'onReset: "halt" is not known; use reset or exit'],

  // Drives.
  [{ ...OK, drives: ["disk.img"] }, "drives[0]: disk.img is not an object"],
  [{ ...OK, drives: [{ file: "a" }, null] }, "drives[1]: null is not an object"],
  [{ ...OK, drives: [{}] }, "drives[0].file: missing"],
  [disk({ file: "" }), "drives[0].file: missing"],
  [disk({ file: 3 }), "drives[0].file: 3 is not a string"],
  [disk({ file: "a", source: { size: 512, read() {} } }), "drives[0]: give either file or source"],
  [{ ...OK, drives: [{ source: { size: 512 } }] }, "drives[0].source.read: missing; give { size, read, … }"],
  [
    { ...OK, drives: [{ source: { size: 700, read() {} } }] },
    "drives[0].source: a disk of 700 bytes: the size must be a multiple of 512",
  ],
  [
    { ...OK, drives: [{ source: { size: 512, read() {} }, snapshot: true }] },
    "drives[0].snapshot: a disk of the program's own is not an image file; leave this out",
  ],
  [
    disk({ file: "nbd://host/disk", format: "qcow2" }),
    "drives[0].format: a disk behind an NBD server is not an image file; leave this out",
  ],
  [
    disk({ cache: "fast" }),
    'drives[0].cache: "fast" is not known; use writeback, none, writethrough, directsync or unsafe',
  ],
  [{ kernel: "k", hpet: true }, "hpet: a microvm has none; make the machine a pc"],
  [
    { machine: "pc", hpet: true, devices: [{ address: 0xfed00000, length: 8, handlers: {} }] },
    "devices[0]: 8 bytes at 0xfed00000 overlap the HPET, 0xfed00000-0xfed003ff",
  ],
  [
    disk({ interface: "ide" }),
    "drives[0].interface: a microvm has virtio disks only; leave this out, or make the machine a pc",
  ],
  [
    disk({ media: "cdrom" }),
    'drives[0].media: a virtio disk is not a CD drive; give it interface "scsi", or "ide" on a pc, or make it read-only',
  ],
  [
    { machine: "pc", drives: [0, 0].map((index) => ({ interface: "ide", media: "cdrom", index })) },
    "drives[1].index: drives[0] is at place 0 of the IDE channels",
  ],
  [
    { machine: "pc", drives: [0, 1, 2, 3, 4].map(() => ({ interface: "ide", media: "cdrom" })) },
    "drives[4].interface: the two IDE channels have four drives already",
  ],
  [disk({ rerror: "enospc" }), 'drives[0].rerror: "enospc" is not known; use report, ignore or stop'],
  [
    disk({ throttling: { iopsTotal: 1, iopsRead: 1 } }),
    "drives[0].throttling: give either iopsTotal, or iopsRead and iopsWrite",
  ],
  [disk({ throttling: { iops: 1 } }), 'drives[0].throttling: unknown option "iops"'],
  [disk({ fromat: "raw" }), 'drives[0]: unknown option "fromat" (did you mean "format"?)'],
  [
    disk({ format: "qed" }),
    'drives[0].format: "qed" is not known; use raw, qcow2, vmdk, vpc, vhdx, vdi or auto',
  ],
  [disk({ readOnly: 1 }), "drives[0].readOnly: 1 is not true or false"],
  [
    disk({ serial: "123456789012345678901" }),
    'drives[0].serial: "123456789012345678901" is not at most 20 characters of ASCII',
  ],
  [disk({ serial: "größe" }), 'drives[0].serial: "größe" is not at most 20 characters of ASCII'],
  [disk({ serial: "a\n" }), 'drives[0].serial: "a\\n" is not at most 20 characters of ASCII'],
  [disk({ queues: 0 }), "drives[0].queues: 0 is out of range; give a whole number from 1 to 64"],
  [disk({ queues: 65 }), "drives[0].queues: 65 is out of range; give a whole number from 1 to 64"],
  [disk({ queueSize: 512 }), "drives[0].queueSize: 512 is out of range; give a whole number from 2 to 256"],
  [disk({ queueSize: 6 }), "drives[0].queueSize: 6 is not a power of two"],
  [disk({ addr: "4" }), "drives[0].addr: a microvm has no PCI bus; leave this out"],
  [{ ...OK, rng: { disableModern: true } }, "rng.disableModern: a microvm has no PCI bus; leave this out"],
  [
    { ...OK, machine: "pc", rng: { disableModern: true, disableLegacy: true } },
    "rng.disableLegacy: with disableModern the device would have no interface",
  ],
  [
    { ...OK, machine: "pc", rng: { addr: "4.8" } },
    'rng.addr: "4.8" is not a place on a PCI bus; give a slot from 0 to 1f, as in 4 or 4.0',
  ],
  [
    { ...OK, machine: "pc", drives: drives(31) },
    "createVm: 31 virtio devices (drives and others) are too many; this machine has room for 30",
  ],
  [disk({ writeCache: "off" }), 'drives[0].writeCache: "off" is not true or false'],
  [
    { ...OK, drives: drives(13) },
    "createVm: 13 virtio devices (drives and others) are too many; this machine has room for 12",
  ],
  [
    { ...OK, drives: drives(12), rng: true },
    "createVm: 13 virtio devices (drives and others) are too many; this machine has room for 12",
  ],

  // Devices of the program's own.
  [{ ...OK, devices: [7] }, "devices[0]: 7 is not an object"],
  [device({}), "devices[0]: give either port or address"],
  [device({ port: 1, address: 1 }), "devices[0]: give either port or address"],
  [device({ prot: 1 }), 'devices[0]: unknown option "prot" (did you mean "port"?)'],
  [device({ port: 1, handlers: undefined }), "devices[0].handlers: missing; give { read, write }"],
  [device({ port: 1, handlers: () => 0 }), "devices[0].handlers: a function is not an object"],
  [device({ port: 1, handlers: { read: 7 } }), "devices[0].handlers.read: 7 is not a function"],
  [device({ port: 1, handlers: { write: "w" } }), 'devices[0].handlers.write: "w" is not a function'],
  [device({ port: 0x10000 }), "devices[0].port: 65536 is out of range; give a whole number from 0 to 65535"],
  [device({ port: -1 }), "devices[0].port: -1 is out of range; give a whole number from 0 to 65535"],
  [
    device({ port: 0xffff, length: 2 }),
    "devices[0].length: 2 ports from 65535 on are beyond the last port, 65535",
  ],
  [device({ port: 1, length: undefined }), "devices[0].length: missing; give it in bytes"],
  [
    device({ address: 0xd000_0000, length: 0 }),
    "devices[0].length: 0 is out of range; give a whole number from 1 to 1073741824",
  ],
  [
    device({ address: 1.5 }),
    "devices[0].address: 1.5 is out of range; give a whole number from 0 to 70368744177664",
  ],
  [
    device({ address: 0x7ff_ffff, length: 2 }),
    "devices[0]: 2 bytes at 0x7ffffff overlap the guest's RAM, 0x0-0x7ffffff",
  ],
  [
    { ...device({ address: 0x1_0000_0000 }), memory: "4G" },
    "devices[0]: 1 bytes at 0x100000000 overlap the guest's RAM, 0x100000000-0x13fffffff",
  ],
  [
    device({ address: 0xfebf_ffff, length: 2 }),
    "devices[0]: 2 bytes at 0xfebfffff overlap the I/O APIC, 0xfec00000-0xfec00fff",
  ],
  [
    device({ address: 0xfee0_0ff0, length: 4 }),
    "devices[0]: 4 bytes at 0xfee00ff0 overlap the local APICs, 0xfee00000-0xfee00fff",
  ],
  [
    device({ port: 0x1f, length: 2 }),
    "devices[0]: 2 ports at 0x1f overlap the interrupt controllers, 0x20-0x21",
  ],
  [
    device({ port: 0x43 }),
    "devices[0]: 1 ports at 0x43 overlap the PIT (leave it out with pit: false), 0x40-0x43",
  ],
  [
    device({ port: 0x61 }),
    "devices[0]: 1 ports at 0x61 overlap the PIT's gate (leave it out with pit: false), 0x61",
  ],
  [
    device({ address: 0xfeff_f000, length: 4 }),
    "devices[0]: 4 bytes at 0xfefff000 overlap pages that KVM uses, 0xfeffc000-0xfeffffff",
  ],
])("%o: %s", (options, sentence) => {
  expect(() => check(options)).toThrow(new OptionError(sentence));
});

test("without a PIT, its ports are free for a device", () => {
  for (const port of [0x43, 0x61]) {
    expect(checkOptions({ ...device({ port }), pit: false }).ownDevices[0].address).toBe(port);
  }
});

test("a device right behind the guest's RAM is in nobody's way", () => {
  expect(checkOptions(device({ address: 0x800_0000 })).ownDevices[0].address).toBe(0x800_0000);
});

test("the limits themselves are allowed", () => {
  for (const memory of ["1M", "1T", 2 ** 20, 2 ** 40]) checkOptions({ ...OK, memory });
  expect(checkOptions({ ...OK, cpus: 254, drives: drives(12) }).drives.length).toBe(12);
  expect(checkOptions({ ...OK, drives: drives(11), rng: true }).rng).toEqual(NO_PCI);
  checkOptions({ ...OK, devices: [{ name: "most", port: 0x1000, length: 0xf000, handlers }] });
});

test("a drive on SCSI has a controller, and a place that a snapshot can name", () => {
  const scsi = { file: "a", interface: "scsi" } as const;
  const { drives, scsi: controllers } = checkOptions({
    ...OK,
    cpus: 2,
    drives: [scsi, { ...scsi, target: 0, lun: 1 }, scsi],
  });
  expect(controllers).toMatchObject([{ queues: 2, queueSize: 256 }]);
  expect(drives).toMatchObject([
    { controller: 0, target: 0, lun: 0, queues: 2 },
    { controller: 0, target: 0, lun: 1 },
    { controller: 0, target: 1, lun: 0 },
  ]);
  const twice = {
    ...OK,
    drives: [
      { ...scsi, target: 0 },
      { ...scsi, target: 0 },
    ],
  };
  expect(() => checkOptions(twice)).toThrow("drives[1].target: drives[0] is unit 0 of target 0 already");
  expect(() => checkOptions({ ...OK, drives: [{ ...scsi, controller: 1 }] })).toThrow("there is no scsi[1]");
});
