import { expect, test } from "vitest";
import { HardwareBreakpoints } from "../../../src/gdb/hardware-breakpoints.ts";

const point = (
  address: number | bigint,
  condition: "execute" | "write" | "access" = "execute",
  length = 1,
) => ({
  condition,
  address: BigInt(address),
  length,
});

test("a breakpoint takes one debug register; none take none", () => {
  const points = new HardwareBreakpoints();
  expect(points.hardware).toBeUndefined();
  expect(points.insert(point(0x1000))).toBe(true);
  expect(points.hardware).toEqual({ addresses: [0x1000n, 0n, 0n, 0n], dr7: 0x602n }); // G0, R/W0 = LEN0 = 0
  points.remove(point(0x1000));
  expect(points.hardware).toBeUndefined();
});

test("conditions and lengths are coded as the SDM says: LEN 8 is 2, LEN 4 is 3", () => {
  const points = new HardwareBreakpoints();
  points.insert(point(0x10, "write", 4));
  points.insert(point(0x20, "access", 8));
  points.insert(point(0x32, "write", 2));
  // R/W0 = 1, LEN0 = 3; R/W1 = 3, LEN1 = 2; R/W2 = 1, LEN2 = 1; G0, G1, G2
  expect(points.hardware?.dr7).toBe(0x5bd_0600n | 0x2an);
});

test("the fifth is refused, and takes nothing away from the four", () => {
  const points = new HardwareBreakpoints();
  for (let n = 0; n < 4; n++) expect(points.insert(point(n))).toBe(true);
  const before = points.hardware;
  expect(points.insert(point(4))).toBe(false);
  expect(points.insert(point(2))).toBe(true); // there already: gdb may say everything twice
  expect(points.hardware).toEqual(before);
});

test("a long or unaligned watchpoint takes several registers, and is reported as one", () => {
  const points = new HardwareBreakpoints();
  const watched = point(0x1001, "write", 7); // 1 at 1001, 2 at 1002, 4 at 1004
  expect(points.insert(watched)).toBe(true);
  expect(points.hardware?.addresses).toEqual([0x1001n, 0x1002n, 0x1004n, 0n]);
  expect(points.hit(4n)).toEqual(watched);
  expect(points.insert(point(0x2001, "write", 3))).toBe(false);
  points.remove(watched);
  expect(points.hardware).toBeUndefined();
});

test.each([0, 33, 1e9, 2 ** 52])("a watchpoint of %d bytes is refused at once", (length) => {
  expect(new HardwareBreakpoints().insert(point(0, "write", length))).toBe(false);
});

test("of a breakpoint and a watchpoint at once, the watchpoint is reported: it will not be hit again", () => {
  const points = new HardwareBreakpoints();
  points.insert(point(0x1000));
  points.insert(point(0x2000, "write", 4));
  expect(points.hit(3n)?.condition).toBe("write");
  expect(points.hit(1n)?.condition).toBe("execute");
  expect(points.hit(0x4000n)).toBeUndefined();
});
