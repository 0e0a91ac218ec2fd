/** Reading the registers of a paused machine, and its memory at any time. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { type DebugStop, StateError, type VirtualMachine } from "vmexit";
import { probeGuestDebug } from "vmexit/kvm";
import { patience } from "../../lab/patience.mjs";
import { FOR_EVER, flatMachine, outByte, say } from "../support/flat-machine.ts";

/** The lab's emulated AMD-V has none. */
const { breakpoints } = probeGuestDebug("/dev/kvm");
const GIB = 2 ** 30;
/** mov cx, 0x1234; then where it stands */
const COUNTED = [0xb9, 0x34, 0x12, ...say("!"), ...FOR_EVER];

async function atRest(code: readonly number[]): Promise<VirtualMachine> {
  const vm = await flatMachine(code);
  await vm.start();
  await vm.serial.waitFor("!");
  await vm.pause();
  return vm;
}

test("a machine that was not started shows where it will begin", async () => {
  await using vm = await flatMachine(FOR_EVER);
  expect(vm.protocol).toBe("flat");
  expect(vm.vcpus).toHaveLength(1);
  const { rip, cs, cr0, rflags } = vm.vcpus[0].registers();
  expect({ rip, base: cs.base, cr0: cr0 & 1n, rflags }).toEqual({
    rip: 0n,
    base: 0x1000n,
    cr0: 0n,
    rflags: 2n,
  });
});

test("a paused CPU shows its registers, and takes others", async () => {
  await using vm = await atRest(COUNTED);
  const [cpu] = vm.vcpus;
  expect(cpu.registers().rcx & 0xffffn).toBe(0x1234n);
  cpu.setRegisters({ rcx: 0x4321n, ds: { selector: 0x200, base: 0x2000 } });
  const { rcx, ds, rip } = cpu.registers();
  expect({ rcx, selector: ds.selector, base: ds.base }).toEqual({
    rcx: 0x4321n,
    selector: 0x200,
    base: 0x2000n,
  });
  expect(rip).toBe(BigInt(COUNTED.length - FOR_EVER.length));
  const fpu = cpu.fpu();
  cpu.setFpu({ ...fpu, xmm: fpu.xmm.with(3, 0x42n << 64n) });
  expect(cpu.fpu().xmm[3]).toBe(0x42n << 64n);
  expect(cpu.translate(0x1000n)?.address).toBe(0x1000n);
  expect(cpu.msr(0xc000_0080)).toBe(cpu.registers().efer);
});

test("a running CPU cannot be looked at, and the error says what state is needed", async () => {
  await using vm = await flatMachine(FOR_EVER);
  await vm.start();
  expect(() => vm.vcpus[0].registers()).toThrow(StateError);
  expect(() => vm.vcpus[0].registers()).toThrow(
    /vcpus\[0\]\.registers\(\): .* is running; it has to be created or paused/,
  );
});

test("guest memory is read and written before the start, while the guest runs, and in a pause", async () => {
  // jmp short over a byte; then: mov al, [2]; test al, al; jz back; say ok
  const code = [0xeb, 0x01, 0x00, 0xa0, 0x02, 0x00, 0x84, 0xc0, 0x74, 0xf9, ...say("ok!"), ...FOR_EVER];
  await using vm = await flatMachine(code);
  expect([...vm.memory.read(0x1000, 4)]).toEqual(code.slice(0, 4));
  await vm.start();
  vm.memory.write(0x1002, Uint8Array.of(1));
  await vm.serial.waitFor("ok!");
  await vm.pause();
  expect(vm.memory.read(0x1002, 1)[0]).toBe(1);
  expect(vm.memory.size).toBe(2 ** 20);
});

test("memory that is not there is refused whole", async () => {
  await using vm = await flatMachine(FOR_EVER);
  for (const [address, length] of [
    [2 ** 20, 1],
    [2 ** 20 - 1, 2],
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [Number.NaN, 1],
    [2 ** 60, 1],
  ]) {
    expect(() => vm.memory.read(address, length), `${address}, ${length}`).toThrow(RangeError);
  }
  expect(() => vm.memory.write(2 ** 20 - 1, Uint8Array.of(1, 2))).toThrow(RangeError);
  expect(vm.memory.read(2 ** 20 - 1, 1)[0]).toBe(0);
});

