import { describe, expect, test } from "vitest";
import { BSY, DRDY, DRQ, ERR, IdeDriver, IdeRig, pattern, RAM } from "../../support/ide-driver.ts";

const READ = 0x20;
const READ_EXT = 0x24;
const READ_MULTIPLE = 0xc4;
const WRITE = 0x30;
const WRITE_EXT = 0x34;
const WRITE_MULTIPLE = 0xc5;
const SET_MULTIPLE = 0xc6;
const READ_DMA = 0xc8;
const READ_DMA_EXT = 0x25;
const WRITE_DMA = 0xca;
const WRITE_DMA_FUA = 0x3d;
const IDENTIFY = 0xec;
const SET_FEATURES = 0xef;
const FLUSH = 0xe7;
const ABRT = 4;
const IDNF = 0x10;

const READY = 0x50;

function disk(unit = 0, options: ConstructorParameters<typeof IdeRig>[1] = {}) {
  const kinds = [0, 1, 2, 3].map((n) => (n === unit ? ("disk" as const) : undefined));
  const rig = new IdeRig(kinds, options);
  return { rig, driver: new IdeDriver(rig, unit) };
}

function expected(unit: number, offset: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => pattern(unit, offset + i));
}

function words(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.slice().buffer);
}

function text(bytes: Uint8Array, word: number, count: number): string {
  return Array.from({ length: 2 * count }, (_, i) => String.fromCharCode(bytes[(2 * word + i) ^ 1]))
    .join("")
    .trimEnd();
}

test("after power-on a disk is ready and signs as a disk", () => {
  const { driver } = disk();
  driver.select();
  expect(driver.status).toBe(READY);
  expect(driver.error).toBe(1);
  expect(driver.registers).toEqual([1, 1, 0, 0]);
});

test("IDENTIFY DEVICE: names, geometry, sectors of both address lengths, and modes", () => {
  const { rig, driver } = disk(0, { bytes: 1 << 20, disk: { blockSize: 4096 } });
  driver.command(IDENTIFY);
  expect(driver.alternate).toBe(READY | DRQ);
  expect(rig.lines[0]).toBe(true);
  const bytes = driver.read(1024);
  expect(bytes.length).toBe(512);
  const word = words(bytes);
  expect(text(bytes, 10, 10)).toBe("serial-0");
  expect(text(bytes, 27, 20)).toBe("VMEXIT DRIVE0");
  expect([...word.subarray(0, 7)]).toEqual([0x40, 2, 0, 16, 0, 0, 63]);
  expect(word[60] + word[61] * 65536).toBe(2048);
  expect(word[100] + word[101] * 65536).toBe(2048);
  expect(word[106] & 0xff).toBe(3); // 2^3 sectors in a block of 4096 bytes
  expect(word[83] & (1 << 10)).not.toBe(0);
  expect(driver.status).toBe(READY);
});

describe.each([
  [
    "by 28 bits",
    (d: IdeDriver, c: number, lba: number, n: number) => d.command(c, { lba, count: n }),
    READ,
    WRITE,
  ],
  [
    "by 48 bits",
    (d: IdeDriver, c: number, lba: number, n: number) => d.commandExt(c, lba, n),
    READ_EXT,
    WRITE_EXT,
  ],
] as const)("sectors %s", (_, give, read, write) => {
  test.each([0, 1, 2, 3])(
    "READ SECTORS of drive %i, more than fit its buffer, one interrupt a sector",
    (unit) => {
      const { rig, driver } = disk(unit);
      give(driver, read, 5, 150);
      let bytes = 0;
      for (let sector = 0; sector < 150; sector++) {
        expect(rig.lines[unit >> 1]).toBe(true);
        expect(driver.status).toBe(READY | DRQ);
        expect(rig.lines[unit >> 1]).toBe(false);
        const data = driver.read(512);
        if (!expectedIs(data, unit, (5 + sector) * 512)) expect.unreachable(`sector ${sector} is wrong`);
        bytes += data.length;
      }
      expect(bytes).toBe(150 * 512);
      expect(driver.status).toBe(READY);
      expect(rig.edges[unit >> 1]).toBe(150);
    },
  );

  test("WRITE SECTORS: the first block without an interrupt, the end with one", () => {
    const { rig, driver } = disk();
    give(driver, write, 9, 70);
    expect(rig.lines[0]).toBe(false);
    const data = Uint8Array.from({ length: 70 * 512 }, (_, i) => (i * 3) & 0xff);
    for (let sector = 0; sector < 70; sector++) {
      expect(driver.status & (BSY | DRQ)).toBe(DRQ);
      driver.write(data.subarray(sector * 512, (sector + 1) * 512), 4);
      expect(rig.lines[0]).toBe(true);
    }
    expect(driver.status).toBe(READY);
    expect(rig.storage[0].bytes.subarray(9 * 512, 79 * 512)).toEqual(data);
    expect(rig.storage[0].calls).toEqual(["writev 4608", "writev 37376"]);
    expect(rig.edges[0]).toBe(70);
  });
});

