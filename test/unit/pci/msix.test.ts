import { expect, test } from "vitest";
import { MSIX_BAR_BYTES, Msix, MsixState } from "../../../src/pci/msix.ts";
import { blank } from "../../support/virtio-driver.ts";

const ENABLE = 0x8000;
const MASK_ALL = 0x4000;
const PENDING = 0x800;

function rig(vectors = 40) {
  const sent: string[] = [];
  let changes = 0;
  const send = (address: number, data: number) => void sent.push(`${address.toString(16)} ${data}`);
  const msix = new Msix(blank(MsixState), vectors, { send });
  msix.reset();
  const capability = msix.capability(0x98, 1, () => void changes++);
  return {
    sent,
    msix,
    capability,
    get changes() {
      return changes;
    },
    set control(bits: number) {
      capability.write(2, 2, bits);
    },
    program(vector: number, data: number, masked = 0) {
      msix.write(16 * vector, 4, 0xfee0_1000);
      msix.write(16 * vector + 4, 4, 0x1);
      msix.write(16 * vector + 8, 4, data);
      msix.write(16 * vector + 12, 4, masked);
    },
  };
}

test("the capability says how many messages there are, and where", () => {
  const { capability } = rig(5);
  expect([capability.id, capability.at, capability.length]).toEqual([0x11, 0x98, 12]);
  expect(capability.read(2, 2)).toBe(4);
  expect(capability.read(4, 4)).toBe(1); // BAR 1, offset 0
  expect(capability.read(8, 4)).toBe(PENDING | 1);
});

test("a message is what the table says when the interrupt is due", () => {
  const device = rig();
  device.control = ENABLE;
  device.program(3, 0x41);
  device.msix.signal(3);
  device.msix.write(16 * 3 + 8, 4, 0x42);
  device.msix.signal(3);
  expect(device.sent).toEqual(["1fee01000 65", "1fee01000 66"]);
});

test("after power-on each vector is masked, and MSI-X is off", () => {
  const { msix, sent } = rig();
  expect(msix.enabled).toBe(false);
  expect([0, 39].map((vector) => msix.read(16 * vector + 12, 4))).toEqual([1, 1]);
  msix.signal(0);
  expect([sent, msix.read(PENDING, 4)]).toEqual([[], 0]);
});

test("an interrupt of a masked vector is pending until the vector is unmasked, then sent once", () => {
  const device = rig();
  device.control = ENABLE;
  device.program(33, 7, 1);
  device.msix.signal(33);
  device.msix.signal(33);
  expect([device.msix.read(PENDING, 4), device.msix.read(PENDING + 4, 4)]).toEqual([0, 2]);
  expect(device.sent).toEqual([]);
  device.msix.write(16 * 33 + 12, 4, 0);
  expect(device.sent).toEqual(["1fee01000 7"]);
  expect(device.msix.read(PENDING + 4, 4)).toBe(0);
});

test("the function's mask holds back all vectors, but not those that are masked one by one", () => {
  const device = rig();
  device.control = ENABLE | MASK_ALL;
  device.program(0, 1);
  device.program(1, 2, 1);
  device.msix.signal(0);
  device.msix.signal(1);
  expect(device.sent).toEqual([]);
  device.control = ENABLE;
  expect(device.sent).toEqual(["1fee01000 1"]);
  expect(device.msix.read(PENDING, 4)).toBe(2);
});

test("Message Control is written by any access that has its upper byte, and by no other", () => {
  const device = rig(3);
  device.capability.write(3, 1, 0xff);
  expect(device.capability.read(2, 2)).toBe(ENABLE | MASK_ALL | 2);
  device.capability.write(2, 1, 0);
  expect(device.capability.read(2, 2)).toBe(ENABLE | MASK_ALL | 2);
  device.capability.write(0, 4, 0x8000_ffff);
  expect(device.capability.read(2, 2)).toBe(ENABLE | 2);
  device.capability.write(8, 4, 0xffff_ffff);
  expect(device.capability.read(8, 4)).toBe(PENDING | 1);
  expect(device.changes).toBe(2);
});

test("pending bits and what is behind the table are not the guest's to write", () => {
  const { msix } = rig(2);
  for (const offset of [32, 0x700, PENDING, PENDING + 4, MSIX_BAR_BYTES - 4]) {
    msix.write(offset, 4, 0xffff_ffff);
    expect(msix.read(offset, 4), `0x${offset.toString(16)}`).toBe(0);
  }
  msix.write(0, 2, 0x1234); // half a field
  msix.write(8, 4, 0xffff_ffff);
  msix.write(12, 4, 0xffff_ffff); // reserved bits
  expect([msix.read(0, 4), msix.read(8, 4), msix.read(12, 4)]).toEqual([0, 0xffff_ffff, 1]);
});

test("a vector that does not exist is not signalled", () => {
  const device = rig(2);
  device.control = ENABLE;
  device.msix.signal(2);
  device.msix.signal(0xffff);
  expect([device.sent, device.msix.read(PENDING, 4)]).toEqual([[], 0]);
});