test("slots and tree tell what KVM was given; the addresses are those of this process", async () => {
  await using vm = await flatMachine(FOR_EVER, { memory: "5G", rng: true });
  const slots = vm.memory.slots();
  expect(slots.map(({ userspaceAddr: _, ...slot }) => slot)).toEqual([
    { slot: 0, flags: 0, guestPhysAddr: 0, memorySize: 3 * GIB },
    { slot: 1, flags: 0, guestPhysAddr: 4 * GIB, memorySize: 2 * GIB },
    { slot: 2, flags: 2, guestPhysAddr: 0xfeb0_0000, memorySize: 0x1000 }, // registers of virtio-rng
  ]);
  expect(slots[1].userspaceAddr - slots[0].userspaceAddr).toBe(3 * GIB);
  const maps = readFileSync("/proc/self/maps", "utf8");
  const mapping = maps.split("\n").find((line) => line.startsWith(slots[0].userspaceAddr.toString(16)));
  expect(mapping).toContain("memfd:guest-ram");
  const { root, text } = vm.memory.tree();
  expect(text).toContain(
    `0000000100000000-000000017fffffff ram slot 1 at host 0x${slots[1].userspaceAddr.toString(16)}`,
  );
  expect(root.children.map(({ name }) => name)).toEqual(["ram", "hole", "ram"]);
  const rom = root.children[1].children.find(({ kind }) => kind === "rom");
  expect(rom?.children.map(({ name }) => name)).toEqual(["virtio-rng"]);
});

test("RAM is lazy: what was touched is resident, the rest is not", async () => {
  await using vm = await flatMachine(FOR_EVER, { memory: "1G" });
  const before = vm.memory.resident();
  expect(before).toBeGreaterThan(0);
  expect(before).toBeLessThan(GIB / 4);
  vm.memory.write(GIB / 2, new Uint8Array(64 * 2 ** 20));
  expect(vm.memory.resident() - before).toBeGreaterThanOrEqual(64 * 2 ** 20);
});

test("after its end a machine has neither CPUs nor memory to look at", async () => {
  const vm = await flatMachine(outByte(0xf4, 1));
  await vm.start();
  await vm.exited;
  for (const look of [
    () => vm.vcpus[0].registers(),
    () => vm.memory.read(0, 1),
    () => vm.memory.tree(),
    () => vm.memory.resident(),
  ]) {
    expect(look).toThrow(StateError);
  }
});

test("a single step pauses the machine at the next instruction, and says so", async () => {
  await using vm = await flatMachine([0xb8, 0x01, 0x00, 0xb8, 0x02, 0x00, ...FOR_EVER]); // mov ax, 1; mov ax, 2
  const [cpu] = vm.vcpus;
  const step = async () => {
    const stopped = new Promise<DebugStop>((resolve) => vm.once("debug", resolve));
    cpu.setDebug({ singleStep: true });
    await (vm.state === "created" ? vm.start() : vm.resume());
    return stopped;
  };
  expect(await step()).toMatchObject({ vcpu: 0, exception: 1, pc: 0x1003n });
  expect(vm.state).toBe("paused");
  expect(cpu.registers().rax).toBe(1n);
  expect(await step()).toMatchObject({ pc: 0x1006n });
  expect(cpu.registers().rax).toBe(2n);
});

test("a step over the instruction that ends the machine is its end", async () => {
  await using vm = await flatMachine([0xb0, 0x10, 0xe6, 0xf4, ...FOR_EVER]); // mov al, 0x10; out 0xf4, al
  vm.on("debug", () => {
    vm.vcpus[0].setDebug({ singleStep: true });
    void vm.resume();
  });
  vm.vcpus[0].setDebug({ singleStep: true });
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 33 });
});

test.skipIf(!breakpoints)("a hardware breakpoint is met, also after a reset", async () => {
  await using vm = await flatMachine([0x90, 0x90, 0xeb, 0xfc]); // nop; nop; jmp back
  const stop = () => new Promise<DebugStop>((resolve) => vm.once("debug", resolve));
  const first = stop();
  vm.vcpus[0].setDebug({ hardware: { addresses: [0x1001n], dr7: 0x602n } });
  await vm.start();
  expect(await first).toMatchObject({ pc: 0x1001n, exception: 1 });
  const second = stop();
  await vm.reset({ paused: true });
  expect(vm.state).toBe("paused");
  expect(vm.vcpus[0].registers().rip).toBe(0n);
  await vm.resume();
  expect(await second).toMatchObject({ pc: 0x1001n });
});

test("the two-counters example pauses one guest, sees the other run, and traces from the registers it set", async () => {
  const example = fileURLToPath(new URL("../../build/tools/examples/03-two-counters.js", import.meta.url));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [example], {
    timeout: patience(60_000),
  });
  const [, counted, kept] =
    /^tick is paused at 0x[0-9a-f]+: CX is (\d+), and memory has (\d+)$/m.exec(stdout) ?? [];
  expect(Number(counted)).toBeGreaterThanOrEqual(1000);
  expect([0, 1]).toContain(Number(counted) - Number(kept)); // it may stand between its two instructions
  const exits = [42, 43, 44].map((n) => `exit: IO out 0x80 ${n}, with CX ${n}\n`);
  expect(stdout.endsWith(["tock runs meanwhile\n", ...exits].join(""))).toBe(true);
  expect(stderr).toBe("");
});