function expectedIs(data: Uint8Array, unit: number, offset: number): boolean {
  return data.every((byte, i) => byte === pattern(unit, offset + i));
}

test("READ and WRITE MULTIPLE: an interrupt for each block, and the rest in a shorter one", () => {
  const { rig, driver } = disk();
  driver.command(READ_MULTIPLE, { count: 1 });
  expect([driver.status & ERR, driver.error]).toEqual([ERR, ABRT]); // not set yet
  driver.command(SET_MULTIPLE, { count: 8 });
  expect(driver.status).toBe(READY);
  rig.edges[0] = 0;
  driver.command(READ_MULTIPLE, { lba: 3, count: 20 });
  const blocks: number[] = [];
  while (driver.status & DRQ) {
    let length = 0;
    const before = rig.edges[0];
    while (rig.edges[0] === before && driver.alternate & DRQ) length += driver.read(2).length;
    blocks.push(length);
  }
  expect(blocks).toEqual([4096, 4096, 2048]);
  driver.command(WRITE_MULTIPLE, { lba: 100, count: 16 });
  const data = new Uint8Array(16 * 512).fill(0xa7);
  rig.edges[0] = 0;
  expect(driver.write(data)).toBe(data.length);
  expect(rig.edges[0]).toBe(1); // the driver did not read the status between the blocks
  expect(rig.storage[0].bytes.subarray(100 * 512, 116 * 512)).toEqual(data);
  driver.command(SET_MULTIPLE, { count: 3 });
  expect(driver.error).toBe(ABRT);
  driver.command(SET_MULTIPLE, { count: 32 });
  expect(driver.error).toBe(ABRT);
});

test("CHS addresses follow INITIALIZE DEVICE PARAMETERS", () => {
  const { rig, driver } = disk();
  const readChs = (cylinder: number, head: number, sector: number) => {
    rig.out(6, 0xa0 | head);
    rig.out(2, 1);
    rig.out(3, sector);
    rig.out(4, cylinder & 0xff);
    rig.out(5, cylinder >> 8);
    rig.out(7, READ);
    return driver.read(512);
  };
  expect(readChs(1, 2, 3)).toEqual(expected(0, ((1 * 16 + 2) * 63 + 2) * 512, 512));
  rig.out(6, 0xa0 | 3);
  rig.out(2, 17);
  rig.out(7, 0x91);
  expect(driver.status).toBe(READY);
  expect(readChs(5, 1, 17)).toEqual(expected(0, ((5 * 4 + 1) * 17 + 16) * 512, 512));
  readChs(0, 0, 0);
  expect([driver.status & ERR, driver.error]).toEqual([ERR, IDNF]); // sectors count from 1
});

test("addresses beyond the end are not found, and nothing is asked of the storage", () => {
  const { rig, driver } = disk();
  for (const command of [READ, WRITE, READ_DMA, WRITE_DMA, 0x40]) {
    driver.command(command, { lba: 2047, count: 2 });
    expect([driver.status & (ERR | DRQ | BSY), driver.error]).toEqual([ERR, IDNF]);
  }
  driver.commandExt(READ_EXT, 2 ** 47, 1);
  expect(driver.error).toBe(IDNF);
  driver.commandExt(READ_EXT, 0, 0); // 65536 sectors
  expect(driver.error).toBe(IDNF);
  driver.command(READ, { count: 0 }); // 256 sectors
  expect(driver.status).toBe(READY | DRQ);
  expect(rig.storage[0].calls).toEqual(["readv 0"]);
});

