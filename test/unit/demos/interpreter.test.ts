/** The x86 interpreter of the demo three-ways: right in what it knows, and loud about the rest. */
import { expect, test } from "vitest";
import { Interpreter, type Ports } from "../../../examples/demos/three-ways-interpreter.ts";

const NO_PORTS: Ports = { in: () => 0xff, out: () => {} };

function processor(code: readonly number[], ports: Ports = NO_PORTS): Interpreter {
  const memory = new Uint8Array(4096);
  memory.set(code, 0x100);
  return new Interpreter(memory, 0x100, 0x1000, ports);
}

const EAX = 0;
const EBX = 3;

test("an addition that overflows sets carry and zero, and wraps", () => {
  // mov eax, 0xffffffff; mov ebx, 1; add eax, ebx; jae +1 (over hlt); hlt
  const cpu = processor([0xb8, 0xff, 0xff, 0xff, 0xff, 0xbb, 1, 0, 0, 0, 0x01, 0xd8, 0x73, 0x01, 0xf4]);
  expect(cpu.run(10)).toBe(true);
  expect(cpu.registers[EAX]).toBe(0);
  expect(cpu.instructions).toBe(5); // the jump was not taken: carry was set
});

test("inc leaves carry alone, unlike add", () => {
  // mov eax, 1; cmp eax, 2 (carry); inc eax; jb +1 (over hlt); hlt; inc ebx; hlt
  const cpu = processor([0xb8, 1, 0, 0, 0, 0x3d, 2, 0, 0, 0, 0x40, 0x72, 0x01, 0xf4, 0x43, 0xf4]);
  expect(cpu.run(10)).toBe(true);
  expect(cpu.registers[EBX]).toBe(1);
});

test("a comparison of bytes looks at eight bits", () => {
  // cmp byte ptr [0x200], 0x80; jne +1; inc ebx; hlt
  const cpu = processor([0x80, 0x3d, 0x00, 0x02, 0, 0, 0x80, 0x75, 0x01, 0x43, 0xf4]);
  expect(cpu.run(10)).toBe(true);
  expect(cpu.registers[EBX]).toBe(0); // 0 is not 0x80
});

test("a call returns behind itself, and in and out reach the ports", () => {
  const written: [number, number][] = [];
  const ports: Ports = {
    in: () => 0x41,
    out: (port, value) => {
      written.push([port, value]);
    },
  };
  // call +1; hlt; in al, dx; out dx, al; ret
  const cpu = processor([0xe8, 1, 0, 0, 0, 0xf4, 0xec, 0xee, 0xc3], ports);
  cpu.registers[2] = 0xffff_00e9;
  expect(cpu.run(10)).toBe(true);
  expect(written).toEqual([[0xe9, 0x41]]);
  expect(cpu.instructions).toBe(5);
});

test("a guest that does not end is ended", () => {
  expect(processor([0xeb, 0xfe]).run(1000)).toBe(false);
});

test("an instruction that it does not know is an error with address and byte", () => {
  expect(() => processor([0x40, 0x0f, 0x0b]).run(10)).toThrow("does not know the instruction 0xf at 0x101");
});

test("an address outside of the memory is an error", () => {
  expect(() => processor([0x80, 0x3d, 0, 0, 1, 0, 0]).run(10)).toThrow(RangeError);
});
