import { expect, test } from "vitest";
import { complainAbout, splitKeyValues } from "../../../src/cli/key-values.ts";

test("a comma inside a value is written twice", () => {
  expect(splitKeyValues("file=a,,b.img,format=raw")).toEqual([
    { key: "file", value: "a,b.img" },
    { key: "format", value: "raw" },
  ]);
  expect(splitKeyValues("file=a,,,,b")).toEqual([{ key: "file", value: "a,,b" }]);
  expect(splitKeyValues("file=a,,,format=raw")).toEqual([
    { key: "file", value: "a," },
    { key: "format", value: "raw" },
  ]);
});

test("an equals sign inside a value stays there", () => {
  expect(splitKeyValues("file=a=b")).toEqual([{ key: "file", value: "a=b" }]);
});

test("only the first word may leave its key out", () => {
  expect(splitKeyValues("2,sockets=1", "cpus")).toEqual([
    { key: "cpus", value: "2" },
    { key: "sockets", value: "1" },
  ]);
  expect(splitKeyValues("sockets=1,2", "cpus")[1]).toEqual({ key: "2", value: "on" });
});

test("a key without a value is switched on", () => {
  expect(splitKeyValues("file=a,readonly")[1]).toEqual({ key: "readonly", value: "on" });
});

test("an endless value is quoted in part", () => {
  expect(complainAbout("x".repeat(100_000))("is long").message.length).toBeLessThan(300);
});
