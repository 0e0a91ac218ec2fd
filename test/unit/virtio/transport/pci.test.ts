import { expect, test } from "vitest";
import { layout } from "../../../../src/base/layout.ts";
import type { AccessSize, IoDevice } from "../../../../src/bus/io.ts";
import { Msix, MsixState } from "../../../../src/pci/msix.ts";
import { BalloonState, VirtioBalloon } from "../../../../src/virtio/balloon.ts";
import { VirtioBlk, VirtioBlkState } from "../../../../src/virtio/blk/blk.ts";
import { QueueConfigState } from "../../../../src/virtio/queue/split-queue.ts";
import { VirtioRng } from "../../../../src/virtio/rng.ts";
import * as spec from "../../../../src/virtio/spec.ts";
import { VirtioPci, VirtioPciState } from "../../../../src/virtio/transport/pci.ts";
import { modernCapabilities, PciWindowState } from "../../../../src/virtio/transport/pci-capabilities.ts";
import {
  PciInterrupts,
  PciInterruptsState,
  PciQueueVectorState,
} from "../../../../src/virtio/transport/pci-interrupts.ts";
import { legacyBytes, VirtioPciLegacy } from "../../../../src/virtio/transport/pci-legacy.ts";
import * as pci from "../../../../src/virtio/transport/pci-registers.ts";
import { devicePromises } from "../../../support/device-promises.ts";
import { random } from "../../../support/random.ts";
import { blank, type DriverQueue, RAM, TestMemory } from "../../../support/virtio-driver.ts";
import { MODERN_BAR, PciPlugged } from "../../../support/virtio-pci-driver.ts";

const DATA = RAM + 0x8000;
const ACCESSES = Number(process.env.VMEXIT_VIRTIO_PCI_ACCESSES ?? 1_000_000);
const ENABLE = 0x8000;
const DISK = { size: 2 ** 20, blockSize: 512, readOnly: false, serial: "disk", queues: 2, writeCache: true };

function rng(vectors?: number) {
  const memory = new TestMemory();
  const source = { fill: (bytes: Uint8Array) => void bytes.fill(0x5a) };
  return new PciPlugged(new VirtioRng({ memory, source }), memory, vectors);
}

function disk() {
  const device = new VirtioBlk(DISK, { regs: blank(VirtioBlkState), deferred: [] });
  return new PciPlugged(device, new TestMemory());
}

function serveOne({ memory, runner }: PciPlugged, queue: DriverQueue): void {
  queue.add([{ address: DATA, length: 4, writable: true }]);
  runner.serve(0);
  expect(queue.used().map(({ length }) => length)).toEqual([4]);
  expect(memory.at(DATA).getUint32(0, true)).toBe(0x5a5a_5a5a);
  memory.at(DATA).setUint32(0, 0, true);
}

test("a modern driver negotiates, sets up a queue and has a request served", () => {
  const plugged = rng();
  serveOne(plugged, plugged.bringUp(8));
  expect(plugged.status).toBe(spec.ACKNOWLEDGE | spec.DRIVER | spec.FEATURES_OK | spec.DRIVER_OK);
  expect(plugged.legacyChip.inUse).toBe(false);
});

test("without VERSION_1 a modern driver gets no FEATURES_OK", () => {
  const plugged = rng();
  plugged.status = spec.ACKNOWLEDGE | spec.DRIVER;
  plugged.status = spec.ACKNOWLEDGE | spec.DRIVER | spec.FEATURES_OK;
  expect(plugged.status & spec.FEATURES_OK).toBe(0);
});

