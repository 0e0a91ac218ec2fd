/** A CD drive on a SCSI controller, as a driver sees it. */
import { expect, test } from "vitest";
import { CdUnit } from "../../../../src/scsi/cd-unit.ts";
import { big, DATA, DISK_BYTES, OK, scsiRig } from "../../../support/scsi-rig.ts";

const GOOD = 0;
const CHECK_CONDITION = 2;
const BLOCK = 2048;
const BLOCKS = DISK_BYTES / BLOCK;

const TEST_READY = [0x00];
const read10 = (lba: number, blocks: number) => [0x28, 0, ...big(4, lba), 0, ...big(2, blocks)];
const into = (length: number) => [{ address: DATA, length, writable: true }];

function cdRig(facts: { readonly sectors?: number } = {}) {
  const rig = scsiRig([{ target: 0, lun: 0, isCd: true, readOnly: true, ...facts }]);
  const { unit, backend } = rig.served[0];
  if (!(unit instanceof CdUnit)) throw new Error("not a CD drive");
  for (let at = 0; at < DISK_BYTES; at++) backend.bytes[at] = (at >> 11) + at;
  rig.ready();
  /** Its status, and the sense data. */
  const outcome = (cdb: readonly number[]) => {
    const { response, status, sense } = rig.send(cdb, into(BLOCK));
    expect([response, status]).toEqual([OK, sense === 0 ? GOOD : CHECK_CONDITION]);
    return sense;
  };
  return { ...rig, unit, backend, outcome };
}

test("it says that it is a CD drive whose medium can be removed, and has no pages of disks", () => {
  const { ask, outcome } = cdRig();
  const inquiry = ask([0x12, 0, 0, 0, 96]);
  expect([...inquiry.subarray(0, 5)]).toEqual([5, 0x80, 5, 2, 31]);
  expect(Buffer.from(inquiry.subarray(8, 36)).toString()).toBe("VMEXIT  DVD-ROM         1.0 ");
  expect([...ask([0x12, 1, 0, 0, 96])]).toEqual([5, 0, 0, 3, 0, 0x80, 0x83]);
  expect(Buffer.from(ask([0x12, 1, 0x80, 0, 96]).subarray(4)).toString()).toBe("disk-0");
  expect(outcome([0x12, 1, 0xb0, 0, 96])).toBe(0x05_24_00);
});

test("blocks of 2048 bytes go straight to the driver's memory", () => {
  const { send, ask, memory, backend, outcome } = cdRig();
  expect([...ask([0x25])]).toEqual([...big(4, BLOCKS - 1), ...big(4, BLOCK)]);
  backend.calls.length = 0;
  for (const cdb of [
    read10(7, 3),
    [0xa8, 0, ...big(4, 7), ...big(4, 3)],
    [0xbe, 0, ...big(4, 7), ...big(3, 3), 0x10],
  ]) {
    expect(send(cdb, into(3 * BLOCK))).toMatchObject({ response: OK, status: GOOD, residual: 0 });
    const start = memory.at(DATA);
    const got = Buffer.from(start.buffer, start.byteOffset, 3 * BLOCK);
    expect(got.equals(backend.bytes.subarray(7 * BLOCK, 10 * BLOCK))).toBe(true);
  }
  expect(backend.calls).toEqual(new Array(3).fill(`readv ${7 * BLOCK}`));
  expect(outcome(read10(BLOCKS - 1, 2))).toBe(0x05_21_00);
  expect(outcome([0xbe, 0, ...big(4, 7), ...big(3, 1), 0xf8])).toBe(0x05_24_00); // raw blocks
});

test("nothing can be written", () => {
  const { outcome, backend } = cdRig();
  for (const operation of [0x0a, 0x2a, 0xaa, 0x8a, 0x42, 0x41, 0x93, 0x35, 0x55])
    expect([operation, outcome([operation, 0, 0, 0, 0, 0, 0, 0, 1])]).toEqual([operation, 0x05_20_00]);
  expect(backend.calls).toEqual([]);
});

test("contents, modes and features are those of a drive on IDE; MODE SENSE of 6 bytes is for Linux", () => {
  const { ask } = cdRig();
  const toc = [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, ...big(4, BLOCKS)];
  expect([...ask([0x43, 0, 0, 0, 0, 0, 0, 0, 200])]).toEqual(toc.slice(0, 16).concat(big(4, BLOCKS)));
  const long = ask([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 100]);
  const short = ask([0x1a, 0, 0x2a, 0, 100]);
  expect([...long.subarray(0, 8)]).toEqual([0, 26, 0x70, 0, 0, 0, 0, 0]);
  expect([...short.subarray(0, 4)]).toEqual([23, 0x70, 0, 0]);
  expect([...short.subarray(4)]).toEqual([...long.subarray(8)]);
  const core = ask([0x46, 2, 0, 1, 0, 0, 0, 0, 64]);
  expect([...core.subarray(8)]).toEqual([0, 1, 3, 4, 0, 0, 0, 1]); // on SCSI
});

const events = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8];

test("the medium is taken out and another one put in: a command reports it, and an event", () => {
  const { unit, ask, outcome } = cdRig();
  expect(unit.eject(false)).toBe(true);
  expect(outcome(TEST_READY)).toBe(0x02_3a_02); // the tray is open
  expect([...ask(events)]).toEqual([0, 6, 4, 0x10, 3, 1, 0, 0]);
  unit.insert(100 * BLOCK);
  expect([...ask(events)]).toEqual([0, 6, 4, 0x10, 2, 2, 0, 0]);
  expect(outcome(read10(0, 1))).toBe(0x06_28_00);
  expect([...ask([0x25])]).toEqual([...big(4, 99), ...big(4, BLOCK)]);
});

test("a drive that the guest has locked opens only by force; a reset of the unit unlocks it", () => {
  const { unit, ask, outcome, bringUp, ready } = cdRig();
  expect(outcome([0x1e, 0, 0, 0, 1])).toBe(0);
  expect(outcome([0x1b, 0, 0, 0, 2])).toBe(0x05_53_02);
  expect(unit.eject(false)).toBe(false);
  expect(ask(events)[4]).toBe(1);
  expect(outcome(TEST_READY)).toBe(0);
  bringUp();
  ready();
  expect(unit.eject(false)).toBe(true);
  expect(outcome(TEST_READY)).toBe(0x02_3a_02);
});

test("a reset of the controller does not bring back the medium that the machine began with", () => {
  const { unit, send, ask, outcome, bringUp } = cdRig();
  unit.eject(false);
  unit.insert(100 * BLOCK);
  bringUp();
  expect(send(TEST_READY).sense).toBe(0x06_29_00);
  expect(outcome(TEST_READY)).toBe(0x06_28_00);
  expect([...ask([0x25])]).toEqual([...big(4, 99), ...big(4, BLOCK)]);
});

test("an empty drive is not ready, and REQUEST SENSE takes what would be reported", () => {
  const { unit, ask, outcome } = cdRig({ sectors: 0 });
  expect(outcome(TEST_READY)).toBe(0x02_3a_01);
  unit.insert(BLOCK);
  expect([...ask([0x03, 0, 0, 0, 18])].slice(0, 14)).toEqual([
    0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x28, 0,
  ]);
  expect(outcome(TEST_READY)).toBe(0);
});
