import { describe, expect, test } from "vitest";
import { layout } from "../../../../src/base/layout.ts";
import { NEVER } from "../../../../src/bus/io-task.ts";
import { VirtioBlk, VirtioBlkState } from "../../../../src/virtio/blk/blk.ts";
import type { DeviceQueue, VirtioDevice } from "../../../../src/virtio/device.ts";
import { Chain } from "../../../../src/virtio/queue/chain.ts";
import { QueueConfigState } from "../../../../src/virtio/queue/split-queue.ts";
import * as spec from "../../../../src/virtio/spec.ts";
import { VirtioMmio, VirtioMmioState } from "../../../../src/virtio/transport/mmio.ts";
import * as mmio from "../../../../src/virtio/transport/mmio-registers.ts";
import { devicePromises } from "../../../support/device-promises.ts";
import { DriverQueue, Plugged, TestMemory } from "../../../support/virtio-driver.ts";

const LIVE = spec.ACKNOWLEDGE | spec.DRIVER | spec.FEATURES_OK | spec.DRIVER_OK;

/** Two queues, one feature in each word, four bytes of configuration. */
class Toy implements VirtioDevice {
  readonly deviceId = 42;
  readonly featuresLow = 0x8;
  readonly featuresHigh = 0x100;
  readonly queueSizes = [8, 16];
  readonly configSize = 4;
  readonly config = new DataView(new ArrayBuffer(4));
  readonly #memory: TestMemory;
  accepts = true;
  readonly log: string[] = [];

  constructor(memory: TestMemory) {
    this.#memory = memory;
  }