describe("DMA", () => {
  test("READ DMA goes straight to the pages of the table; the bus master reports the interrupt", () => {
    const { rig, driver } = disk(3);
    rig.table(RAM, [
      [RAM + 0x1001, 0x1000], // bit 0 of an address does not count
      [RAM + 0x8000, 0x200],
      [RAM + 0x20000, 0],
    ]);
    const sectors = (0x1200 + 0x10000) / 512;
    const status = driver.dma(RAM, true, () => driver.command(READ_DMA, { lba: 11, count: sectors }));
    expect(status).toBe(0x64);
    expect(rig.ram(RAM + 0x1000, 0x1000)).toEqual(expected(3, 11 * 512, 0x1000));
    expect(rig.ram(RAM + 0x8000, 0x200)).toEqual(expected(3, 11 * 512 + 0x1000, 0x200));
    expect(rig.ram(RAM + 0x20000, 0x10000)).toEqual(expected(3, 11 * 512 + 0x1200, 0x10000));
    expect(rig.edges).toEqual([0, 1]);
    expect(driver.status).toBe(READY);
    expect(rig.storage[3].calls).toEqual(["readv 5632"]);
  });

  test("the bus master may be started before the command", () => {
    const { rig, driver } = disk();
    rig.table(RAM, [[RAM + 0x1000, 512]]);
    rig.outMaster(4, RAM, 4);
    rig.outMaster(0, 9);
    expect(rig.inMaster(2)).toBe(1);
    driver.commandExt(READ_DMA_EXT, 7, 1);
    expect(rig.inMaster(2)).toBe(4);
    expect(rig.ram(RAM + 0x1000, 512)).toEqual(expected(0, 7 * 512, 512));
  });

  test("WRITE DMA, from pieces of any length", () => {
    const { rig, driver } = disk();
    const data = Uint8Array.from({ length: 1024 }, (_, i) => (i * 5) & 0xff);
    rig.ram(RAM + 0x3000, 1024).set(data);
    rig.table(RAM, [
      [RAM + 0x3000, 2],
      [RAM + 0x3002, 700],
      [RAM + 0x3000 + 702, 322],
    ]);
    expect(driver.dma(RAM, false, () => driver.command(WRITE_DMA, { lba: 1, count: 2 }))).toBe(0x64);
    expect(rig.storage[0].bytes.subarray(512, 1536)).toEqual(data);
  });

  test("a table with more pieces than one transfer takes", () => {
    const { rig, driver } = disk();
    rig.table(
      RAM,
      Array.from({ length: 1024 }, (_, n) => [RAM + 0x4000 + n * 66, 66] as const),
    );
    const sectors = 128;
    expect(driver.dma(RAM, true, () => driver.command(READ_DMA, { count: sectors }))).toBe(0x65); // 67584 bytes > 65536: more is left
    expect(rig.ram(RAM + 0x4000, 65536)).toEqual(expected(0, 0, 65536));
    expect(rig.storage[0].calls.length).toBe(4);
  });

  test("descriptors that are left keep the bus master active", () => {
    const { rig, driver } = disk();
    rig.table(RAM, [[RAM + 0x1000, 1024]]);
    expect(driver.dma(RAM, true, () => driver.command(READ_DMA, { count: 1 }))).toBe(0x65);
  });

  test("descriptors that are too short stop it without an interrupt", () => {
    const { rig, driver } = disk();
    rig.table(RAM, [[RAM + 0x1000, 700]]);
    expect(driver.dma(RAM, true, () => driver.command(READ_DMA, { count: 2 }))).toBe(0x60);
    expect(rig.edges[0]).toBe(0);
    expect(rig.ram(RAM + 0x1000, 512)).toEqual(expected(0, 0, 512));
    expect(driver.status).toBe(READY);
  });

  test.each([
    ["a table outside RAM", 0x10, []],
    ["memory outside RAM", RAM, [[0xfee0_0000, 512]]],
    ["memory that RAM ends in", RAM, [[RAM + 0x10_0000 - 256, 512]]],
  ] as const)("%s: the bus master reports an error, and the command fails", (_, table, regions) => {
    const { rig, driver } = disk();
    if (regions.length > 0) rig.table(RAM, regions);
    expect(driver.dma(table, true, () => driver.command(READ_DMA, { count: 1 }))).toBe(0x66);
    expect(driver.status & ERR).toBe(ERR);
    expect(rig.storage[0].calls).toEqual([]);
  });

  test("without its bus master bit the function moves nothing", () => {
    const { rig, driver } = disk();
    rig.mayMaster = false;
    rig.table(RAM, [[RAM + 0x1000, 512]]);
    expect(driver.dma(RAM, true, () => driver.command(READ_DMA, { count: 1 })) & 2).toBe(2);
    expect(rig.storage[0].calls).toEqual([]);
  });

  test("stopping the bus master waits for what is in flight", () => {
    const { rig, driver } = disk();
    rig.storage[0].later = true;
    rig.storage[0].slow = true;
    rig.table(RAM, [[RAM + 0x1000, 512]]);
    const status = driver.dma(RAM, true, () => driver.command(READ_DMA, { count: 1 }));
    expect(status).toBe(0x61); // active, until it was stopped
    expect(rig.ram(RAM + 0x1000, 512)).toEqual(expected(0, 0, 512));
    expect(driver.status).toBe(READY);
  });
});

