/**
 * What a hostile driver may write into the rings of a queue of 8 descriptors, for a
 * device that offers up to 16; and a word of the error message.
 */
import { DESC_F_INDIRECT, DESC_F_NEXT } from "../../src/virtio/spec.ts";
import { type DriverQueue, RAM, RAM_BYTES } from "./virtio-driver.ts";

const DATA = RAM + 0x8000;
const TABLE = RAM + 0x4000;
const END = RAM + RAM_BYTES;
const LOOP = { address: DATA, length: 1, flags: DESC_F_NEXT };

export const HOSTILE: [string, RegExp, (driver: DriverQueue) => void][] = [
  ["a head outside the table", /descriptor 8 is outside/, (d) => d.offer(8)],
  [
    "a next outside the table",
    /descriptor 8 is outside/,
    (d) => {
      d.describe(0, { ...LOOP, next: 8 });
      d.offer(0);
    },
  ],
  [
    "a descriptor that follows itself",
    /loops/,
    (d) => {
      d.describe(0, { ...LOOP, next: 0 });
      d.offer(0);
    },
  ],
  [
    "a circle of three",
    /loops/,
    (d) => {
      d.describe(0, { ...LOOP, next: 1 });
      d.describe(1, { ...LOOP, next: 2 });
      d.describe(2, { ...LOOP, next: 0 });
      d.offer(0);
    },
  ],
  ["a buffer of no bytes", /no bytes/, (d) => d.add([{ address: DATA, length: 0 }])],
  ["an address below RAM", /not all RAM/, (d) => d.add([{ address: RAM - 1, length: 16 }])],
  ["an address in unmapped space", /not all RAM/, (d) => d.add([{ address: 0, length: 16 }])],
  ["a buffer over the end of RAM", /not all RAM/, (d) => d.add([{ address: END - 8, length: 9 }])],
  ["a length of 4 GiB - 1", /not all RAM/, (d) => d.add([{ address: RAM, length: 0xffff_ffff }])],
  [
    "an address that wraps with its length",
    /not all RAM/,
    (d) => {
      d.describe(0, { address: 0xffff_ffff_ffff_fff0n, length: 0x100020 });
      d.offer(0);
    },
  ],
  [
    "an address above 2^53",
    /not all RAM/,
    (d) => {
      d.describe(0, { address: (1n << 60n) + BigInt(DATA), length: 16 });
      d.offer(0);
    },
  ],
  [
    "a buffer to read after one to write",
    /to read after one to write/,
    (d) =>
      d.add([
        { address: DATA, length: 1, writable: true },
        { address: DATA, length: 1 },
      ]),
  ],
  [
    "an indirect table that is cut short",
    /indirect table of 17 bytes/,
    (d) => {
      d.describe(0, { address: TABLE, length: 17, flags: DESC_F_INDIRECT });
      d.offer(0);
    },
  ],
  [
    "an empty indirect table",
    /indirect table of 0 bytes/,
    (d) => {
      d.describe(0, { address: TABLE, length: 0, flags: DESC_F_INDIRECT });
      d.offer(0);
    },
  ],
  [
    "a huge indirect table",
    /indirect table of 4294967280 bytes/,
    (d) => {
      d.describe(0, { address: TABLE, length: 0xffff_fff0, flags: DESC_F_INDIRECT });
      d.offer(0);
    },
  ],
  [
    "an indirect table outside RAM",
    /not all RAM/,
    (d) => {
      d.describe(0, { address: END - 16, length: 32, flags: DESC_F_INDIRECT });
      d.offer(0);
    },
  ],
  [
    "an indirect table in an indirect table",
    /inside an indirect table/,
    (d) => {
      d.describe(0, { address: TABLE, length: 16, flags: DESC_F_INDIRECT });
      d.describe(0, { address: TABLE, length: 16, flags: DESC_F_INDIRECT }, TABLE);
      d.offer(0);
    },
  ],
  [
    "an indirect descriptor with a next one",
    /with a next one/,
    (d) => {
      d.describe(0, { address: TABLE, length: 16, flags: DESC_F_INDIRECT | DESC_F_NEXT, next: 1 });
      d.offer(0);
    },
  ],
  [
    "a loop in an indirect table",
    /loops/,
    (d) => {
      d.describe(0, { address: TABLE, length: 32, flags: DESC_F_INDIRECT });
      d.describe(0, { ...LOOP, next: 1 }, TABLE);
      d.describe(1, { ...LOOP, next: 0 }, TABLE);
      d.offer(0);
    },
  ],
  [
    "a next outside the indirect table but inside the ring",
    /descriptor 2 is outside a table of 2/,
    (d) => {
      d.describe(0, { address: TABLE, length: 32, flags: DESC_F_INDIRECT });
      d.describe(0, { ...LOOP, next: 2 }, TABLE);
      d.offer(0);
    },
  ],
  [
    "more buffers than the device can hold",
    /more than 16 buffers/,
    (d) => {
      d.describe(0, { ...LOOP, next: 1 });
      d.describe(1, { address: TABLE, length: 256, flags: DESC_F_INDIRECT });
      for (let i = 0; i < 16; i++) d.describe(i, { ...LOOP, next: i + 1 }, TABLE);
      d.offer(0);
    },
  ],
  ["an available index that jumps", /available index moved/, (d) => d.setAvailIndex(d.availIndex + 9)],
  ["an available index that goes back", /available index moved/, (d) => d.setAvailIndex(d.availIndex - 1)],
];
