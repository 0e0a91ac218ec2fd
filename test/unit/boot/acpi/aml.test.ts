import { expect, test } from "vitest";
import {
  buffer,
  device,
  eisaId,
  integer,
  method,
  name,
  pack,
  returns,
  scope,
  string,
} from "../../../../src/boot/acpi/aml.ts";
import { table } from "../../../../src/boot/acpi/table.ts";
import { disassemble } from "../../../support/iasl.ts";

/** What iasl reads in a DSDT that holds only `term`. */
function read(term: Uint8Array): string {
  const dsdt = table("DSDT", 2, term);
  const { source, recompiled } = disassemble(dsdt);
  expect(recompiled.subarray(36)).toEqual(Buffer.from(dsdt.subarray(36)));
  return source
    .slice(source.indexOf("{") + 1)
    .replace(/\/\/.*/g, "")
    .replace(/\s+/g, " ");
}

test("integers of every size read back", () => {
  for (const [value, text] of [
    [0, "Zero"],
    [1, "One"],
    [2, "0x02"],
    [0xff, "0xFF"],
    [0x100, "0x0100"],
    [0xffff, "0xFFFF"],
    [0x10000, "0x00010000"],
    [0xffffffff, "0xFFFFFFFF"],
  ] as const) {
    expect(read(name("NUM", integer(value)))).toContain(`Name (NUM, ${text})`);
  }
});

test("terms nest, and names have one, two or more segments", () => {
  const inner = device("DEV0", name("_ADR", integer(0)), method("_STA", 0, returns(integer(15))));
  const source = read(
    scope(
      "\\_SB",
      inner,
      device("DEV0.SUB", name("_ADR", integer(2))),
      device("\\_SB.DEV0.SUB.SUBB", name("_ADR", integer(3))),
    ),
  );
  expect(source).toContain("Device (DEV0) {");
  expect(source).toContain("Method (_STA, 0, NotSerialized) { Return (0x0F) }");
  expect(source).toContain("Device (DEV0.SUB) {");
  expect(source).toContain("Device (\\_SB.DEV0.SUB.SUBB) {");
});

test("lengths on both sides of each encoding's limit read back", () => {
  for (const size of [
    1, 40, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 4080, 4085, 4086, 4087, 4088, 4089, 4090, 4095, 5000,
  ]) {
    const bytes = new Uint8Array(size).fill(0xa5);
    expect(read(scope("\\_SB", name("BUF", buffer(bytes))))).toMatch(
      new RegExp(`Buffer \\((0x)?0*${size === 1 ? "One" : size.toString(16).toUpperCase()}\\)`),
    );
  }
});

test("strings, packages and EISA ids read back", () => {
  const source = read(name("PKG", pack(string("LNRO0005"), eisaId("PNP0B00"), pack(integer(7)))));
  expect(source).toMatch(/Package \(0x03\) \{ "LNRO0005", 0x000BD041, Package \(0x01\) \{ 0x07 \} \}/);
  expect(read(device("DEV", name("_HID", eisaId("PNP0501"))))).toContain('EisaId ("PNP0501")');
});

test("an invalid ACPI name or EISA id is refused", () => {
  for (const path of ["", "TOOLONG", "low", "1ST", "A..B"])
    expect(() => name(path, integer(0))).toThrow("not an ACPI name");
  expect(() => eisaId("PNP05")).toThrow("not an EISA id");
});