test("the common configuration structure has the fields of 4.1.4.3", () => {
  const { modern } = disk();
  expect(modern.read(18, 2)).toBe(2); // num_queues
  modern.write(pci.QUEUE_SELECT, 2, 1);
  expect([24, 26, 28, 30].map((at) => modern.read(at, 2))).toEqual([256, pci.NO_VECTOR, 0, 1]);
  modern.write(pci.QUEUE_SIZE, 2, 64);
  modern.write(pci.QUEUE_DESC, 4, 0x1000);
  modern.write(pci.QUEUE_DESC + 4, 4, 0x2);
  expect([modern.read(24, 2), modern.read(32, 4), modern.read(36, 4)]).toEqual([64, 0x1000, 2]);
  modern.write(pci.QUEUE_SELECT, 2, 2);
  expect([24, 26, 28, 30].map((at) => modern.read(at, 2))).toEqual([0, pci.NO_VECTOR, 0, 0]);
  modern.write(pci.DEVICE_FEATURE_SELECT, 4, 1);
  expect(modern.read(pci.DEVICE_FEATURE, 4)).toBe(spec.F_VERSION_1_HIGH);
});

test("a driver that leaves a queue's size alone gets the largest", () => {
  const { modern, configs } = disk();
  modern.write(pci.QUEUE_ENABLE, 2, 1);
  expect([configs[0].size, configs[0].ready]).toEqual([256, 1]);
});

test("with MSI-X off an interrupt is the line, until ISR status is read", () => {
  const plugged = rng();
  serveOne(plugged, plugged.bringUp(8));
  expect([plugged.line, plugged.messages]).toEqual([true, []]);
  expect(plugged.isr).toBe(pci.ISR_QUEUE);
  expect([plugged.line, plugged.isr]).toEqual([false, 0]);
  plugged.transport.configChanged();
  expect(plugged.line).toBe(true);
  expect(plugged.legacy.read(pci.LEGACY_ISR_STATUS, 1)).toBe(pci.ISR_CONFIG);
  expect(plugged.line).toBe(false);
});

test("with MSI-X on each queue has its message, and the line stays low", () => {
  const plugged = rng();
  plugged.msixControl = ENABLE;
  plugged.setMessage(0, 0x30);
  plugged.setMessage(1, 0x31);
  const queue = plugged.bringUp(8, 1);
  plugged.modern.write(pci.CONFIG_MSIX_VECTOR, 2, 0);
  serveOne(plugged, queue);
  plugged.transport.configChanged();
  expect(plugged.messages).toEqual(["fee00000 31", "fee00000 30"]);
  expect(plugged.line).toBe(false);
});

test("switching MSI-X on lowers the line, and off raises it if a cause is left", () => {
  const plugged = rng();
  serveOne(plugged, plugged.bringUp(8));
  plugged.msixControl = ENABLE;
  expect(plugged.line).toBe(false);
  plugged.msixControl = 0;
  expect(plugged.line).toBe(true);
});

test("a queue of a masked vector is pending, and interrupts when it is unmasked", () => {
  const plugged = rng();
  plugged.msixControl = ENABLE;
  plugged.setMessage(1, 0x31, true);
  serveOne(plugged, plugged.bringUp(8, 1));
  expect(plugged.messages).toEqual([]);
  plugged.setMessage(1, 0x32);
  expect(plugged.messages).toEqual(["fee00000 32"]);
});

test("a vector that the device does not have reads back as NO_VECTOR, and nothing is sent", () => {
  const plugged = rng(2);
  plugged.msixControl = ENABLE;
  const queue = plugged.bringUp(8, 2);
  expect(plugged.modern.read(pci.QUEUE_MSIX_VECTOR, 2)).toBe(pci.NO_VECTOR);
  serveOne(plugged, queue);
  expect(plugged.messages).toEqual([]);
});

test("a changed configuration has another generation", () => {
  const plugged = disk();
  const generation = () => plugged.modern.read(21, 1);
  const before = generation();
  plugged.transport.configChanged();
  expect(generation()).not.toBe(before);
  expect(plugged.line).toBe(false); // no driver yet
});

