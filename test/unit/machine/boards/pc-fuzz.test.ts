/**
 * A guest that writes anything anywhere on a PC: configuration space, BARs, ports. Nothing throws, answers
 * fit their width, and what KVM has to have stays possible. VMEXIT_PC_ACCESSES sets how many accesses.
 */
import { expect, test } from "vitest";
import type { AccessSize } from "../../../../src/bus/io.ts";
import { pc } from "../../../../src/machine/boards/pc.ts";
import { kernelMap } from "../../../../src/machine/kernel-map.ts";
import type { DeviceSpec } from "../../../../src/machine/spec.ts";
import { assemble } from "../../../support/assemble.ts";
import { random } from "../../../support/random.ts";

const ACCESSES = Number(process.env.VMEXIT_PC_ACCESSES ?? 100_000);
const SEEDS = [1, 2, 0xc0de];
const PAGE = 4096;

const DEVICES: DeviceSpec[] = [
  {
    kind: "virtio-blk",
    name: "virtio-blk0",
    config: {
      ...{ size: 2 ** 20, blockSize: 4096, readOnly: false, serial: "a", queues: 2, writeCache: true },
      ...{ rerror: "report", werror: "report", throttling: undefined },
    },
  },
  { kind: "virtio-rng", name: "virtio-rng", config: {} },
];

function machine() {
  const firmware = { size: 2 ** 18, bootOrder: "cad", bootMenu: false };
  const made = assemble(
    pc,
    { board: "pc", firmware, devices: DEVICES },
    { moved: { settle: () => made.generation.bump() } },
  );
  made.machine.reset();
  return made;
}

test.each(SEEDS)(
  "any accesses to configuration space and ports, seed %i",
  (seed) => {
    const { machine: made, ports, memory } = machine();
    const next = random(seed);
    const below = (end: number) => Math.floor(next() * end);
    const value = () => (next() < 0.3 ? 2 ** below(32) : next() < 0.3 ? 0xffff_ffff : below(2 ** 32)) >>> 0;
    const access = (write: boolean, address: number, size: AccessSize) => {
      const space = address < 0x1_0000 ? ports : memory;
      if (write) space.write(address, size, value() % 2 ** (8 * size));
      else {
        const got = space.read(address, size);
        if (!(got >= 0 && got < 2 ** (8 * size))) expect.unreachable(`0x${address.toString(16)} gave ${got}`);
      }
    };
    for (let n = 0; n < ACCESSES; n++) {
      const size = ([1, 2, 4] as const)[below(3)];
      if (next() < 0.8) {
        // Functions that exist, mostly: devices 0 to 3, functions 0 to 3.
        const fn = (below(4) << 3) | below(4);
        ports.write(0xcf8, 4, (0x8000_0000 | (fn << 8) | (below(64) << 2)) >>> 0);
        access(next() < 0.7, 0xcfc + (size === 4 ? 0 : below(4 / size) * size), size);
      } else if (next() < 0.7) {
        access(next() < 0.5, below(0x1_0000 - 4), size);
      } else {
        const window = memory.windows[below(memory.windows.length)];
        if (window !== undefined) access(next() < 0.5, window.address + below(window.length), size);
      }
      if (n % 500 === 0) checkMap(kernelMap(made));
    }
  },
  120_000,
);

function checkMap({ slots, doorbells }: ReturnType<typeof kernelMap>): void {
  const sorted = [...slots].sort((a, b) => a.address - b.address);
  sorted.forEach(({ address, size, offset }, n) => {
    expect([address % PAGE, size % PAGE, offset % PAGE, size > 0]).toEqual([0, 0, 0, true]);
    const after = sorted[n + 1];
    if (after !== undefined) expect(address + size).toBeLessThanOrEqual(after.address);
  });
  for (const { address, length, port = false } of doorbells) {
    expect(address + length).toBeLessThanOrEqual(port ? 2 ** 16 : 2 ** 52);
  }
}
