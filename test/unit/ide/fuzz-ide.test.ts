/** A guest that does anything to the registers, and writes anything to its memory. */
import { expect, test } from "vitest";
import type { AccessSize } from "../../../src/bus/io.ts";
import { AtapiCd } from "../../../src/ide/atapi-cd.ts";
import { IdeDriver, IdeRig, RAM, RAM_BYTES } from "../../support/ide-driver.ts";
import { random } from "../../support/random.ts";

/** Of each seed; all of them together are 10^6, and in `npm run test:long` 10^7. */
const ACCESSES = Number(process.env.VMEXIT_IDE_ACCESSES ?? 125_000);
const SIZES: readonly AccessSize[] = [1, 2, 4];
/** Commands that move data or change modes come more often than the 240 others. */
const COMMANDS = [
  0x20, 0x24, 0x29, 0x30, 0x34, 0x35, 0x39, 0x25, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xa0, 0xa1, 0xec, 0xef, 0xe7,
  0x90, 0x91, 0x08, 0xb0,
];
const PACKETS = [0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbd, 0xbe];

test.each([1, 2, 3, 4, 5, 6, 7, 8])("random registers, packets and descriptors, seed %i", (seed) => {
  const next = random(seed);
  const rig = new IdeRig(["disk", "cd", "disk", "cd"], { bytes: 1 << 18 });
  const byte = () => Math.floor(next() * 256);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)];
  for (let n = 0; n < ACCESSES; n++) {
    const kind = next();
    const size = pick(SIZES);
    const offset = pick([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]) + (next() < 0.5 ? 0 : 0x10);
    if (kind < 0.35) {
      const value = rig.in(offset, size);
      if (!(value >= 0 && value < 2 ** (8 * size))) expect.unreachable(`read ${value}`);
    } else if (kind < 0.65) {
      rig.out(offset, Math.floor(next() * 2 ** (8 * size)), size);
    } else if (kind < 0.8) {
      // A control register that mostly leaves the drives alone, a small address, a command.
      if (next() < 0.02) rig.out((offset & 0x10) + 8, byte());
      rig.out((offset & 0x10) + 6, byte() & 0x50);
      rig.out((offset & 0x10) + 3, byte());
      rig.out((offset & 0x10) + 4, byte() & 1);
      rig.out((offset & 0x10) + 5, 0);
      rig.out((offset & 0x10) + 7, next() < 0.8 ? pick(COMMANDS) : byte());
    } else if (kind < 0.86) {
      const unit = pick([1, 3]);
      const packet = Array.from({ length: 12 }, () => (next() < 0.6 ? 0 : byte()));
      packet[0] = next() < 0.9 ? pick(PACKETS) : byte();
      new IdeDriver(rig, unit).packet(packet, { limit: byte() + 256 * byte(), dma: next() < 0.5 });
    } else if (kind < 0.95) {
      rig.outMaster(Math.floor(next() * 13), Math.floor(next() * 2 ** (8 * size)), size);
      if (next() < 0.5) rig.outMaster(next() < 0.5 ? 4 : 12, RAM + Math.floor(next() * 64) * 8, 4);
      rig.outMaster(next() < 0.5 ? 0 : 8, byte());
    } else if (kind < 0.97) {
      rig.table(
        RAM + Math.floor(next() * 64) * 8,
        Array.from({ length: 1 + byte() / 16 }, () => [
          RAM + Math.floor(next() * 1.05 * RAM_BYTES),
          next() < 0.5 ? byte() * 16 : Math.floor(next() * 65536),
        ]),
        next() < 0.9,
      );
    } else {
      const disk = pick(rig.storage);
      disk.later = next() < 0.5;
      disk.slow = next() < 0.2;
      disk.failure = next() < 0.1 ? -5 : 0;
      const drive = pick(rig.units);
      if (drive instanceof AtapiCd && next() < 0.2) {
        if (next() < 0.5) drive.insert(Math.floor(next() * 512));
        else drive.eject();
      }
      if (next() < 0.1) rig.task.quiesce();
      rig.work();
    }
  }
  rig.task.quiesce();
  expect(rig.memory.guardsAreWhole).toBe(true);
  expect(rig.units.map(({ regs }) => regs.busy)).toEqual([0, 0, 0, 0]);
});
