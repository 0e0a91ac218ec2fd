import { expect, test } from "vitest";
import { checkDevices, device, ID, listDevices, many, one } from "../../../src/config/device-table.ts";
import { BUILT_IN, DEVICES } from "../../../src/config/devices.ts";
import { table } from "../../../src/config/schema.ts";
import { integer } from "../../../src/config/value.ts";

const size = { type: integer(1, 9), default: 5, help: "a size" };
const LAMP = device({ kind: "lamp", names: ["lamp"], help: "a lamp", options: table({ id: ID, size }) });
const BELL = device({
  kind: "bell",
  names: ["bell"],
  help: "a bell",
  options: table({ id: ID, size }),
  finish: ({ size }, _where, { cpus, index }) => ({ loudness: size * cpus + index }),
});
const ROWS = table({ lamps: many(LAMP, { help: "lamps" }), bell: one(BELL, { help: "a bell" }) });

const check = (given: object) => listDevices(ROWS, checkDevices(ROWS, given, 10));

test("a table and a line are a device: its options are checked and completed, and it has a kind and a name", () => {
  expect(check({ lamps: [{ size: 2 }, {}], bell: { size: 3 } })).toEqual([
    { kind: "lamp", name: "lamp0", config: { id: undefined, size: 2 } },
    { kind: "lamp", name: "lamp1", config: { id: undefined, size: 5 } },
    { kind: "bell", name: "bell", config: { loudness: 30 } },
  ]);
});

test("true stands for a device with its defaults, false and nothing for none", () => {
  expect(check({ lamps: [], bell: true })).toEqual([
    { kind: "bell", name: "bell", config: { loudness: 50 } },
  ]);
  expect(check({ lamps: [], bell: false })).toEqual([]);
  expect(check({ lamps: [] })).toEqual([]);
});

test.each([
  [{ lamps: [{ size: 10 }] }, "lamps[0].size: 10 is out of range; give a whole number from 1 to 9"],
  [{ lamps: [{}, { sise: 1 }] }, 'lamps[1]: unknown option "sise" (did you mean "size"?)'],
  [{ lamps: [{ id: "x" }], bell: { id: "x" } }, 'bell.id: "x" is the name of another device'],
])("%j is refused: %s", (given, sentence) => {
  expect(() => check(given)).toThrow(sentence);
});

test("no two devices of this package have one kind, or one name for -device", () => {
  const all = [...Object.values(DEVICES).map((row) => row.device), ...BUILT_IN];
  const names = all.flatMap((each) => each.names);
  expect(new Set(names).size).toBe(names.length);
  expect(new Set(all.map(({ kind }) => kind)).size).toBe(all.length);
});