test("a reset waits for the io thread, forgets vectors and pending bits, and leaves the table", () => {
  const plugged = rng();
  plugged.msixControl = ENABLE;
  plugged.setMessage(1, 0x31, true);
  serveOne(plugged, plugged.bringUp(8, 1));
  plugged.status = 0;
  expect(plugged.resetsAwaited).toBe(1);
  expect(plugged.status).toBe(0);
  expect(plugged.modern.read(pci.QUEUE_MSIX_VECTOR, 2)).toBe(pci.NO_VECTOR);
  expect(plugged.msix.read(0x800, 4)).toBe(0);
  expect(plugged.msix.read(16 + 8, 4)).toBe(0x31);
  serveOne(plugged, plugged.bringUp(8, 1));
});

test("a broken queue shows NEEDS_RESET and interrupts for the configuration", () => {
  const plugged = rng();
  const queue = plugged.bringUp(8);
  queue.add([{ address: 0, length: 4, writable: true }]); // not RAM
  plugged.runner.serve(0);
  expect(plugged.status & spec.DEVICE_NEEDS_RESET).toBe(spec.DEVICE_NEEDS_RESET);
  expect([plugged.line, plugged.isr]).toEqual([true, pci.ISR_CONFIG]);
  expect(plugged.reports.map(({ code }) => code)).toEqual(["EQUEUE"]);
});

test("a notification that is an exit says its queue, through either interface", () => {
  const { modern, legacy, notified } = disk();
  modern.write(pci.NOTIFY_WINDOW + pci.NOTIFY_STRIDE, 2, 1);
  modern.write(pci.NOTIFY_WINDOW + 2 * pci.NOTIFY_STRIDE, 2, 2);
  legacy.write(pci.LEGACY_QUEUE_NOTIFY, 2, 0);
  legacy.write(pci.LEGACY_QUEUE_NOTIFY, 2, 2);
  expect(notified).toEqual([1, 0]);
});

test("doorbells are one address a queue in the modern interface, one value a queue in the legacy one", () => {
  const { transport, legacyChip } = disk();
  expect(transport.doorbells()).toEqual([
    { offset: 0x3000, length: 0 },
    { offset: 0x3004, length: 0 },
  ]);
  expect(legacyChip.doorbells()).toEqual([
    { offset: 16, length: 2, datamatch: 0 },
    { offset: 16, length: 2, datamatch: 1 },
  ]);
});

// The legacy interface.

test("a legacy driver has a request served before it sets DRIVER_OK, as Linux 3.2 does", () => {
  const plugged = rng();
  const queue = plugged.bringUpLegacy();
  expect(plugged.legacy.read(pci.LEGACY_DEVICE_STATUS, 1)).toBe(spec.ACKNOWLEDGE | spec.DRIVER);
  serveOne(plugged, queue);
  expect([plugged.line, plugged.legacy.read(pci.LEGACY_ISR_STATUS, 1)]).toEqual([true, pci.ISR_QUEUE]);
  plugged.legacy.write(pci.LEGACY_DEVICE_STATUS, 1, spec.ACKNOWLEDGE | spec.DRIVER | spec.DRIVER_OK);
  expect(plugged.legacy.read(pci.LEGACY_DEVICE_STATUS, 1)).toBe(7);
  serveOne(plugged, queue);
});

test("a legacy driver negotiates 32 bits, without VERSION_1", () => {
  const plugged = disk();
  const offered = plugged.legacy.read(pci.LEGACY_DEVICE_FEATURES, 4);
  expect((offered & spec.F_ANY_LAYOUT_LOW) !== 0).toBe(true);
  plugged.legacy.write(pci.LEGACY_DRIVER_FEATURES, 4, 0xffff_ffff);
  expect(plugged.legacy.read(pci.LEGACY_DRIVER_FEATURES, 4)).toBe(offered);
  expect([plugged.transport.config.driverFeaturesLow, plugged.transport.config.driverFeaturesHigh]).toEqual([
    offered,
    0,
  ]);
  // A modern driver does not see the bit, which is reserved there.
  expect(plugged.modern.read(pci.DEVICE_FEATURE, 4) & spec.F_ANY_LAYOUT_LOW).toBe(0);
});

