/** A guest that does anything to the registers of an e1000, and writes anything to its rings. */
import { expect, test } from "vitest";
import * as reg from "../../../src/e1000/registers.ts";
import { BUFFERS, DATA, DEXT, E1000Rig, EOP, RS, RX, TSE, TX } from "../../support/e1000-driver.ts";
import { random } from "../../support/random.ts";
import { RAM, RAM_BYTES } from "../../support/virtio-driver.ts";

/** Of each seed; all of them together are 10^6, and in `npm run test:long` 10^7. */
const ACCESSES = Number(process.env.VMEXIT_E1000_ACCESSES ?? 125_000);
const RINGS = [
  reg.TDH,
  reg.TDT,
  reg.RDH,
  reg.RDT,
  reg.TDLEN,
  reg.RDLEN,
  reg.TDBAL,
  reg.RDBAL,
  reg.RCTL,
  reg.TCTL,
  reg.RXCSUM,
  reg.CTRL,
  reg.VET,
];

test.each([1, 2, 3, 4, 5, 6, 7, 8])("random registers, descriptors and frames, seed %i", (seed) => {
  const next = random(seed);
  const rig = new E1000Rig(seed % 2 === 0 ? 15 : 0).start();
  const below = (limit: number) => Math.floor(next() * limit);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)];
  const word = () => (next() < 0.5 ? 1 << below(32) : below(2 ** 32)) >>> 0;
  const address = () => (next() < 0.9 ? RAM + below(1.02 * RAM_BYTES) : below(2 ** 48));
  for (let n = 0; n < ACCESSES; n++) {
    const kind = next();
    if (kind < 0.25) {
      const size = pick([1, 2, 4] as const);
      const value = rig.card.read(below(reg.MANC + 4), size);
      if (!(value >= 0 && value < 2 ** (8 * size))) expect.unreachable(`read ${value}`);
    } else if (kind < 0.35) rig.out(below(reg.MANC / 4) * 4, word());
    else if (kind < 0.4) rig.ports.write(next() < 0.5 ? 0 : 4, 4, next() < 0.5 ? pick(RINGS) : word());
    else if (kind < 0.5) {
      rig.out(pick(RINGS), next() < 0.8 ? below(64) : word());
      if (next() < 0.1) rig.start(word() | reg.RCTL_EN);
    } else if (kind < 0.8) {
      const flags = (next() < 0.6 ? EOP : 0) | (next() < 0.5 ? RS : 0) | (next() < 0.2 ? TSE : 0);
      const type = pick([0, DATA, DATA, DEXT, word() & ~0xf_ffff]);
      rig.descriptor(TX, below(16), address(), flags | type | below(next() < 0.9 ? 3000 : 2 ** 20), word());
      if (next() < 0.5) rig.context(below(16), [word(), word(), word() | DEXT, word()]);
      if (next() < 0.5) rig.descriptor(RX, below(16), address(), word(), word());
    } else if (kind < 0.9) {
      rig.out(reg.TDT, below(16));
      rig.out(reg.RDT, below(16));
    } else {
      if (next() < 0.3) {
        const mixed = below(256);
        const frame = Uint8Array.from(
          { length: 15 + below(next() < 0.9 ? 1600 : 20_000) },
          (_, n) => (n * mixed) & 0xff,
        );
        if (next() < 0.7) frame.fill(0xff, 0, 6);
        if (next() < 0.5)
          frame.set(
            pick([
              [8, 0, 0x45],
              [0x86, 0xdd, 0x60],
              [0x81, 0],
            ]),
            12,
          );
        rig.backend.incoming.push(frame);
      }
      rig.backend.isFull = next() < 0.05;
      rig.busMaster = next() < 0.98;
      rig.timeMs += next();
      for (let bell = 0; bell < 3; bell++) rig.task.turn(bell);
      rig.backend.sent.length = 0;
      if (rig.backend.incoming.length > 10) rig.backend.incoming.length = 0;
      if (next() < 0.01) rig.task.quiesce();
    }
  }
  expect(rig.memory.translate(BUFFERS, 1)).toBeGreaterThan(0);
});
