/**
 * The promises of every device: it has no state outside its registers, accepts any
 * access, and is after a reset as after power-on.
 */
import { expect, test } from "vitest";
import type { Fields, Layout, View } from "../../src/base/layout.ts";
import type { AccessSize, IoDevice } from "../../src/bus/io.ts";
import { random } from "./random.ts";

/** The environment of a device. `log` has all of the device's effects on it, in order. */
export class World {
  readonly log: string[] = [];
  level = false;
  timeMs = Date.UTC(2024, 1, 29, 23, 59, 58, 500);

  readonly irq = { set: (asserted: boolean) => this.#setLevel(asserted) };
  readonly tx = { put: (byte: number) => this.#note(`tx ${byte}`) };
  readonly signal = { raise: () => this.#note("signal") };
  readonly power = {
    off: () => this.#note("off"),
    reset: () => this.#note("reset"),
    exit: (status: number) => this.#note(`exit ${status}`),
  };
  readonly clock = { now: () => this.timeMs, monotonic: () => this.timeMs * 1e6 };

  #setLevel(asserted: boolean): void {
    if (asserted !== this.level) this.#note(`irq ${asserted}`);
    this.level = asserted;
  }

  #note(line: string): void {
    this.log.push(line);
  }
}

/** A device, how to build it, and the host's actions on it. */
export interface Subject<F extends Fields, D extends IoDevice> {
  readonly name: string;
  readonly layout: Layout<F>;
  /** Length of its range in bytes. */
  readonly length: number;
  build(regs: View<F>, world: World): D;
  /** Actions of the host, if there are any: received bytes, pressed buttons. */
  disturb?(device: D, random: () => number): void;
}

const SIZES: readonly AccessSize[] = [1, 2, 4];
const SEEDS = [1, 2, 3, 0xdecaf];

export function devicePromises<F extends Fields, D extends IoDevice>(subject: Subject<F, D>): void {
  const { name, layout, length } = subject;

  const powerOn = () => {
    const state = new SharedArrayBuffer(layout.size);
    const world = new World();
    const device = subject.build(layout.view(state, 0), world);
    device.reset();
    return { state, world, device };
  };

  /** Does one random thing to `device`; returns the visible result. */
  const step = (device: D, next: () => number): number => {
    const offset = Math.floor(next() * length);
    const size = SIZES[Math.floor(next() * 3)];
    const kind = next();
    // Small values are as likely as large ones, because registers consist of single bits.
    const value = next() < 0.5 ? 1 << (next() * 8 * size) : Math.floor(next() * 2 ** (8 * size));
    if (kind < 0.15) subject.disturb?.(device, next);
    else if (kind < 0.6) device.write(offset, size, (value >>> 0) % 2 ** (8 * size));
    else return device.read(offset, size);
    return -1;
  };

  test(`${name}: two objects over the same registers are one device, as two CPUs need`, () => {
    for (const seed of SEEDS) {
      const alone = powerOn();
      const shared = powerOn();
      const twins = [shared.device, subject.build(layout.view(shared.state, 0), shared.world)];
      const [forAlone, forShared] = [random(seed), random(seed)];
      for (let i = 0; i < 2000; i++) {
        alone.world.timeMs = shared.world.timeMs = alone.world.timeMs + 7;
        expect(step(twins[i % 2], forShared)).toBe(step(alone.device, forAlone));
      }
      expect(shared.world.log).toEqual(alone.world.log);
      expect(bytes(shared.state)).toEqual(bytes(alone.state));
    }
  });

  test(`${name}: building an object does not disturb a device that runs`, () => {
    const { state, world, device } = powerOn();
    const next = random(5);
    for (let i = 0; i < 200; i++) step(device, next);
    const before = bytes(state);
    const logged = world.log.length;
    subject.build(layout.view(state, 0), world);
    expect(bytes(state)).toEqual(before);
    expect(world.log.length).toBe(logged);
  });

  test(`${name}: takes every value at every offset in every width, and answers within that width`, () => {
    const { device } = powerOn();
    const next = random(6);
    for (const size of SIZES) {
      for (let offset = 0; offset < length; offset++) {
        for (let value = 0; value < 256; value++) {
          device.write(offset, size, value);
          answerFits(device, offset, size);
          device.write(offset, size, Math.floor(next() * 2 ** (8 * size)));
          answerFits(device, offset, size);
        }
      }
    }
  });

  test(`${name}: copied registers have the same future, wherever they were copied`, () => {
    for (const seed of SEEDS) {
      const original = powerOn();
      const past = random(seed);
      for (let i = 0; i < 50 + 100 * past(); i++) step(original.device, past);

      const state = new SharedArrayBuffer(layout.size);
      new Uint8Array(state).set(new Uint8Array(original.state));
      const world = new World();
      world.level = original.world.level;
      const restored = subject.build(layout.view(state, 0), world);

      original.world.log.length = 0;
      const [forOriginal, forRestored] = [random(seed + 1), random(seed + 1)];
      for (let i = 0; i < 500; i++) {
        expect(step(restored, forRestored)).toBe(step(original.device, forOriginal));
      }
      expect(world.log).toEqual(original.world.log);
      expect(bytes(state)).toEqual(bytes(original.state));
    }
  });

  test(`${name}: registers of any content, as a snapshot may have them, are answered like any others`, () => {
    for (const seed of [...SEEDS, ...Array.from({ length: 60 }, (_, n) => 100 + n)]) {
      const next = random(seed);
      const state = new SharedArrayBuffer(layout.size);
      new Uint8Array(state).forEach((_, at, all) => {
        all[at] = next() < 0.2 ? 0xff : next() * 256;
      });
      const device = subject.build(layout.view(state, 0), new World());
      for (let i = 0; i < 50; i++) {
        for (let offset = 0; offset < length; offset++) answerFits(device, offset, 1);
        step(device, next);
      }
    }
  });

  test(`${name}: after a reset it is as after power-on, and its interrupt is quiet`, () => {
    for (const seed of SEEDS) {
      const used = powerOn();
      const next = random(seed);
      for (let i = 0; i < 500; i++) step(used.device, next);
      used.device.reset();
      expect(bytes(used.state)).toEqual(bytes(powerOn().state));
      expect(used.world.level).toBe(false);
    }
  });
}

function answerFits(device: IoDevice, offset: number, size: AccessSize): void {
  const value = device.read(offset, size);
  if (!(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size))) {
    expect.unreachable(`read of ${size} bytes at ${offset} gave ${value}`);
  }
}

function bytes(state: SharedArrayBuffer): number[] {
  return [...new Uint8Array(state)];
}