test("a legacy driver that writes no features has negotiated none", () => {
  const chosen: string[] = [];
  const device = new VirtioRng();
  device.negotiate = (low = -1, high = -1) => chosen.push(`${low} ${high}`) > 0;
  const { legacy } = new PciPlugged(device, new TestMemory());
  legacy.write(pci.LEGACY_DEVICE_STATUS, 1, spec.ACKNOWLEDGE);
  legacy.write(pci.LEGACY_DEVICE_STATUS, 1, spec.ACKNOWLEDGE | spec.DRIVER);
  legacy.write(pci.LEGACY_QUEUE_ADDRESS, 4, 0x100);
  expect(chosen).toEqual(["0 0"]);
});

test("a legacy queue lies in whole pages, and reads back as its page", () => {
  const { legacy, configs } = disk();
  legacy.write(pci.LEGACY_QUEUE_SELECT, 2, 1);
  expect(legacy.read(pci.LEGACY_QUEUE_ADDRESS, 4)).toBe(0);
  legacy.write(pci.LEGACY_QUEUE_ADDRESS, 4, 0x0012_3456);
  expect(legacy.read(pci.LEGACY_QUEUE_ADDRESS, 4)).toBe(0x0012_3456);
  const { size, descLow, descHigh, driverLow, deviceLow, deviceHigh } = configs[1];
  expect({ size, descLow, descHigh, driverLow, deviceLow, deviceHigh }).toEqual({
    size: 256,
    descLow: 0x2345_6000,
    descHigh: 1,
    driverLow: 0x2345_7000,
    deviceLow: 0x2345_8000, // 6 + 2 * 256 bytes further, at the next page
    deviceHigh: 1,
  });
});

test("a legacy reset waits for the io thread although DRIVER_OK was never written", () => {
  const plugged = rng();
  serveOne(plugged, plugged.bringUpLegacy());
  plugged.legacy.write(pci.LEGACY_DEVICE_STATUS, 1, 0);
  expect(plugged.resetsAwaited).toBe(1);
  expect(plugged.legacy.read(pci.LEGACY_QUEUE_ADDRESS, 4)).toBe(0);
  expect([plugged.line, plugged.status]).toEqual([false, 0]);
  serveOne(plugged, plugged.bringUpLegacy());
});

test("page 0 takes a legacy queue away", () => {
  const plugged = rng();
  serveOne(plugged, plugged.bringUpLegacy());
  plugged.legacy.write(pci.LEGACY_QUEUE_ADDRESS, 4, 0);
  expect(plugged.resetsAwaited).toBe(1);
  expect(plugged.legacy.read(pci.LEGACY_QUEUE_ADDRESS, 4)).toBe(0);
});

test("doorbells move when a driver uses the other interface, and only then", () => {
  const plugged = rng();
  plugged.bringUpLegacy();
  expect([plugged.legacyChip.inUse, plugged.moves]).toEqual([true, 1]);
  plugged.legacy.write(pci.LEGACY_DEVICE_STATUS, 1, 0);
  expect([plugged.legacyChip.inUse, plugged.moves]).toEqual([false, 2]);
  plugged.bringUp(8);
  expect([plugged.legacyChip.inUse, plugged.moves]).toEqual([false, 2]);
});

test("the legacy configuration stands behind the vectors while MSI-X is on", () => {
  const plugged = disk();
  const { legacy } = plugged;
  const sectors = DISK.size / 512;
  expect(legacy.read(20, 4)).toBe(sectors);
  plugged.msixControl = ENABLE;
  expect([legacy.read(20, 2), legacy.read(22, 2), legacy.read(24, 4)]).toEqual([0xffff, 0xffff, sectors]);
  legacy.write(22, 2, 1);
  expect(legacy.read(22, 2)).toBe(1);
});

test("the legacy window is a power of two of ports, as QEMU's is", () => {
  const blk = new VirtioBlk(DISK, { regs: blank(VirtioBlkState), deferred: [] });
  expect([legacyBytes(0), legacyBytes(8), legacyBytes(9), legacyBytes(blk.configSize)]).toEqual([
    32, 32, 64, 128,
  ]);
});