  readConfig(offset: number): number {
    return offset < 4 ? this.config.getUint8(offset) : 0;
  }
  writeConfig(offset: number, _size: number, value: number): void {
    if (offset < 4) this.config.setUint8(offset, value);
  }
  negotiate(low: number, high: number): boolean {
    this.log.push(`negotiate ${low.toString(16)} ${high.toString(16)}`);
    return this.accepts;
  }
  reset(): void {
    this.log.push("reset");
  }
  activate(low: number, high: number): void {
    this.log.push(`activate ${low.toString(16)} ${high.toString(16)}`);
  }
  run(queue: DeviceQueue): number {
    for (const chain = new Chain(this.#memory, 16); queue.pop(chain); queue.push(chain.head, 0)) {
      this.log.push("serve");
    }
    return NEVER;
  }
  deactivate(): void {
    this.log.push("deactivate");
  }
}

function rig() {
  const memory = new TestMemory();
  const device = new Toy(memory);
  return { device, memory, plugged: new Plugged(device, memory) };
}

test("a driver finds magic, version 2, the device's type and a vendor", () => {
  const { plugged } = rig();
  expect(plugged.read(mmio.MAGIC_VALUE)).toBe(0x74726976);
  expect(plugged.read(mmio.VERSION)).toBe(2);
  expect(plugged.read(mmio.DEVICE_ID)).toBe(42);
  expect(plugged.read(mmio.VENDOR_ID)).not.toBe(0);
});

test("the device's features and the ring's are offered in two words, nothing beyond", () => {
  const { plugged } = rig();
  const offered = [0, 1, 2, 0xffff_ffff].map((select) => {
    plugged.write(mmio.DEVICE_FEATURES_SEL, select);
    return plugged.read(mmio.DEVICE_FEATURES);
  });
  expect(offered).toEqual([0x3000_0008, 0x101, 0, 0]);
});

test("FEATURES_OK holds for what was offered, and the device hears what was chosen", () => {
  const { plugged, device } = rig();
  expect(plugged.negotiate()).toBe(true);
  expect(device.log).toContain("negotiate 30000008 101");
});

test.each([
  ["a feature that was not offered", 0x3000_0009, 1, 0],
  ["a high feature that was not offered", 0, 3, 0],
  ["features without VERSION_1, as a legacy driver would", 0x8, 0, 0],
  ["a feature from bit 64 on", 0, 1, 1],
])("FEATURES_OK stays clear for %s", (_, low, high, beyond) => {
  const { plugged } = rig();
  plugged.write(mmio.STATUS, spec.ACKNOWLEDGE | spec.DRIVER);
  for (const [select, value] of [low, high, beyond].entries()) {
    plugged.write(mmio.DRIVER_FEATURES_SEL, select);
    plugged.write(mmio.DRIVER_FEATURES, value);
  }
  plugged.write(mmio.STATUS, spec.ACKNOWLEDGE | spec.DRIVER | spec.FEATURES_OK);
  expect(plugged.status).toBe(spec.ACKNOWLEDGE | spec.DRIVER);
  plugged.write(mmio.STATUS, LIVE);
  expect(plugged.status & spec.DRIVER_OK).toBe(0);
});

test("FEATURES_OK stays clear for a combination that the device refuses, until it is mended", () => {
  const { plugged, device } = rig();
  device.accepts = false;
  expect(plugged.negotiate()).toBe(false);
  device.accepts = true;
  expect(plugged.negotiate()).toBe(true);
});

test("features are settled once FEATURES_OK is set", () => {
  const { plugged } = rig();
  plugged.negotiate();
  plugged.write(mmio.DRIVER_FEATURES_SEL, 0);
  plugged.write(mmio.DRIVER_FEATURES, 0);
  expect(plugged.transport.config.driverFeaturesLow).toBe(0x3000_0008);
});

test("a driver cannot clear a status bit, nor set the device's own", () => {
  const { plugged } = rig();
  plugged.negotiate();
  plugged.write(mmio.STATUS, spec.ACKNOWLEDGE | spec.DEVICE_NEEDS_RESET);
  expect(plugged.status).toBe(spec.ACKNOWLEDGE | spec.DRIVER | spec.FEATURES_OK);
});

test("each queue has its own registers; a queue that does not exist has size 0 and keeps nothing", () => {
  const { plugged } = rig();
  const sizes = [0, 1, 2, 0xffff_ffff].map((queue) => {
    plugged.write(mmio.QUEUE_SEL, queue);
    plugged.write(mmio.QUEUE_NUM, 4 + queue);
    plugged.write(mmio.QUEUE_READY, 1);
    return [plugged.read(mmio.QUEUE_NUM_MAX), plugged.read(mmio.QUEUE_READY)];
  });
  expect(sizes).toEqual([
    [8, 1],
    [16, 1],
    [0, 0],
    [0, 0],
  ]);
  expect(plugged.configs.map((config) => config.size)).toEqual([4, 5]);
});

test("all 64 bits of a queue's addresses arrive", () => {
  const { plugged } = rig();
  plugged.write(mmio.QUEUE_SEL, 1);
  const registers = [0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4];
  registers.forEach((register, i) => {
    plugged.write(register, 0xf000_0001 + i);
  });
  const { descLow, descHigh, driverLow, driverHigh, deviceLow, deviceHigh } = plugged.configs[1];
  const values = [descLow, descHigh, driverLow, driverHigh, deviceLow, deviceHigh];
  expect(values).toEqual(registers.map((_, i) => 0xf000_0001 + i));
});

test("a queue that is ready cannot be moved", () => {
  const { plugged, memory } = rig();
  plugged.setQueue(0, new DriverQueue(memory, 8));
  plugged.write(mmio.QUEUE_DESC_LOW, 0);
  plugged.write(mmio.QUEUE_NUM, 2);
  expect(plugged.configs[0].descLow).not.toBe(0);
  expect(plugged.configs[0].size).toBe(8);
});

test("a notification that is an exit says which queue it is for, and one for no queue is ignored", () => {
  const { plugged } = rig();
  plugged.write(mmio.QUEUE_NOTIFY, 1);
  plugged.write(mmio.QUEUE_NOTIFY, 2);
  expect(plugged.notified).toEqual([1]);
});

test("its doorbells are stores of a queue's number to QueueNotify, and of 1 to InterruptACK", () => {
  const { transport } = rig().plugged;
  expect(transport.doorbells()).toEqual([
    { offset: 0x50, length: 4, datamatch: 0 },
    { offset: 0x50, length: 4, datamatch: 1 },
  ]);
  expect(transport.acknowledgement).toEqual({ offset: 0x64, length: 4, datamatch: 1 });
});

test("each cause of an interrupt pulses; an acknowledgement that leaves one behind pulses again", () => {
  const { plugged } = rig();
  plugged.transport.usedBuffers(0);
  plugged.transport.raiseConfigChange();
  expect(plugged.interrupts).toBe(2);
  expect(plugged.read(mmio.INTERRUPT_STATUS)).toBe(mmio.INT_USED_BUFFER | mmio.INT_CONFIG_CHANGE);
  plugged.write(mmio.INTERRUPT_ACK, mmio.INT_USED_BUFFER);
  expect(plugged.read(mmio.INTERRUPT_STATUS)).toBe(mmio.INT_CONFIG_CHANGE);
  expect(plugged.interrupts).toBe(3);
  plugged.write(mmio.INTERRUPT_ACK, mmio.INT_CONFIG_CHANGE);
  expect(plugged.read(mmio.INTERRUPT_STATUS)).toBe(0);
  expect(plugged.interrupts).toBe(3);
});

test("a cause that is set already pulses all the same: the driver may have read it before", () => {
  const { plugged } = rig();
  plugged.transport.usedBuffers(0);
  plugged.transport.usedBuffers(0);
  expect(plugged.interrupts).toBe(2);
});

test("a change of the configuration gives it a new generation", () => {
  const { plugged } = rig();
  const before = plugged.read(mmio.CONFIG_GENERATION);
  plugged.transport.raiseConfigChange();
  expect(plugged.read(mmio.CONFIG_GENERATION)).not.toBe(before);
});

test("the device's configuration starts at 0x100, in any width; registers take 32 bits only", () => {
  const { plugged } = rig();
  plugged.transport.write(0x102, 1, 0x5a);
  expect(plugged.transport.read(0x102, 1)).toBe(0x5a);
  plugged.transport.write(mmio.STATUS, 1, 1);
  expect(plugged.status).toBe(0);
});

test("a read of another width or place gives the bytes that lie there, as memory would", () => {
  const { plugged } = rig();
  const { transport } = plugged;
  transport.write(0x100, 1, 0x5a);
  expect([0, 1, 2, 3].map((i) => String.fromCharCode(transport.read(i, 1))).join("")).toBe("virt");
  expect(transport.read(mmio.MAGIC_VALUE + 1, 2)).toBe(0x7269);
  expect(transport.read(mmio.MAGIC_VALUE + 2, 4)).toBe(0x0002_7472);
  expect(transport.read(0xfe, 4)).toBe(0x005a_0000);
});

test("a shared memory region that does not exist has length -1", () => {
  const { plugged } = rig();
  plugged.write(mmio.SHM_SEL, 0);
  expect([plugged.read(mmio.SHM_LEN_LOW), plugged.read(mmio.SHM_LEN_HIGH)]).toEqual([
    0xffff_ffff, 0xffff_ffff,
  ]);
});

describe("taking queues away", () => {
  test("a reset clears all registers and waits until the io thread has let go", () => {
    const { plugged, device } = rig();
    const queue = plugged.bringUp(8);
    queue.add([{ address: queue.end, length: 1 }]);
    plugged.runner.serve(0);
    plugged.transport.usedBuffers(0);
    expect(device.log).toContain("activate 30000008 101");

    plugged.write(mmio.STATUS, 0);
    expect(plugged.resetsAwaited).toBe(1);
    expect(device.log.slice(-2)).toEqual(["reset", "deactivate"]);
    expect(plugged.status).toBe(0);
    expect(plugged.read(mmio.INTERRUPT_STATUS)).toBe(0);
    expect(plugged.configs[0].ready).toBe(0);
    expect(plugged.cursors[0].nextAvail).toBe(0);
    expect(plugged.runnerState.epoch).toBe(plugged.regs.epoch);
  });

  test("a reset before DRIVER_OK has nobody to wait for", () => {
    const { plugged } = rig();
    plugged.negotiate();
    plugged.write(mmio.STATUS, 0);
    expect(plugged.resetsAwaited).toBe(0);
  });

  test("after a reset the device can be brought up again, from the start of new rings", () => {
    const { plugged, memory } = rig();
    for (let round = 0; round < 3; round++) {
      const queue = plugged.bringUp(8);
      memory.at(queue.desc).setUint32(0, 0, true);
      queue.startAt(0);
      memory.at(queue.device).setUint32(0, 0, true);
      const head = queue.add([{ address: queue.end, length: 1 }]);
      plugged.runner.serve(0);
      expect(queue.used()).toEqual([{ id: head, length: 0 }]);
    }
  });

  test("one queue can be taken away and set up again while the other continues", () => {
    const { plugged, memory, device } = rig();
    plugged.negotiate();
    const [first, second] = [new DriverQueue(memory, 8), new DriverQueue(memory, 16, 0x10_4000)];
    plugged.setQueue(0, first);
    plugged.setQueue(1, second);
    plugged.driverOk();
    for (const [index, queue] of [first, second].entries()) {
      queue.add([{ address: second.end, length: 1 }]);
      plugged.runner.serve(index);
      expect(queue.used().length).toBe(1);
    }
    plugged.write(mmio.QUEUE_SEL, 0);
    plugged.write(mmio.QUEUE_READY, 0);
    expect(plugged.read(mmio.QUEUE_READY)).toBe(0);
    expect(plugged.resetsAwaited).toBe(1);
    expect(plugged.cursors.map((cursor) => cursor.nextAvail)).toEqual([0, 1]);

    device.log.length = 0;
    first.add([{ address: second.end, length: 1 }]);
    second.add([{ address: second.end, length: 1 }]);
    plugged.runner.serve(0);
    plugged.runner.serve(1);
    expect(first.used().length).toBe(0);
    expect(second.used().length).toBe(1);
    expect(device.log.filter((line) => line === "serve").length).toBe(1);
  });
});

// A whole device in one block: registers, one queue's configuration, the disk's own state.
const Whole = layout("virtio-blk on virtio-mmio", 1, {
  mmio: { bytes: VirtioMmioState.size },
  queue: { bytes: QueueConfigState.size },
  blk: { bytes: VirtioBlkState.size },
});
const DISK = { size: 1 << 20, blockSize: 4096, readOnly: false, serial: "s", queues: 1, writeCache: true };

/** The epoch counts resets, so it alone is not as after power-on: looked at from outside, it is. */
class WithoutEpoch extends VirtioMmio {
  readonly #regs;
  constructor(
    device: VirtioDevice,
    regs: ReturnType<typeof VirtioMmioState.view>,
    ...rest: [ConstructorParameters<typeof VirtioMmio>[2], ConstructorParameters<typeof VirtioMmio>[3]]
  ) {
    super(device, regs, ...rest);
    this.#regs = regs;
  }
  override reset(): void {
    super.reset();
    this.#regs.epoch = 0;
  }
}

devicePromises({
  name: "virtio-blk on virtio-mmio",
  layout: Whole,
  length: mmio.MMIO_BYTES,
  build: ({ mmio, queue, blk }, world) =>
    new WithoutEpoch(
      new VirtioBlk(DISK, { regs: VirtioBlkState.view(blk.buffer, blk.byteOffset), deferred: [] }),
      VirtioMmioState.view(mmio.buffer, mmio.byteOffset),
      [QueueConfigState.view(queue.buffer, queue.byteOffset)],
      {
        interrupt: { pulse: () => world.signal.raise() },
        notify: { notify: () => world.signal.raise() },
        queuesReset: { settle() {} },
      },
    ),
  disturb: (device, random) => {
    const kind = random();
    if (kind < 0.4) device.usedBuffers(0);
    else if (kind < 0.8) device.raiseConfigChange();
    else device.fail();
  },
});
