/** What a guest reads by CPUID for a CPU model, and for a topology. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { restoreVm } from "vmexit";
import { FOR_EVER, flatMachine, say } from "../support/flat-machine.ts";
import { printed } from "../support/printed.ts";

const PORT = 0x3f8;

/** Sends a register on COM1, lowest byte first. */
const send = (load: readonly number[]) => [
  ...[0xba, PORT & 0xff, PORT >> 8], // mov dx, 0x3f8
  ...load, // mov eax, register
  ...[0xee, 0x66, 0xc1, 0xe8, 8], // out dx, al; shr eax, 8
  ...[0xee, 0x66, 0xc1, 0xe8, 8],
  ...[0xee, 0x66, 0xc1, 0xe8, 8],
  ...[0xee],
];
const dword = (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];

/** mov eax, leaf; mov ecx, subleaf; cpuid; keeps what sending destroys, and sends all four registers. */
const cpuid = (leaf: number, subleaf = 0) => [
  ...[0x66, 0xb8, ...dword(leaf), 0x66, 0xb9, ...dword(subleaf)],
  ...[0x0f, 0xa2, 0x66, 0x89, 0xd6], // cpuid; mov esi, edx
  ...send([]),
  ...send([0x66, 0x89, 0xd8]), // mov eax, ebx
  ...send([0x66, 0x89, 0xc8]), // mov eax, ecx
  ...send([0x66, 0x89, 0xf0]), // mov eax, esi
];

const HALT = [0xfa, 0xba, 0xf4, 0x00, 0xb0, 0x01, 0xee, 0xf4]; // cli; out 0xf4, 1; hlt

/** EAX, EBX, ECX and EDX of each leaf, as CPU 0 reads them, and what the machine noted. */
async function guestReads(
  leaves: readonly (readonly [number, number?])[],
  options: Parameters<typeof flatMachine>[1],
): Promise<{ registers: number[][]; notes: string[] }> {
  const code = [...leaves.flatMap(([leaf, subleaf]) => cpuid(leaf, subleaf)), ...HALT];
  await using vm = await flatMachine(code, options);
  const notes: string[] = [];
  const output = printed(vm);
  vm.on("note", (text) => notes.push(text));
  await vm.start();
  await vm.exited;
  const bytes = await output;
  const registers = leaves.map((_, n) => [0, 4, 8, 12].map((at) => bytes.readUInt32LE(16 * n + at)));
  return { registers, notes };
}

/** The name in leaves 0x80000002 to 04. */
function brand(registers: readonly (readonly number[])[]): string {
  const words = Uint32Array.from(registers.flat());
  return Buffer.from(words.buffer).toString("latin1").replace(/\0.*$/s, "");
}

const BRAND = [[0x8000_0002], [0x8000_0003], [0x8000_0004]] as const;

test.each([
  ["core2duo", "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz", 0x6fb],
  ["SandyBridge-IBRS", "Intel Xeon E312xx (Sandy Bridge, IBRS update)", 0x206a1],
  ["Opteron_G5", "AMD Opteron 63xx class CPU", 0x600f20],
  ["qemu64,model-id=A name of its own", "A name of its own", 0x60fb1],
  ["kvm64,family=31,model=200,stepping=7", "Common KVM processor", 0x10c0f87],
])("a guest of -cpu %s reads its name and its signature", async (cpu, name, signature) => {
  const { registers } = await guestReads([[1], ...BRAND], { cpu });
  const [[eax], ...names] = registers;
  expect(brand(names)).toBe(name);
  expect(eax.toString(16)).toBe(signature.toString(16));
});

test("what the host lacks is named in a note, and left out", async () => {
  const { notes } = await guestReads([[0]], { cpu: "YongFeng" });
  expect(notes).toContain(
    "warning: host doesn't support requested feature: CPUID[eax=C0000001h].EDX.xstore [bit 2]",
  );
});

test("with enforce it is an error, without check it is not said", async () => {
  await expect(guestReads([[0]], { cpu: "YongFeng,enforce" })).rejects.toThrow(
    /Host doesn't support requested features: .*xstore/,
  );
  const { notes } = await guestReads([[0]], { cpu: "YongFeng,check=off" });
  expect(notes).toEqual([]);
});

test("kvm=off hides the hypervisor's leaves", async () => {
  const { registers } = await guestReads([[0x4000_0000]], { cpu: "qemu64" });
  expect(registers[0].slice(1)).toEqual([0x4b4d_564b, 0x564b_4d56, 0x4d]);
  const hidden = await guestReads([[0x4000_0000]], { cpu: "qemu64,kvm=off" });
  expect(hidden.registers[0].slice(1)).not.toEqual([0x4b4d_564b, 0x564b_4d56, 0x4d]);
});

test("the host's CPU without a feature", async () => {
  const CMOV = 1 << 15;
  const { registers: with_ } = await guestReads([[1]], { cpu: "host" });
  const { registers: without } = await guestReads([[1]], { cpu: "host,-cmov" });
  expect(with_[0][3] & CMOV).toBe(CMOV);
  // A software KVM may show features of the host's CPU all the same.
  expect([0, CMOV]).toContain(without[0][3] & CMOV);
});

test("sockets, cores and threads are in the leaf of topology", async () => {
  const { registers } = await guestReads([[1], [0xb, 0], [0xb, 1]], {
    cpu: "SandyBridge",
    cpus: 8,
    topology: { sockets: 2, cores: 2, threads: 2 },
  });
  const [leaf1, smt, core] = registers;
  expect((leaf1[1] >>> 16) & 0xff).toBe(4);
  expect(smt.slice(0, 3)).toEqual([1, 2, 0x100]);
  expect(core.slice(0, 3)).toEqual([2, 4, 0x201]);
});

test("a model that does not exist is an error that names one", async () => {
  await expect(guestReads([[0]], { cpu: "SandyBrige" })).rejects.toThrow(
    `cpu: unable to find CPU model 'SandyBrige' (did you mean "SandyBridge"?); -cpu help lists them`,
  );
  await expect(guestReads([[0]], { cpu: "qemu64,+nosuch" })).rejects.toThrow(
    "Property 'qemu64-x86_64-cpu.nosuch' not found",
  );
});

test("a machine with a model of another vendor and two sockets is restored from its snapshot", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-cpu-"));
  try {
    const dir = join(folder, "saved");
    await using vm = await flatMachine([...say("!"), ...FOR_EVER], {
      cpu: "qemu64,vendor=HygonGenuine",
      cpus: 3,
      topology: { sockets: 2, cores: 3 },
    });
    await vm.start();
    await vm.serial.waitFor("!");
    await vm.snapshot({ dir });
    await using restored = await restoreVm(dir);
    await restored.resume();
    expect(restored.vcpus).toHaveLength(3);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