describe("writes and stable storage", () => {
  const write = (driver: IdeDriver) => {
    driver.command(WRITE, { count: 1 });
    driver.write(new Uint8Array(512));
  };

  test("with the cache on, FLUSH CACHE; with it off, each write", () => {
    const { rig, driver } = disk();
    write(driver);
    driver.command(FLUSH);
    driver.command(0xea);
    driver.command(SET_FEATURES, { feature: 0x82 });
    write(driver);
    driver.command(SET_FEATURES, { feature: 0x02 });
    write(driver);
    expect(rig.storage[0].calls).toEqual([
      "writev 0",
      "flush",
      "flush",
      "flush",
      "writev 0 dsync",
      "writev 0",
    ]);
  });

  test("a drive without a write cache", () => {
    const { rig, driver } = disk(0, { disk: { writeCache: false } });
    write(driver);
    expect(rig.storage[0].calls).toEqual(["writev 0 dsync"]);
  });

  test("WRITE DMA FUA", () => {
    const { rig, driver } = disk();
    rig.table(RAM, [[RAM + 0x1000, 512]]);
    driver.dma(RAM, false, () => driver.commandExt(WRITE_DMA_FUA, 2, 1));
    expect(rig.storage[0].calls).toEqual(["writev 1024 dsync"]);
  });

  test("a read-only disk refuses writes", () => {
    const { rig, driver } = disk(0, { disk: { readOnly: true } });
    for (const command of [WRITE, WRITE_EXT, WRITE_DMA]) {
      driver.command(command, { count: 1 });
      expect([driver.status & (ERR | DRQ), driver.error]).toEqual([ERR, ABRT]);
    }
    expect(rig.storage[0].calls).toEqual([]);
  });
});

test("SET FEATURES: transfer modes that IDENTIFY offers, and what follows there", () => {
  const { driver } = disk();
  for (const [mode, result] of [
    [0x00, READY],
    [0x0c, READY],
    [0x0d, READY | ERR],
    [0x22, READY],
    [0x23, READY | ERR],
    [0x45, READY],
    [0x46, READY | ERR],
    [0x80, READY | ERR],
  ]) {
    driver.command(SET_FEATURES, { feature: 3, count: mode });
    expect([mode, driver.status]).toEqual([mode, result]);
  }
  driver.command(IDENTIFY);
  expect(words(driver.read(512))[88]).toBe(0x203f);
  driver.command(SET_FEATURES, { feature: 0x42 });
  expect(driver.error).toBe(ABRT);
});

test("power commands, RECALIBRATE, SEEK, VERIFY succeed; CHECK POWER MODE knows standby", () => {
  const { driver } = disk();
  for (const command of [
    0x10, 0x1f, 0x70, 0xe0, 0xe1, 0xe2, 0xe3, 0x94, 0x95, 0x96, 0x97, 0x99, 0xe6, 0x40, 0x42,
  ]) {
    driver.command(command, { count: 1 });
    expect([command, driver.status]).toEqual([command, READY]);
  }
  driver.command(0xe0);
  driver.command(0xe5);
  expect(driver.registers[0]).toBe(0);
  driver.command(READ, { count: 1 });
  driver.read(512);
  driver.command(0x98);
  expect(driver.registers[0]).toBe(0xff);
});

