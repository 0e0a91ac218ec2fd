import { expect, expectTypeOf, test } from "vitest";
import { OptionError } from "../../../src/base/errors.ts";
import { type Filled, fill, group, list, type Options, table } from "../../../src/config/schema.ts";
import { flag, integer, size, text, words } from "../../../src/config/value.ts";

const LIMITS = table({ total: { type: integer(0, 9), default: 0, help: "in all" } });
const PORT = table({ number: { type: integer(1, 4), required: "give its number", help: "which one" } });
const TABLE = table({
  name: { type: text("NAME"), required: "give a name", help: "a name" },
  memory: { type: size(1024, 2 ** 30, "from 1K to 1G"), default: "1M", help: "memory" },
  policy: { type: words(["report", "stop"]), default: "report", help: "a policy" },
  quiet: { type: flag, help: "whether it is quiet" },
  limits: { type: group(LIMITS), help: "limits" },
  ports: { type: list(PORT), default: [], help: "ports" },
});

test("what was left out gets its default, and what was given its final form", () => {
  expect(fill(TABLE, { name: "a" }, "")).toEqual({
    name: "a",
    memory: 2 ** 20,
    policy: "report",
    quiet: undefined,
    limits: undefined,
    ports: [],
  });
  expect(fill(TABLE, { name: "a", memory: 4096, limits: {}, ports: [{ number: 2 }] }, "")).toMatchObject({
    memory: 4096,
    limits: { total: 0 },
    ports: [{ number: 2 }],
  });
});

test.each<[unknown, string]>([
  [7, "box: 7 is not an object"],
  [null, "box: null is not an object"],
  [{}, "box.name: missing; give a name"],
  [{ name: undefined }, "box.name: missing; give a name"],
  [{ name: null }, "box.name: null is not a string"],
  [{ name: "a", polici: "stop" }, 'box: unknown option "polici" (did you mean "policy"?)'],
  [
    { name: "a", policy: "stopp" },
    'box.policy: "stopp" is not known (did you mean "stop"?); use report or stop',
  ],
  [{ name: "a", memory: "1K5" }, 'box.memory: "1K5" has the unknown unit "K5"; use K, M, G or T'],
  [{ name: "a", memory: 1 }, "box.memory: 1 is out of range; give from 1K to 1G"],
  [{ name: "a", limits: 7 }, "box.limits: 7 is not an object"],
  [
    { name: "a", limits: { total: 10 } },
    "box.limits.total: 10 is out of range; give a whole number from 0 to 9",
  ],
  [{ name: "a", ports: {} }, "box.ports: an object is not an array"],
  [{ name: "a", ports: [{ number: 1 }, {}] }, "box.ports[1].number: missing; give its number"],
])("%j: %s", (given, sentence) => {
  expect(() => fill(TABLE, given, "box")).toThrow(new OptionError(sentence));
});

test("types follow the table: what may be given, and what is there afterwards", () => {
  expectTypeOf<Options<typeof TABLE>>().toEqualTypeOf<{
    readonly name: string;
    readonly memory?: number | string;
    readonly policy?: "report" | "stop";
    readonly quiet?: boolean;
    readonly limits?: { readonly total?: number };
    readonly ports?: readonly { readonly number: number }[];
  }>();
  expectTypeOf<Filled<typeof TABLE>>().toEqualTypeOf<{
    readonly name: string;
    readonly memory: number;
    readonly policy: "report" | "stop";
    readonly quiet: boolean | undefined;
    readonly limits: { readonly total: number } | undefined;
    readonly ports: readonly { readonly number: number }[];
  }>();
});

test("a default that its row would refuse is an error of the compiler", () => {
  // @ts-expect-error not a word of the row
  table({ policy: { type: words(["report", "stop"]), default: "halt", help: "a policy" } });
  // @ts-expect-error not a boolean
  table({ quiet: { type: flag, default: "on", help: "whether it is quiet" } });
});