test("a legacy driver writes a configuration field byte by byte", () => {
  const regs = blank(BalloonState);
  const balloon = new VirtioBalloon({ deflateOnOom: false, freePageReporting: false }, regs);
  const { legacy } = new PciPlugged(balloon, new TestMemory());
  [0x78, 0x56, 0x34, 0x92].forEach((byte, n) => void legacy.write(20 + 4 + n, 1, byte));
  expect(regs.actual).toBe(0x9234_5678);
});

// The capabilities.

test("the capabilities say where the windows are", () => {
  const { capabilities } = rng();
  const found = capabilities.map(({ id, at, length, read }, n) => {
    const capability = capabilities[n];
    const word = (offset: number) => capability.read(offset, 4);
    expect([id, capability.read(2, 1), typeof read]).toEqual([9, length, "function"]);
    return [at, capability.read(3, 1), word(4) & 0xff, word(8), word(12)];
  });
  expect(found).toEqual([
    [0x84, 5, 0, 0, 0],
    [0x70, 2, MODERN_BAR, 0x3000, 0x1000],
    [0x60, 4, MODERN_BAR, 0x2000, 0x1000],
    [0x50, 3, MODERN_BAR, 0x1000, 0x1000],
    [0x40, 1, MODERN_BAR, 0x0000, 0x1000],
  ]);
  expect(capabilities[1].read(16, 4)).toBe(pci.NOTIFY_STRIDE);
});

test("the window in configuration space reads and writes registers without a BAR", () => {
  const plugged = disk();
  const [window] = plugged.capabilities;
  const aim = (bar: number, offset: number, length: number) => {
    window.write(4, 1, bar);
    window.write(8, 4, offset);
    window.write(12, 4, length);
  };
  aim(MODERN_BAR, pci.DEVICE_STATUS, 1);
  window.write(16, 4, 0xffff_ff01); // the first byte counts
  expect(plugged.status).toBe(1);
  aim(MODERN_BAR, 18, 2);
  expect(window.read(16, 4)).toBe(2);
  aim(MODERN_BAR, pci.DEVICE_WINDOW, 4);
  expect(window.read(16, 4)).toBe(DISK.size / 512);
  aim(MODERN_BAR, pci.NOTIFY_WINDOW + pci.NOTIFY_STRIDE, 2);
  window.write(16, 2, 1);
  expect(plugged.notified).toEqual([1]);
});

test("the window in configuration space reaches nothing but the device's own registers", () => {
  const plugged = disk();
  const [window] = plugged.capabilities;
  const wrong = [
    [0, 20, 1],
    [MODERN_BAR, 0x4000, 1],
    [MODERN_BAR, 0xffff_ffff, 4],
    [MODERN_BAR, 20, 3],
    [MODERN_BAR, 20, 0],
    [MODERN_BAR, 22, 4],
    [MODERN_BAR, 20, 0xffff_ffff],
  ];
  for (const [bar, offset, length] of wrong) {
    window.write(4, 1, bar);
    window.write(8, 4, offset);
    window.write(12, 4, length);
    window.write(16, 4, 0);
    window.write(16, 4, 1);
    expect(window.read(16, 4), `${bar} ${offset} ${length}`).toBe(1);
  }
  expect(plugged.status).toBe(0);
});

// All windows of one device, as one range of offsets.

const AREAS = [
  { name: "common", end: 64 },
  { name: "isr", end: 66 },
  { name: "device", end: 130 },
  { name: "notify", end: 142 },
  { name: "legacy", end: 270 },
  { name: "table", end: 334 },
  { name: "pending", end: 338 },
  { name: "msix", end: 350 },
  { name: "window", end: 370 },
] as const;

const Whole = layout("virtio-pci-test", 1, { all: { bytes: 4096 } });

class AllWindows implements IoDevice {
  readonly transport: VirtioPci;
  readonly #legacy: VirtioPciLegacy;
  readonly #msix: Msix;
  readonly #capability;
  readonly #window;
  readonly #regs;
  readonly #place;