test("READ NATIVE MAX ADDRESS, and the high bytes behind HOB", () => {
  const { rig, driver } = disk();
  driver.command(0xf8);
  expect(driver.registers.slice(1)).toEqual([0xff, 7, 0]);
  rig.units[0].regs.mediaSectors = 2 ** 40 + 2 ** 25;
  driver.commandExt(0x27, 0, 0);
  expect(driver.registers.slice(1)).toEqual([0xff, 0xff, 0xff]);
  rig.out(8, 0x80);
  expect(driver.registers.slice(1)).toEqual([1, 0, 1]);
  rig.out(3, 0); // a write to the command block ends that
  expect(driver.registers.slice(1)).toEqual([0, 0xff, 0xff]);
  driver.command(0xf8);
  expect([...driver.registers.slice(1), rig.in(6) & 0x0f]).toEqual([0xff, 0xff, 0xff, 0x0f]);
});

test("SMART: data whose sum is zero, good health, and nothing while it is off", () => {
  const { driver } = disk();
  const smart = (feature: number, lba = 0xc24f00) => driver.command(0xb0, { feature, lba, count: 1 });
  for (const feature of [0xd0, 0xd1]) {
    smart(feature);
    const bytes = driver.read(512);
    expect(bytes.reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
  }
  smart(0xda);
  expect([driver.status, ...driver.registers.slice(2)]).toEqual([READY, 0x4f, 0xc2]);
  smart(0xd0, 0);
  expect(driver.error).toBe(ABRT);
  smart(0xd5, 0xc24f00);
  expect(driver.read(512)[0]).toBe(1);
  smart(0xd5, 0xc24f55);
  expect(driver.error).toBe(ABRT);
  smart(0xd9);
  smart(0xda);
  expect(driver.error).toBe(ABRT);
  smart(0xd8);
  smart(0xda);
  expect(driver.status).toBe(READY);
});

test.each([0x00, 0x06, 0x08, 0xa0, 0xa1, 0xa2, 0xb1, 0xc7, 0xcc, 0xf1, 0xf5, 0xf9, 0xff])(
  "command %i is aborted",
  (command) => {
    const { rig, driver } = disk();
    driver.command(command);
    expect(driver.alternate).toBe(READY | ERR);
    expect(rig.lines[0]).toBe(true);
    expect(driver.error).toBe(ABRT);
  },
);

describe("when the host fails", () => {
  test("report: the driver sees an error, and the user gets a report", () => {
    const { rig, driver } = disk();
    rig.storage[0].failure = -5;
    driver.command(READ, { count: 1 });
    expect([driver.status, driver.error]).toEqual([READY | ERR, 0x40]);
    driver.command(WRITE, { count: 1 });
    driver.write(new Uint8Array(512));
    expect([driver.status, driver.error]).toEqual([READY | ERR, ABRT]);
    expect(rig.reports[0]).toMatch(/^reading 512 bytes at 0 failed: EIO/);
    rig.storage[0].failure = 0;
    driver.command(READ, { count: 1 });
    expect(driver.status).toBe(READY | DRQ);
  });

  test("ignore: the driver sees success", () => {
    const { rig, driver } = disk(0, { io: { rerror: "ignore" } });
    rig.storage[0].failure = -5;
    driver.command(READ, { count: 1 });
    expect(driver.status).toBe(READY | DRQ);
  });

  test("stop: the command waits until the machine is resumed, and is then carried out whole", () => {
    const { rig, driver } = disk(0, { io: { rerror: "stop" } });
    rig.table(RAM, [[RAM + 0x1000, 1024]]);
    rig.storage[0].failure = -5;
    rig.outMaster(4, RAM, 4);
    rig.outMaster(0, 9);
    driver.command(READ_DMA, { count: 2 });
    expect(driver.status & DRQ).toBe(DRQ);
    rig.task.quiesce();
    rig.storage[0].failure = 0;
    rig.work();
    expect(driver.status & DRQ).toBe(DRQ);
    rig.task.resume();
    rig.work();
    expect(driver.status).toBe(READY);
    expect(rig.ram(RAM + 0x1000, 1024)).toEqual(expected(0, 0, 1024));
    expect(rig.reports).toEqual([
      "reading 1024 bytes at 0 failed: EIO (the host's storage failed). The machine pauses, and tries the request again when it is resumed.",
    ]);
  });
});

test("a disk that became smaller fails what is beyond its end", () => {
  const { rig, driver } = disk();
  rig.serves = false;
  driver.command(READ, { lba: 2000, count: 8 });
  expect(driver.status).toBe(BSY);
  rig.storage[0].bytes.fill(0);
  Object.defineProperty(rig.storage[0], "size", { value: 512 });
  rig.work();
  expect(driver.status).toBe(DRDY | 0x10 | ERR);
});
