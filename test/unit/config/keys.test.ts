import { expect, test } from "vitest";
import { keyHelp, keysOf, readKeys, together } from "../../../src/config/keys.ts";
import { group, table } from "../../../src/config/schema.ts";
import { each, flag, integer, size, text, words } from "../../../src/config/value.ts";

const bytes = size(0, 2 ** 40, "up to 1T");

const DISK = table({
  format: {
    type: words(["raw", "qcow2"], { bochs: "raw" }),
    qemu: { drive: ["format"] },
    help: "how it is stored",
    otherwise: "raw",
  },
  cacheBytes: {
    type: bytes,
    qemu: { drive: ["cache", "cache-size"] },
    help: "memory",
    also: [
      {
        type: { ...bytes, parse: (word, refuse) => bytes.check(word, refuse) * 2 },
        qemu: { drive: ["half"] },
        help: "half of it",
      },
    ],
  },
  limits: {
    type: group(
      table({
        total: { type: integer(0, 9), default: 0, qemu: { drive: ["limit.total"] }, help: "all" },
        read: { type: integer(0, 9), default: 0, qemu: { drive: ["limit.read"] }, help: "reads" },
      }),
    ),
    help: "limits",
  },
  werror: {
    type: words(["report", "stop"]),
    default: "report",
    qemu: { drive: ["werror"], device: ["werror"], auto: true, default: "stop" },
    help: "policy",
  },
  source: { type: text(""), help: "only for programs" },
});
const OWN = table({
  "no-flush": { type: flag, help: "" },
  port: { type: each(integer(0, 9)), required: "a port is missing: port=N", help: "a port" },
});

const complain = (sentence: string) => new Error(sentence);
const read = (typed: string) =>
  readKeys(
    typed.split(",").map((word) => {
      const [key, value] = word.split("=");
      return { key, value };
    }),
    together(keysOf(DISK, "drive"), keysOf(OWN)),
    complain,
  );

test("keys set the fields of their rows, by any of their names, converted to what a program gives", () => {
  expect(read("format=bochs,cache-size=1K,no-flush=on,port=1")).toEqual({
    format: "raw",
    cacheBytes: 1024,
    "no-flush": true,
    port: [1],
  });
  expect(read("half=1K,port=1")).toMatchObject({ cacheBytes: 2048 });
});

test("a key inside an object fills that object; the last of two counts, and lists add up", () => {
  expect(read("limit.total=1,limit.read=2,limit.total=3,port=4,port=5")).toEqual({
    limits: { total: 3, read: 2 },
    port: [4, 5],
  });
});

test.each([
  ["fromat=raw,port=1", 'unknown key "fromat" (did you mean "format"?)'],
  ["zzz=raw", 'unknown key "zzz"'],
  ["source=x", 'unknown key "source"'],
  ["=x", "a key is missing; a comma inside a value is written twice"],
  ["format=", 'the key "format" needs a value: format=raw|qcow2'],
  ["format=qed", 'format="qed" is not known; use raw or qcow2'],
  ["cache=much", 'cache="much" is not a size; write a number with K, M, G or T, as in 256M'],
  ["no-flush=ON", 'no-flush="ON" is neither on nor off'],
  ["port=10", "port=10 is out of range; give a whole number from 0 to 9"],
  ["port=x", 'port="x" is not a whole number'],
  ["no-flush=on", "a port is missing: port=N"],
])("%s: %s", (typed, sentence) => {
  expect(() => read(typed)).toThrow(new Error(sentence));
});

test("a device may leave to its drive what the drive says too", () => {
  const device = (value: string) => readKeys([{ key: "werror", value }], keysOf(DISK, "device"), complain);
  expect(device("auto")).toEqual({});
  expect(device("stop")).toEqual({ werror: "stop" });
});

test("help shows how a key is written, what it does, and its default", () => {
  expect(keyHelp(keysOf(DISK, "drive"))).toEqual([
    ["format=raw|qcow2", "how it is stored (default: raw)"],
    ["cache|cache-size=SIZE", "memory"],
    ["half=SIZE", "half of it"],
    ["limit.total=N", "all"],
    ["limit.read=N", "reads"],
    ["werror=report|stop", "policy (default: stop)"],
  ]);
  expect(keyHelp(keysOf(DISK, "device"))).toEqual([
    ["werror=report|stop|auto", "policy (default: auto, as the drive says)"],
  ]);
  expect(keyHelp(keysOf(OWN))).toEqual([["port=N", "a port (required)"]]);
});
