/** Any bytes in place of requests: the controller answers or stops, touches nothing but RAM, and can be reset. */
import { expect, test } from "vitest";
import { CdUnit } from "../../../../src/scsi/cd-unit.ts";
import { random } from "../../../support/random.ts";
import { DATA, DISK_BYTES, HEADER, RESPONSE, scsiRig } from "../../../support/scsi-rig.ts";
import type { Buffer } from "../../../support/virtio-driver.ts";

const REQUESTS = 5_000;
const OPERATIONS = [
  ...[0x00, 0x03, 0x08, 0x0a, 0x0b, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2b, 0x2e],
  ...[
    0x2f, 0x35, 0x41, 0x42, 0x55, 0x5a, 0x88, 0x8a, 0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xae,
    0xaf,
  ],
  ...[0x43, 0x46, 0x4a, 0x51, 0xbb, 0xbd, 0xbe, 0x28, 0x28, 0x28, 0x28, 0x28],
];
const UNITS = [
  { target: 0, lun: 0 },
  { target: 0, lun: 5 },
  { target: 9, lun: 0, readOnly: true },
  { target: 9, lun: 5, isCd: true },
];

test.each([1, 2, 3])("seed %i", (seed) => {
  const next = random(seed);
  const below = (n: number) => Math.floor(next() * n);
  /** Mostly small: then more of a command is valid. */
  const byte = () => (next() < 0.6 ? below(4) : below(256));
  const rig = scsiRig(UNITS);
  let answered = 0;
  let broken = 0;
  for (let n = 0; n < REQUESTS; n++) {
    if (rig.plugged.needsReset) {
      broken++;
      rig.bringUp();
    }
    const cdb = [OPERATIONS[below(OPERATIONS.length)], ...Array.from({ length: 15 }, byte)];
    if (next() < 0.5) cdb.fill(0, 2, 5).fill(0, 6, 8).fill(below(4), 8, 9); // a small address and length
    rig.header(
      cdb,
      next() < 0.8 ? [0, 9][below(2)] : below(256),
      next() < 0.8 ? [0, 5][below(2)] : below(16384),
    );
    if (next() < 0.05) rig.memory.at(HEADER + below(51)).setUint8(0, below(256));
    for (let at = 0; at < 40; at++) rig.memory.at(DATA + at).setUint8(0, byte());
    const data = (writable: boolean): Buffer[] =>
      Array.from({ length: below(3) }, () => ({
        address: DATA + below(0x2000),
        length: [512, 1024, 4096, 8192, 24, 8, 1 + below(600)][below(7)],
        writable,
      }));
    const headerBytes = next() < 0.98 ? 51 : 1 + below(60);
    const responseBytes = next() < 0.98 ? 108 : 1 + below(120);
    const queue = next() < 0.9 ? 2 : below(3);
    rig.queues[queue].add([
      { address: HEADER, length: headerBytes },
      ...data(false),
      { address: RESPONSE, length: responseBytes, writable: true },
      ...data(true),
    ]);
    for (const { backend } of rig.served) {
      backend.failure = next() < 0.02 ? -5 : 0;
      backend.later = next() < 0.3;
    }
    const { unit } = rig.served[3];
    if (unit instanceof CdUnit && next() < 0.05) {
      if (next() < 0.8) unit.insert(2048 * below(DISK_BYTES / 2048));
      else unit.eject(next() < 0.5);
    }
    rig.plugged.runner.serve(queue);
    for (let index = 0; index < 3; index++) {
      for (const { length } of rig.queues[index].used()) {
        answered++;
        expect(length).toBeLessThanOrEqual(108 + 0x4000);
      }
    }
  }
  expect(answered).toBeGreaterThan(REQUESTS / 2);
  expect(broken).toBeGreaterThan(0);
  for (const { backend } of rig.served) {
    for (const call of backend.calls) {
      const [kind, offset = 0, length = 0] = call
        .split(" ")
        .map((word, n) => (n === 0 ? word : Number(word) || 0));
      expect(
        Number(offset) + (kind === "readv" || kind === "writev" ? 0 : Number(length)),
      ).toBeLessThanOrEqual(DISK_BYTES);
    }
  }
  const isRead = (call: string) => call.startsWith("readv") || call === "flush";
  expect(rig.served[2].backend.calls.every(isRead)).toBe(true);
  expect(rig.served[3].backend.calls.every(isRead)).toBe(true);
  expect(rig.served[3].backend.calls.length).toBeGreaterThan(0);
});
