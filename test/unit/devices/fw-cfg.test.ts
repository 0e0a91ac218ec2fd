/** fw_cfg: items by ports and by DMA. Source of expectations: QEMU docs/specs/fw_cfg.rst. */
import { expect, test } from "vitest";
import { findFwCfgItem, packFwCfg } from "../../../src/boot/fw-cfg.ts";
import { FwCfg, FwCfgState } from "../../../src/devices/fw-cfg.ts";
import { random } from "../../support/random.ts";

const FILE_DIR = 0x19;
const RAM = 0x1000;
const text = (bytes: Uint8Array) => String.fromCharCode(...bytes);

const PACKED = packFwCfg({
  items: new Map([[0, Uint8Array.from([0x51, 0x45, 0x4d, 0x55])]]),
  files: new Map([
    ["etc/e820", Uint8Array.of(9, 8, 7)],
    ["bootorder", Uint8Array.of(1)],
  ]),
});

function device() {
  const ram = new Uint8Array(RAM);
  const regs = FwCfgState.view(new SharedArrayBuffer(FwCfgState.size), 0);
  const isRam = (address: number, length: number) => address + length <= RAM;
  const chip = new FwCfg(regs, (key) => findFwCfgItem(PACKED, key), {
    read: (at, length) => (isRam(at, length) ? ram.slice(at, at + length) : undefined),
    write(at, bytes) {
      if (!isRam(at, bytes.length)) return false;
      ram.set(bytes, at);
      return true;
    },
  });
  chip.reset();
  const bytes = (count: number) => Uint8Array.from({ length: count }, () => chip.read(1, 1));
  const dma = (control: number, length: number, target: number, at = 0x100) => {
    const request = new DataView(ram.buffer, at, 16);
    request.setUint32(0, control);
    request.setUint32(4, length);
    request.setUint32(12, target);
    chip.write(8, 4, new DataView(Uint8Array.of(0, 0, at >> 8, at & 0xff).buffer).getUint32(0, true));
    return request.getUint32(0);
  };
  return { chip, ram, bytes, dma };
}

test("an item is selected by its key and read byte by byte; beyond its end there are zeros", () => {
  const { chip, bytes } = device();
  expect(text(bytes(4))).toBe("QEMU");
  expect([...bytes(2)]).toEqual([0, 0]);
  chip.write(0, 2, 0x7777);
  expect([...bytes(2)]).toEqual([0, 0]);
});

test("the directory names files in order, with big-endian sizes and keys", () => {
  const { chip, bytes } = device();
  chip.write(0, 2, FILE_DIR);
  const directory = bytes(4 + 2 * 64);
  expect([...directory.subarray(0, 4)]).toEqual([0, 0, 0, 2]);
  expect([...directory.subarray(4, 12)]).toEqual([0, 0, 0, 1, 0, 0x20, 0, 0]);
  expect(text(directory.subarray(12, 22))).toBe("bootorder\0");
  expect([...directory.subarray(68, 76)]).toEqual([0, 0, 0, 3, 0, 0x21, 0, 0]);
});

test("the address register reads as the signature of DMA", () => {
  const { chip } = device();
  expect([chip.read(4, 4), chip.read(8, 4)]).toEqual([0x554d_4551, 0x4746_4320]);
});

test("DMA selects, skips and reads, when only the low half of the address is written", () => {
  const { ram, dma } = device();
  ram.fill(0xee, 0x200, 0x210);
  expect(dma((0x21 << 16) | 0x0a, 2, 0x200)).toBe(0);
  expect([...ram.subarray(0x200, 0x203)]).toEqual([9, 8, 0xee]);
  expect(dma((0x21 << 16) | 0x0c, 1, 0)).toBe(0);
  expect(dma(0x02, 4, 0x200)).toBe(0);
  expect([...ram.subarray(0x200, 0x205)]).toEqual([8, 7, 0, 0, 0xee]);
});

test("a transfer to what is not RAM, and one that would write an item, end with an error", () => {
  const { dma } = device();
  expect(dma((0x21 << 16) | 0x0a, 3, RAM - 1)).toBe(1);
  expect(dma((0x21 << 16) | 0x18, 3, 0x200)).toBe(1);
  expect(dma((0x21 << 16) | 0x0a, 0xffff_ffff, 0x200)).toBe(1);
});

/** One of five begins a transfer by DMA. */
const ACCESSES = Number(process.env.VMEXIT_FW_CFG_ACCESSES ?? 1_000_000);

test("accesses of any kind, and requests of any content: no throw, no write outside RAM", {
  timeout: 600_000,
}, () => {
  const { chip, ram } = device();
  const next = random(0xf00d);
  for (let n = 0; n < ACCESSES; n++) {
    const offset = Math.floor(next() * 12);
    if (n % 1000 === 0) for (let at = 0; at < 0x400; at++) ram[at] = next() * 256;
    if (n % 5 === 0) chip.write(8, 4, (Math.floor(next() * 0x1400) << 16) >>> 0);
    else if (next() < 0.5) chip.read(offset, 1);
    else chip.write(offset, ([1, 2, 4] as const)[n % 3], Math.floor(next() * 256));
  }
  expect(ram.length).toBe(RAM);
});

test("contents of any bytes, as a snapshot may have them, are searched to their end", () => {
  const next = random(7);
  for (let n = 0; n < 200; n++) {
    const bytes = Uint8Array.from({ length: 256 }, () => next() * 256);
    expect(findFwCfgItem(bytes, 3)?.length ?? 0).toBeLessThanOrEqual(256);
  }
});
