/** The drives of a PC, without KVM: where they are, and what the guest's accesses reach. */
import { expect, test } from "vitest";
import * as abi from "../../../../src/kvm/abi.ts";
import { IoExit } from "../../../../src/kvm/exit.ts";
import type { Vcpu } from "../../../../src/kvm/vcpu.ts";
import { pc } from "../../../../src/machine/boards/pc.ts";
import type { DeviceSpec } from "../../../../src/machine/spec.ts";
import { serve } from "../../../../src/threads/vcpu-loop.ts";
import { assemble } from "../../../support/assemble.ts";

function drive(kind: string, bus: number, unit: number): DeviceSpec {
  const config = { size: 1 << 20, readOnly: false, blockSize: 512, serial: "s", model: `VMEXIT ${kind}` };
  return { kind, name: `${kind}-${bus}-${unit}`, config, place: { bus: `ide.${bus}`, unit } };
}

function machine(devices: readonly DeviceSpec[]) {
  const driven: string[] = [];
  const made = assemble(
    pc,
    { board: "pc", devices },
    {
      driveIrq: (gsi, level) => driven.push(`${gsi} ${level ? "up" : "down"}`),
      moved: { settle: () => made.generation.bump() },
    },
  );
  made.machine.reset();
  return { ...made, driven };
}

test("drives answer at the old ports, on lines 14 and 15", () => {
  const { ports, driven } = machine([drive("ide-hd", 0, 1), drive("ide-cd", 1, 0)]);
  expect([ports.read(0x1f7, 1), ports.read(0x3f6, 1)]).toEqual([0, 0]);
  ports.write(0x1f6, 1, 0xb0);
  expect([ports.read(0x1f7, 1), ports.read(0x3f6, 1), ports.read(0x1f5, 1)]).toEqual([0x50, 0x50, 0]);
  expect([ports.read(0x177, 1), ports.read(0x174, 2)]).toEqual([0, 0xeb14]);
  ports.write(0x1f7, 1, 0xec);
  ports.write(0x177, 1, 0xa1);
  expect(driven).toEqual(["14 up", "15 up"]);
});

test("the bus master is where BAR 4 places it", () => {
  const { ports } = machine([drive("ide-hd", 0, 0)]);
  const write = (at: number, value: number) => {
    ports.write(0xcf8, 4, 0x8000_0900 | (at & 0xfc));
    ports.write(0xcfc, 4, value);
  };
  expect(ports.read(0xc04c, 4)).toBe(0xffff_ffff);
  write(0x20, 0xc040);
  write(0x04, 5);
  ports.write(0xc04c, 4, 0x1234_5678);
  expect([ports.read(0xc04c, 4), ports.read(0xc044, 4)]).toEqual([0x1234_5678, 0]);
  write(0x20, 0xd000);
  expect([ports.read(0xc04c, 4), ports.read(0xd00c, 4)]).toEqual([0xffff_ffff, 0x1234_5678]);
});

/** A vCPU that left the guest by one `rep ins` or `rep outs`. */
function exitOf(port: number, size: number, count: number, isWrite = false) {
  const page = new ArrayBuffer(8192);
  const bytes = new Uint8Array(page);
  const data = new DataView(page);
  bytes[abi.kvm_run.io_direction] = isWrite ? abi.KVM_EXIT_IO_OUT : abi.KVM_EXIT_IO_IN;
  bytes[abi.kvm_run.io_size] = size;
  data.setUint16(abi.kvm_run.io_port, port, true);
  data.setUint32(abi.kvm_run.io_count, count, true);
  data.setUint32(abi.kvm_run.io_data_offset, 4096, true);
  const vcpu = { exit: { io: new IoExit(page) } };
  return { vcpu: vcpu as unknown as Vcpu, data: bytes.subarray(4096, 4096 + size * count) };
}

test("rep insw takes a block at once", () => {
  const { ports, memory } = machine([drive("ide-hd", 0, 0)]);
  ports.write(0x1f7, 1, 0xec);
  const { vcpu, data } = exitOf(0x1f0, 2, 256);
  serve(vcpu, abi.KVM_EXIT_IO, ports, memory);
  expect([data[0], data[1]]).toEqual([0x40, 0]);
  expect(String.fromCharCode(...data.subarray(54, 60))).toBe("MVXETI");
  expect(ports.read(0x1f7, 1)).toBe(0x50);
});

test("rep outsw gives a block; what the drive does not take is written word by word, and lost", () => {
  const { ports, memory } = machine([drive("ide-hd", 0, 0)]);
  ports.write(0x1f2, 1, 1);
  ports.write(0x1f6, 1, 0xe0);
  ports.write(0x1f7, 1, 0x30);
  const { vcpu, data } = exitOf(0x1f0, 2, 300, true);
  data.fill(0x77);
  serve(vcpu, abi.KVM_EXIT_IO, ports, memory);
  expect(ports.read(0x1f7, 1)).toBe(0x80); // the io thread has the sector
});
