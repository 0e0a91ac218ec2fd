import { expect, test } from "vitest";
import type { RegisteredSlot } from "../../../src/kvm/vm.ts";
import { DirtyMap } from "../../../src/memory/dirty-map.ts";
import { DirtyLog } from "../../../src/vm/dirty-log.ts";

const PAGE = 4096;
const GIB = 2 ** 30;
const LOGGED = 1;

/** 2 MiB at 0, and 1 MiB at 4 GiB; `write` is what a CPU of the guest does. */
function machine() {
  const ram = [
    { address: 0, size: 2 ** 21, offset: 0 },
    { address: 4 * GIB, size: 2 ** 20, offset: 2 ** 21 },
  ];
  const slots: RegisteredSlot[] = ram.map(({ address, size }, slot) => {
    return { slot, flags: LOGGED, guestPhysAddr: address, memorySize: size, userspaceAddr: 0 };
  });
  slots.push({ slot: 2, flags: 2, guestPhysAddr: 0xe000_0000, memorySize: PAGE, userspaceAddr: 0 });
  const kvm = new Map<number, Set<number>>();
  const vm = {
    getDirtyLog(slot: number, bitmap: Uint8Array) {
      for (const page of kvm.get(slot) ?? []) bitmap[page >> 3] |= 1 << (page & 7);
      kvm.get(slot)?.clear();
    },
  };
  const write = (slot: number, page: number) => kvm.set(slot, (kvm.get(slot) ?? new Set()).add(page));
  const devices = new DirtyMap(new SharedArrayBuffer(DirtyMap.bytes(3 * 2 ** 20)));
  const logging: boolean[] = [];
  const log = new DirtyLog({ vm, slots: () => slots, ram, devices, log: (on) => logging.push(on) });
  return { log, devices, write, logging };
}

function pagesOf(bitmap: Uint32Array): number[] {
  const pages: number[] = [];
  for (let page = 0; page < bitmap.length * 32; page++) {
    if ((bitmap[page >> 5] >>> (page & 31)) & 1) pages.push(page);
  }
  return pages;
}

test("pages of every slot are numbered by their place in RAM, and taken once", () => {
  const { log, write } = machine();
  const reader = log.open();
  write(0, 3);
  write(0, 511);
  write(1, 0);
  write(1, 255);
  expect(pagesOf(reader.take())).toEqual([3, 511, 512, 767]);
  expect(pagesOf(reader.take())).toEqual([]);
  write(1, 255);
  expect(log.count(reader.take())).toEqual([[(4 * GIB) / 2 ** 21, 1]]);
});

test("what one reader takes, another still finds", () => {
  const { log, write } = machine();
  const trace = log.open();
  write(0, 1);
  const screen = log.open();
  write(0, 2);
  expect(pagesOf(screen.take())).toEqual([2]);
  write(0, 3);
  expect(pagesOf(trace.take())).toEqual([1, 2, 3]);
  expect(pagesOf(screen.take())).toEqual([3]);
});

test("what devices wrote counts as what CPUs wrote, from the first page to the last", () => {
  const { log, devices } = machine();
  devices.mark(0, PAGE); // nobody is there to know
  const reader = log.open();
  devices.mark(PAGE - 1, 2);
  devices.mark(31 * PAGE, 2 * PAGE);
  devices.mark(5 * PAGE, 0);
  expect(pagesOf(reader.take())).toEqual([0, 1, 31, 32]);
});

test("what one reader writes back, the others find, and it does not", () => {
  const { log, write } = machine();
  const [mark, diff] = [log.open(), log.open()];
  write(0, 3);
  expect(pagesOf(diff.take())).toEqual([3]);
  mark.wrote(mark.take());
  expect(pagesOf(diff.take())).toEqual([3]);
  expect(pagesOf(mark.take())).toEqual([]);
});

test("KVM logs from the first reader to the last", () => {
  const { log, devices, logging } = machine();
  const [a, b] = [log.open(), log.open()];
  a.close();
  a.close();
  expect(logging).toEqual([true]);
  b.close();
  expect(logging).toEqual([true, false]);
  expect(devices.on).toBe(false);
});
