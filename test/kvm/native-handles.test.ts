/** What a closed handle leaves behind: nothing, and no way back to its memory. */
import { expect, test } from "vitest";
import { KVM_EXIT_HLT } from "../../src/kvm/abi.ts";
import { GuestRam } from "../../src/sys/guest-ram.ts";
import { guestMappings, openDescriptors, settle } from "../support/process-resources.ts";
import { RAM_SIZE, tinyGuest } from "../support/tiny-guest.ts";

test("fifty machines that ran leave no descriptor and no mapping", async () => {
  await settle();
  const before = [openDescriptors(), guestMappings()];
  for (let i = 0; i < 50; i++) {
    using guest = tinyGuest([0xf4]);
    expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
  }
  await settle();
  expect([openDescriptors(), guestMappings()]).toEqual(before);
});

test("closing in any order leaves nothing", async () => {
  const parts = ["kvm", "vm", "ram", "cpu"] as const;
  for (const first of parts) {
    for (const second of parts.filter((part) => part !== first)) {
      const guest = tinyGuest([0xf4]);
      guest[first].close();
      guest[second].close();
      guest[Symbol.dispose]();
      guest[Symbol.dispose]();
    }
  }
  await settle();
  expect(guestMappings()).toEqual([]);
});

test("a view of a closed memory has no bytes, and asking for another is an error", () => {
  const ram = GuestRam.create(RAM_SIZE);
  const view = ram.map(0, RAM_SIZE);
  const bytes = new Uint8Array(view);
  const data = new DataView(view);
  bytes[5] = 1;
  ram.close();
  expect([view.byteLength, bytes.length, bytes[5]]).toEqual([0, 0, undefined]);
  expect(() => data.getUint8(5)).toThrow(TypeError);
  expect(() => new Uint8Array(view)).toThrow(TypeError);
  expect(() => ram.map(0, 16)).toThrow(expect.objectContaining({ code: "EBADF" }));
  expect(() => ram.token).toThrow(expect.objectContaining({ code: "EBADF" }));
});

test("memory stays mapped while another handle's view is used", async () => {
  const ram = GuestRam.create(RAM_SIZE);
  const other = GuestRam.attach(ram.token);
  const bytes = new Uint8Array(other.map(0, RAM_SIZE));
  ram.close();
  await settle();
  bytes[100] = 42;
  expect(bytes[100]).toBe(42);
  other.close();
  await settle();
  expect(guestMappings()).toEqual([]);
});

test("the same range is the same ArrayBuffer", () => {
  using ram = GuestRam.create(RAM_SIZE);
  expect(ram.map(0, 4096)).toBe(ram.map(0, 4096));
  expect(ram.map(0, 4096)).not.toBe(ram.map(0, 8192));
  new Uint8Array(ram.map(0, 8192))[4097] = 9;
  expect(new Uint8Array(ram.map(4096, 4096))[1]).toBe(9);
});

test("a view cannot be transferred away from its memory", () => {
  using ram = GuestRam.create(RAM_SIZE);
  const view = ram.map(0, 4096);
  try {
    structuredClone(view, { transfer: [view] }); // Node 20 copies, later ones throw
  } catch (error) {
    expect(error).toBeInstanceOf(DOMException);
  }
  expect(view.byteLength).toBe(4096);
  new Uint8Array(view)[0] = 7;
  expect(new Uint8Array(ram.map(0, 16))[0]).toBe(7);
});

test.each(["memfd", "anonymous"] as const)("%s memory is zero again after discard()", (backing) => {
  using ram = GuestRam.create(4 * 2 ** 20, { backing });
  const bytes = new Uint8Array(ram.map(0, ram.size));
  expect(bytes.every((byte) => byte === 0)).toBe(true);
  bytes.fill(0xaa);
  ram.discard();
  expect(bytes.every((byte) => byte === 0)).toBe(true);
  bytes[0] = 1;
  expect(bytes[0]).toBe(1);
});

test("memory starts on a huge page's boundary", () => {
  using ram = GuestRam.create(RAM_SIZE);
  expect(ram.size).toBe(RAM_SIZE);
  const [mapping] = guestMappings();
  expect(Number.parseInt(mapping, 16) % 2 ** 21).toBe(0);
});

test("memory larger than an ArrayBuffer can be is seen in parts", () => {
  using ram = GuestRam.create(6 * 2 ** 30);
  const last = new Uint8Array(ram.map(6 * 2 ** 30 - 4096, 4096));
  last[4095] = 3;
  const part = new Uint8Array(ram.map(4 * 2 ** 30, 2 * 2 ** 30));
  expect(part[part.length - 1]).toBe(3);
});