  constructor(all: Uint8Array, raise: () => void, line: { set(asserted: boolean): void }) {
    let end = all.byteOffset;
    const take = <V>(block: { size: number; view(buffer: ArrayBufferLike, offset: number): V }): V => {
      end += block.size;
      return block.view(all.buffer, end - block.size);
    };
    const device = new VirtioBlk(DISK, { regs: take(VirtioBlkState), deferred: [] });
    const queues = device.queueSizes.map(() => take(QueueConfigState));
    this.#regs = take(VirtioPciState);
    this.#msix = new Msix(take(MsixState), 3, { send: raise });
    const vectors = device.queueSizes.map(() => take(PciQueueVectorState));
    const interrupts = new PciInterrupts(take(PciInterruptsState), vectors, this.#msix, line);
    this.#capability = this.#msix.capability(0x98, 1, () => interrupts.update());
    const wires = {
      interrupts,
      notify: { notify: raise },
      queuesReset: { settle() {} },
      moved: { settle() {} },
    };
    this.transport = new VirtioPci(device, this.#regs, queues, wires);
    this.#legacy = new VirtioPciLegacy(device, this.transport, this.#regs, queues, wires);
    this.#place = take(PciWindowState);
    [this.#window] = modernCapabilities(MODERN_BAR, this.transport, this.#place);
  }

  read(offset: number, size: AccessSize): number {
    const [chip, at] = this.#find(offset);
    return chip.read(at, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    const [chip, at] = this.#find(offset);
    chip.write(at, size, value);
  }

  reset(): void {
    this.#msix.reset();
    this.transport.reset();
    // A reset makes a new machine, whose state blocks are zero; the epoch continues over a driver's own.
    this.#regs.epoch = 0;
    this.#place.bytes.fill(0);
  }

  #find(offset: number): readonly [Pick<IoDevice, "read" | "write">, number] {
    const area = AREAS.findIndex(({ end }) => offset < end);
    const from = offset - (area === 0 ? 0 : AREAS[area - 1].end);
    switch (AREAS[area].name) {
      case "common":
        return [this.transport, from];
      case "isr":
        return [this.transport, pci.ISR_WINDOW + from];
      case "device":
        return [this.transport, pci.DEVICE_WINDOW + from];
      case "notify":
        return [this.transport, pci.NOTIFY_WINDOW + from];
      case "legacy":
        return [this.#legacy, from];
      case "table":
        return [this.#msix, from];
      case "pending":
        return [this.#msix, 0x800 + from];
      case "msix":
        return [this.#capability, from];
      default:
        return [this.#window, from];
    }
  }
}

const LENGTH = AREAS[AREAS.length - 1].end;

devicePromises({
  name: "virtio-blk on virtio-pci",
  layout: Whole,
  length: LENGTH,
  build: ({ all }, world) => new AllWindows(all, () => world.signal.raise(), world.irq),
  disturb: (device, next) => {
    const kind = next();
    if (kind < 0.5) device.transport.usedBuffers(kind < 0.25 ? 0 : 1);
    else if (kind < 0.9) device.transport.configChanged();
    else device.transport.fail();
  },
});

test(`${ACCESSES} random accesses to all windows are answered within their width`, {
  timeout: 300_000,
}, () => {
  const device = new AllWindows(blank(Whole).all, () => {}, { set() {} });
  device.reset();
  const next = random(20_12);
  for (let n = 0; n < ACCESSES; n++) {
    const size = ([1, 2, 4] as const)[Math.floor(3 * next())];
    const offset = Math.floor(next() * LENGTH);
    if (next() < 0.5) {
      const value = device.read(offset, size);
      if (!(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size))) {
        throw new Error(`offset ${offset}, ${size} bytes: ${value}`);
      }
    } else {
      const value = next() < 0.5 ? 2 ** Math.floor(32 * next()) : Math.floor(next() * 2 ** 32);
      device.write(offset, size, value % 2 ** (8 * size));
    }
    if (n % 64 === 0) device.transport.usedBuffers(n % 128 === 0 ? 0 : 1);
  }
});
