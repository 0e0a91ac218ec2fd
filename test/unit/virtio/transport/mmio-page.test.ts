/** Reads and acknowledgements that are not exits: the page of the registers, and InterruptStatus without a lost bit. */
import { expect, test } from "vitest";
import type { AccessSize } from "../../../../src/bus/io.ts";
import { blkState, VirtioBlk } from "../../../../src/virtio/blk/blk.ts";
import { VirtioRng } from "../../../../src/virtio/rng.ts";
import * as spec from "../../../../src/virtio/spec.ts";
import * as mmio from "../../../../src/virtio/transport/mmio-registers.ts";
import { random } from "../../../support/random.ts";
import { blank, Plugged, TestMemory } from "../../../support/virtio-driver.ts";

const DISK = { size: 3 << 20, blockSize: 4096, readOnly: false, serial: "s", queues: 2, writeCache: true };
const SIZES: readonly AccessSize[] = [1, 2, 4];
const WINDOW_WORDS = 1024;
/** Seconds of work on a machine that has other work too. */
const BUSY_MS = 60_000;

test("a disk that is resized before its driver is ready has its new size in the page, and interrupts nobody", () => {
  const page = new Uint32Array(WINDOW_WORDS);
  const disk = new VirtioBlk(DISK, blkState(2, blank));
  const plugged = new Plugged(disk, new TestMemory(), { page });
  plugged.negotiate();
  const generation = page[mmio.CONFIG_GENERATION / 4];
  plugged.runner.resize(2 ** 42 + 512);
  expect([...page.subarray(mmio.CONFIG / 4, mmio.CONFIG / 4 + 2)]).toEqual([1, 2]);
  expect(page[mmio.CONFIG_GENERATION / 4]).not.toBe(generation);
  expect(plugged.interrupts).toBe(0);
});

test.each([
  ["a disk", () => new VirtioBlk(DISK, blkState(2, blank))],
  ["an entropy device", () => new VirtioRng()],
])(
  "the page of %s is what a read gives, at every offset in every width, whatever happened",
  { timeout: BUSY_MS },
  (_name, make) => {
    for (const seed of [1, 2, 3]) {
      const next = random(seed);
      const page = new Uint32Array(WINDOW_WORDS);
      const acknowledged = { take: () => next() < 0.5 };
      const device = make();
      const { transport, runner } = new Plugged(device, new TestMemory(), { page, acknowledged });
      const bytes = new DataView(page.buffer);
      const inPage = { 1: bytes.getUint8, 2: bytes.getUint16, 4: bytes.getUint32 };
      transport.reset();

      const happens = [
        () => transport.usedBuffers(0),
        () => transport.raiseConfigChange(),
        () => transport.fail(),
        () => transport.collectAcknowledgement(),
        () => transport.reset(),
        () => runner.resize(512 * Math.floor(next() * 2 ** 40)),
      ];
      for (let step = 0; step < 300; step++) {
        const kind = next();
        if (kind < 0.2) {
          happens[Math.floor(next() * happens.length)]();
        } else {
          const size = SIZES[Math.floor(next() * 3)];
          const offset = kind < 0.6 ? 4 * Math.floor(next() * 128) : Math.floor(next() * 0x200);
          transport.write(
            offset,
            kind < 0.6 ? 4 : size,
            next() < 0.7 ? 1 << (next() * 4) : Math.floor(next() * 2 ** 32),
          );
        }
        for (const size of SIZES) {
          for (let offset = 0; offset < 0x200; offset++) {
            const read = transport.read(offset, size);
            if (inPage[size].call(bytes, offset, true) !== read)
              expect.unreachable(`seed ${seed}, step ${step}: ${size} bytes at ${offset}`);
          }
        }
      }
    }
  },
);

test("a page shows what was changed before the interrupt that tells of it", () => {
  const page = new Uint32Array(WINDOW_WORDS);
  const seen: number[][] = [];
  const pulse = () => void seen.push([mmio.INTERRUPT_STATUS, mmio.STATUS].map((offset) => page[offset / 4]));
  const plugged = new Plugged(new VirtioRng(), new TestMemory(), { page, interrupt: { pulse } });
  plugged.bringUp(8);
  plugged.transport.usedBuffers(0);
  plugged.transport.fail();
  plugged.write(mmio.INTERRUPT_ACK, mmio.INT_USED_BUFFER);
  const live = plugged.status & ~spec.DEVICE_NEEDS_RESET;
  const failed = plugged.status;
  expect(seen).toEqual([
    [1, live],
    [3, failed],
    [2, failed],
  ]);
});

/**
 * A device whose acknowledgements are not exits, with a driver on another CPU
 * that takes a step whenever the device lets it, also in the middle of what the
 * device does.
 */
