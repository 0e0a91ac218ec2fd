import { expect, test } from "vitest";
import { placeCmdline } from "../../../src/boot/cmdline.ts";
import { planBoot } from "../../../src/boot/kernel.ts";
import { bootRequest, bzImage, vmlinux } from "../../support/boot-images.ts";

test("a command line reaches the guest with a zero byte at its end", () => {
  const { data, size } = placeCmdline("quiet", 2047, "vmlinuz");
  expect(data).toEqual(new Uint8Array([0x71, 0x75, 0x69, 0x65, 0x74, 0]));
  expect(size).toBe(6);
});

test("an empty command line is still there", () => {
  expect(placeCmdline("", 2047, "vmlinuz").data).toEqual(new Uint8Array(1));
});

test("a command line as long as the header allows is taken, one character more is not", () => {
  const image = bzImage({ cmdlineSize: 100 });
  expect(() => planBoot(bootRequest(image, { cmdline: "x".repeat(100) }))).not.toThrow();
  expect(() => planBoot(bootRequest(image, { cmdline: "x".repeat(101) }))).toThrow(
    "command line: 101 characters; vmlinuz accepts at most 100",
  );
});

test("a PVH kernel is not given more than Linux reads", () => {
  expect(() => planBoot(bootRequest(vmlinux(), { cmdline: "x".repeat(2047) }))).not.toThrow();
  expect(() => planBoot(bootRequest(vmlinux(), { cmdline: "x".repeat(2048) }))).toThrow(
    "accepts at most 2047",
  );
});

test("a header that allows any length cannot make the command line outgrow its place", () => {
  const image = bzImage({ cmdlineSize: 0xffffffff });
  expect(() => planBoot(bootRequest(image, { cmdline: "x".repeat(0x10000) }))).toThrow(
    "accepts at most 65535",
  );
});

test("a character that is not ASCII is named with its place", () => {
  expect(() => placeCmdline("root=/dev/vdä", 2047, "vmlinuz")).toThrow(
    'command line: "ä" at character 13 is not ASCII',
  );
  expect(() => placeCmdline("a\0b", 2047, "vmlinuz")).toThrow("a NUL at character 2");
});
