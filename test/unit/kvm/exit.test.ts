/** What a kvm_run page says, on a page written by hand. */
import { expect, test } from "vitest";
import * as abi from "../../../src/kvm/abi.ts";
import { kvm_run } from "../../../src/kvm/abi.ts";
import { Exit, exitName, INTERRUPTED } from "../../../src/kvm/exit.ts";

const DATA = 4096;

function page() {
  const buffer = new ArrayBuffer(3 * 4096);
  return { data: new DataView(buffer), exit: new Exit(buffer) };
}

function io(size: number, count: number, direction: number) {
  const { data, exit } = page();
  data.setUint32(kvm_run.exit_reason, abi.KVM_EXIT_IO, true);
  data.setUint8(kvm_run.io_direction, direction);
  data.setUint8(kvm_run.io_size, size);
  data.setUint16(kvm_run.io_port, 0xcf8, true);
  data.setUint32(kvm_run.io_count, count, true);
  data.setBigUint64(kvm_run.io_data_offset, BigInt(DATA), true);
  return { data, exit };
}

test("the elements of a port access lie one after the other, each of its width", () => {
  for (const size of [1, 2, 4]) {
    const { data, exit } = io(size, 3, abi.KVM_EXIT_IO_OUT);
    for (let i = 0; i < 12; i++) data.setUint8(DATA + i, 0xf0 + i);
    expect([exit.reason, exit.io.port, exit.io.size, exit.io.count, exit.io.isWrite]).toEqual([
      abi.KVM_EXIT_IO,
      0xcf8,
      size,
      3,
      true,
    ]);
    const values = [0, 1, 2].map((i) => exit.io.get(i));
    const bytes = new Uint8Array(data.buffer, DATA, 3 * size);
    const expected = [0, 1, 2].map((i) =>
      [...bytes.subarray(i * size, (i + 1) * size)].reduceRight((value, byte) => value * 256 + byte, 0),
    );
    expect(values).toEqual(expected);
  }
});

test("an answer to a port read touches only its own element", () => {
  for (const size of [1, 2, 4]) {
    const { data, exit } = io(size, 3, abi.KVM_EXIT_IO_IN);
    exit.io.put(1, 0xffffffff);
    const bytes = [...new Uint8Array(data.buffer, DATA, 12)];
    expect(bytes).toEqual(bytes.map((_, i) => (i >= size && i < 2 * size ? 0xff : 0)));
    expect(exit.io.isWrite).toBe(false);
  }
});

test("of the data of a memory access only its own bytes count", () => {
  const { data, exit } = page();
  data.setBigUint64(kvm_run.mmio_phys_addr, 0xfeb0_0010n, true);
  data.setBigUint64(kvm_run.mmio_data, 0x8877_6655_4433_2211n, true);
  const seen = [1, 2, 3, 4, 5, 8].map((length) => {
    data.setUint32(kvm_run.mmio_len, length, true);
    return [exit.mmio.length, exit.mmio.low, exit.mmio.high];
  });
  expect(seen).toEqual([
    [1, 0x11, 0],
    [2, 0x2211, 0],
    [3, 0x332211, 0],
    [4, 0x44332211, 0],
    [5, 0x44332211, 0x55],
    [8, 0x44332211, 0x88776655],
  ]);
  expect([exit.mmio.address, exit.mmio.get(7)]).toEqual([0xfeb00010, 0x88]);
});

test("the bytes of an instruction that cannot be emulated are there only if KVM says so", () => {
  const { data, exit } = page();
  data.setUint32(kvm_run.internal_suberror, abi.KVM_INTERNAL_ERROR_EMULATION, true);
  data.setUint8(kvm_run.emulation_failure_insn_size, 200); // more than fit
  data.setUint8(kvm_run.emulation_failure_insn_bytes, 0x0f);
  expect(exit.instruction.length).toBe(0);
  data.setUint32(kvm_run.internal_ndata, 99, true);
  data.setBigUint64(kvm_run.emulation_failure_flags, 1n, true);
  expect([exit.instruction.length, exit.instruction[0]]).toEqual([15, 0x0f]);
  expect(exit.internalData.length).toBe(16);
});

test("exits have the names of the KVM API", () => {
  expect([abi.KVM_EXIT_IO, abi.KVM_EXIT_HLT, 12345, INTERRUPTED].map(exitName)).toEqual([
    "IO",
    "HLT",
    "12345",
    "INTERRUPTED",
  ]);
});