class Race {
  readonly #next: () => number;
  readonly #page = new Uint32Array(WINDOW_WORDS);
  readonly #plugged: Plugged;
  /** What KVM's event holds. */
  #rung = 0;
  /** The interrupt controller: a pulse that has not been delivered. */
  #pulsed = false;
  /** Bit 0 of a device to which an acknowledgement is known at once. */
  #exact = false;
  /** Buffers that the device used, and that the driver has seen. */
  used = 0;
  seen = 0;
  #isRaising = false;
  #driver: "idle" | "status" | "acknowledge" | "look" = "idle";
  /** Reads InterruptStatus until it is 0. */
  readonly #loops: boolean;

  constructor(seed: number, loops: boolean) {
    this.#next = random(seed);
    this.#loops = loops;
    this.#plugged = new Plugged(new VirtioRng(), new TestMemory(), {
      page: this.#page,
      interrupt: {
        pulse: () =>
          this.#between(() => {
            this.#pulsed = true;
          }),
      },
      acknowledged: {
        take: () => {
          let rung = 0;
          if (this.#isRaising) this.#exact = true; // its bit is in the page by now
          this.#between(() => {
            rung = this.#rung;
            this.#rung = 0;
          });
          return rung > 0;
        },
      },
    });
    this.#plugged.bringUp(8);
  }

  /** The device uses a buffer and interrupts. */
  complete(): void {
    this.used++;
    this.#isRaising = true;
    this.#plugged.transport.usedBuffers(0);
    this.#isRaising = false;
  }

  collect(): void {
    this.#plugged.transport.collectAcknowledgement();
  }

  get bit(): boolean {
    return (this.#page[mmio.INTERRUPT_STATUS / 4] & mmio.INT_USED_BUFFER) !== 0;
  }

  get isIdle(): boolean {
    return this.#driver === "idle" && !this.#pulsed;
  }

  /** What the driver's CPU does next. */
  step(): void {
    switch (this.#driver) {
      case "idle":
        if (this.#pulsed) this.#driver = "status";
        this.#pulsed = false;
        break;
      case "status":
        this.#driver = this.bit ? "acknowledge" : "idle";
        break;
      case "acknowledge":
        this.#rung++;
        this.#exact = false;
        this.#driver = "look";
        break;
      case "look":
        this.seen = this.used;
        this.#driver = this.#loops ? "status" : "idle";
        break;
    }
    if (this.#exact && !this.bit) expect.unreachable("InterruptStatus lacks a bit that was not acknowledged");
  }

  #between(what: () => void): void {
    this.steps(3);
    what();
    this.steps(3);
  }

  /** Up to `most` steps of the driver. */
  steps(most: number): void {
    for (let n = Math.floor(this.#next() * (most + 1)); n > 0; n--) this.step();
  }
}

test.each([
  ["once an interrupt", false],
  ["until it is 0", true],
])(
  "no interrupt is lost for a driver that reads InterruptStatus %s, and the bit is cleared in the end",
  { timeout: BUSY_MS },
  (_how, loops) => {
    for (let seed = 1; seed <= 3000; seed++) {
      const race = new Race(seed, loops);
      const next = random(seed + 1e6);
      for (let turn = 0; turn < 12; turn++) {
        if (next() < 0.5) race.complete();
        else race.collect();
        race.steps(6);
      }
      for (let turn = 0; turn < 100 && (race.bit || !race.isIdle); turn++) {
        race.step();
        if (turn % 10 === 9) race.collect();
      }
      expect([seed, race.seen, race.bit, race.isIdle]).toEqual([seed, race.used, false, true]);
    }
  },
);

test("an acknowledgement that is not an exit, of one of two causes, pulses for the other once it is collected", () => {
  let rung = false;
  const take = () => {
    const was = rung;
    rung = false;
    return was;
  };
  const plugged = new Plugged(new VirtioRng(), new TestMemory(), { acknowledged: { take } });
  plugged.bringUp(8);
  plugged.transport.usedBuffers(0);
  plugged.transport.raiseConfigChange();
  rung = true;
  plugged.transport.collectAcknowledgement();
  expect(plugged.read(mmio.INTERRUPT_STATUS)).toBe(mmio.INT_CONFIG_CHANGE);
  expect(plugged.interrupts).toBe(3);
});

test("a reset clears the interrupt, and an acknowledgement from before it does not touch the next one", () => {
  let rung = 0;
  const take = () => rung > 0 && rung-- > 0;
  const plugged = new Plugged(new VirtioRng(), new TestMemory(), { acknowledged: { take } });
  plugged.bringUp(8);
  plugged.transport.usedBuffers(0);
  rung = 1;
  plugged.bringUp(8);
  expect(plugged.transport.unacknowledged).toBe(false);
  plugged.transport.usedBuffers(0);
  plugged.transport.collectAcknowledgement();
  expect(plugged.transport.unacknowledged).toBe(true);
});
