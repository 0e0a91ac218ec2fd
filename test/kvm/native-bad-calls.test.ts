/**
 * Nothing that JavaScript can pass to the addon crashes the process: bad calls
 * answer -errno. One table for what each mistake is called, and one sweep of
 * every method of every class with arguments that make no sense.
 *
 * scripts/sanitize runs this file with AddressSanitizer and
 * UndefinedBehaviorSanitizer in the addon.
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { kvm_irqchip, kvm_regs, kvm_sregs } from "../../src/kvm/abi.ts";
import type { NativeHandle } from "../../src/sys/native.ts";
import { native } from "../../src/sys/native.ts";
import { random } from "../support/random.ts";

const EINTR = -4;
const EBADF = -9;
const EAGAIN = -11;
const EFAULT = -14;
const EBUSY = -16;
const EEXIST = -17;
const EISDIR = -21;
const EINVAL = -22;
const ENOTTY = -25;
const ENOENT = -2;
const E2BIG = -7;

const CLASSES = [
  "KvmSystem",
  "KvmVm",
  "KvmVcpu",
  "GuestRam",
  "FileIo",
  "EventFd",
  "Epoll",
  "Pty",
  "Vhost",
] as const;
type ClassName = (typeof CLASSES)[number];

const folder = mkdtempSync(join(tmpdir(), "vmexit-bad-calls-"));
const FILE = join(folder, "disk");
writeFileSync(FILE, new Uint8Array(65536));
afterAll(() => rmSync(folder, { recursive: true }));

/** One open object of each class, and what they need. */
function openAll() {
  const system = new native.KvmSystem();
  expect(system.open("/dev/kvm")).toBe(0);
  const vm = new native.KvmVm();
  expect(system.createVm(vm, 0)).toBe(0);
  const ram = new native.GuestRam();
  expect(ram.create(65536, 0)).toBe(0);
  expect(vm.setUserMemoryRegion(0, 0, 0, ram, 0, 65536)).toBe(0);
  const vcpu = new native.KvmVcpu();
  expect(vm.createVcpu(vcpu, 0)).toBe(0);
  const file = new native.FileIo();
  expect(file.open(FILE, 0)).toBe(0);
  const event = new native.EventFd();
  expect(event.create()).toBe(0);
  const epoll = new native.Epoll();
  expect(epoll.create()).toBe(0);
  const pty = new native.Pty();
  expect(pty.open()).toBeGreaterThanOrEqual(0);
  const vhost = new native.Vhost();
  // Any descriptor: the kernel of the host need not have vhost.
  const descriptor = openSync(FILE, "r");
  expect(vhost.adopt(descriptor)).toBe(0);
  closeSync(descriptor);
  const objects: Record<ClassName, NativeHandle> = {
    KvmSystem: system,
    KvmVm: vm,
    KvmVcpu: vcpu,
    GuestRam: ram,
    FileIo: file,
    EventFd: event,
    Epoll: epoll,
    Pty: pty,
    Vhost: vhost,
  };
  return { system, vm, ram, vcpu, file, event, epoll, pty, vhost, objects };
}

/** Calls a method that the types would not let through. */
function call(object: object, method: string, ...args: unknown[]): unknown {
  const found: unknown = Reflect.get(object, method);
  if (typeof found !== "function") throw new TypeError(`no method ${method}`);
  return Reflect.apply(found, object, args);
}

function methodsOf(name: ClassName): string[] {
  const names = Object.getOwnPropertyNames(native[name].prototype);
  return names.filter((method) => method !== "constructor");
}

/** What opens an unopened object. */
const OPENING = ["open", "adopt", "create", "attach", "createVm", "createVcpu"];

test.each(CLASSES)("%s: no method but the opening one works before opening or after closing", (name) => {
  const closed = openAll().objects[name];
  expect(closed.close()).toBe(0);
  for (const object of [new native[name](), closed]) {
    for (const method of methodsOf(name).filter((m) => !["open", "adopt", "create", "attach"].includes(m))) {
      expect(call(object, method), method).toSatisfy((r) => r === EBADF || r === EINVAL);
    }
    expect(object.close()).toBe(EBADF);
    expect(object.token()).toBe(EBADF);
  }
});

test.each(CLASSES)("%s: an open object cannot be opened again", (name) => {
  const { objects } = openAll();
  const object = objects[name];
  expect(object.attach(object.token())).toBe(EBUSY);
  expect(object.attach(123456789)).toBe(EBUSY);
});

test.each(CLASSES)("%s: a token that names nothing, or something of another class, is not found", (name) => {
  const { objects } = openAll();
  const fresh = new native[name]();
  const token = objects[name].token();
  expect(fresh.attach(123456789)).toBe(ENOENT);
  for (const other of CLASSES) {
    if (other !== name) expect(new native[other]().attach(token)).toBe(ENOENT);
  }
  // A VM lives in its vCPUs and RAM in a VM's slots, so all of them go.
  for (const each of Object.values(objects)) each.close();
  expect(fresh.attach(token), "the last handle is closed").toBe(ENOENT);
  for (const bad of [undefined, null, "1", -1, 0.5, Number.NaN, {}]) {
    expect(call(fresh, "attach", bad)).toBe(EINVAL);
  }
});

type Table = [what: string, expected: number | number[], make: (o: ReturnType<typeof openAll>) => unknown][];

const table: Table = [
  ["a ping socket of an unknown family", EINVAL, () => native.pingSocket(1)],
  ["memory of vhost beyond RAM", EFAULT, (o) => o.vhost.setMemory(o.ram, Float64Array.of(0, 0, 65_537))],
  ["memory of vhost in pairs", EINVAL, (o) => o.vhost.setMemory(o.ram, Float64Array.of(0, 0))],
  ["regions of vhost without RAM", EINVAL, (o) => o.vhost.setMemory(undefined, new Float64Array(3))],
  ["more regions of vhost than there can be", E2BIG, (o) => o.vhost.setMemory(o.ram, new Float64Array(99))],
  ["a ring of vhost without memory", EFAULT, (o) => o.vhost.setRing(0, 8, 0, 0, 256, 512)],
  ["a vhost on what is something else", ENOTTY, (o) => o.vhost.setOwner()],
  ["a device that is not KVM", ENOTTY, () => new native.KvmSystem().open("/dev/null")],
  ["a KVM that does not exist", ENOENT, () => new native.KvmSystem().open("/dev/no-kvm")],
  ["a path with a NUL", EINVAL, () => new native.KvmSystem().open("/dev/kvm\0")],
  ["an empty path", EINVAL, () => new native.KvmSystem().open("")],
  ["a path that is a number", EINVAL, () => call(new native.KvmSystem(), "open", 5)],
  ["CPUID into bytes", EINVAL, (o) => call(o.system, "supportedCpuid", new Uint8Array(4096))],
  ["more MSRs than there can be", E2BIG, (o) => o.system.featureMsrs(new Uint8Array(16 * 5000))],
  ["a VM of an unknown type", EINVAL, (o) => o.system.createVm(new native.KvmVm(), 0xffff)],
  ["a VM into an open one", EBUSY, (o) => o.system.createVm(o.vm, 0)],
  ["a VM into a vCPU", EINVAL, (o) => call(o.system, "createVm", new native.KvmVcpu(), 0)],
  ["a VM into a plain object", EINVAL, (o) => call(o.system, "createVm", {}, 0)],
  [
    "a VM into a proxy of one",
    EINVAL,
    (o) => call(o.system, "createVm", new Proxy(new native.KvmVm(), {}), 0),
  ],
  ["a VM into what only inherits", EINVAL, (o) => call(o.system, "createVm", Object.create(o.vm), 0)],

  ["RAM of no size", EINVAL, () => new native.GuestRam().create(0, 0)],
  ["RAM of half a page", EINVAL, () => new native.GuestRam().create(2048, 0)],
  ["RAM of a fraction", EINVAL, () => new native.GuestRam().create(4096.5, 0)],
  ["RAM beyond the address space", EINVAL, () => new native.GuestRam().create(2 ** 50, 0)],
  ["RAM with unknown flags", EINVAL, () => new native.GuestRam().create(4096, 64)],
  ["huge pages of a small size", EINVAL, () => new native.GuestRam().create(4096, 1)],
  ["RAM twice", EBUSY, (o) => o.ram.create(4096, 0)],
  ["a view past the end", EINVAL, (o) => o.ram.view(65536, 1)],
  ["a view over the end", EINVAL, (o) => o.ram.view(65535, 2)],
  ["a view of nothing", EINVAL, (o) => o.ram.view(0, 0)],
  ["a view of 4 GiB", EINVAL, (o) => o.ram.view(0, 2 ** 32)],
  ["residents past the end", EINVAL, (o) => o.ram.resident(61440, 8192)],
  ["residents of half a page", EINVAL, (o) => o.ram.resident(0, 2048)],
  ["residents from the middle of a page", EINVAL, (o) => o.ram.resident(8, 4096)],
  ["residents that wrap around", EINVAL, (o) => o.ram.resident(4096, 2 ** 53)],
  ["a view that wraps around", EINVAL, (o) => o.ram.view(2 ** 53, 2 ** 32 - 1)],

  [
    "a slot with other memory's flags",
    EINVAL,
    (o) => o.vm.setUserMemoryRegion(1, 4, 0x20000, o.ram, 0, 4096),
  ],
  ["a slot out of range", EINVAL, (o) => o.vm.setUserMemoryRegion(0xffff, 0, 0x20000, o.ram, 0, 4096)],
  [
    "a slot in an unknown address space",
    EINVAL,
    (o) => o.vm.setUserMemoryRegion(0x70000, 0, 0, o.ram, 0, 4096),
  ],
  ["an unaligned slot address", EINVAL, (o) => o.vm.setUserMemoryRegion(1, 0, 0x20001, o.ram, 0, 4096)],
  ["an unaligned RAM offset", EINVAL, (o) => o.vm.setUserMemoryRegion(1, 0, 0x20000, o.ram, 1, 4096)],
  ["an unaligned slot size", EINVAL, (o) => o.vm.setUserMemoryRegion(1, 0, 0x20000, o.ram, 0, 4097)],
  ["a slot larger than its RAM", EINVAL, (o) => o.vm.setUserMemoryRegion(1, 0, 0x20000, o.ram, 4096, 65536)],
  ["a slot that wraps around", EINVAL, (o) => o.vm.setUserMemoryRegion(1, 0, 2 ** 53, o.ram, 0, 2 ** 53)],
  ["overlapping slots", EEXIST, (o) => o.vm.setUserMemoryRegion(1, 0, 0x8000, o.ram, 0, 4096)],
  ["a slot of no RAM", EINVAL, (o) => o.vm.setUserMemoryRegion(1, 0, 0x20000, undefined, 0, 4096)],
  [
    "a slot of unopened RAM",
    EBADF,
    (o) => o.vm.setUserMemoryRegion(1, 0, 0x20000, new native.GuestRam(), 0, 4096),
  ],
  ["a slot of a file", EINVAL, (o) => call(o.vm, "setUserMemoryRegion", 1, 0, 0x20000, o.file, 0, 4096)],
  ["deleting an empty slot", EINVAL, (o) => o.vm.setUserMemoryRegion(7, 0, 0, undefined, 0, 0)],
  ["the dirty log of an empty slot", ENOENT, (o) => o.vm.getDirtyLog(7, new Uint8Array(4096))],
  ["the dirty log of a slot that has none", ENOENT, (o) => o.vm.getDirtyLog(0, new Uint8Array(4096))],
  ["a dirty log into too few bytes", EINVAL, (o) => o.vm.getDirtyLog(0, new Uint8Array(7))],
  ["clearing the log of an empty slot", ENOENT, (o) => o.vm.clearDirtyLog(7, new Uint8Array(8), 0, 16)],
  ["clearing more pages than bits", EINVAL, (o) => o.vm.clearDirtyLog(0, new Uint8Array(8), 0, 2 ** 32 - 1)],
  ["a dirty log into words", EINVAL, (o) => call(o.vm, "getDirtyLog", 0, new Uint32Array(64))],
  ["an irqfd without an interrupt controller", [EINVAL, EAGAIN], (o) => o.vm.irqfd(o.event, 5, 0)],
  ["an irqfd of no event", EINVAL, (o) => call(o.vm, "irqfd", undefined, 5, 0)],
  ["an irqfd of an unopened event", EBADF, (o) => o.vm.irqfd(new native.EventFd(), 5, 0)],
  ["an irqfd that resamples nothing", EINVAL, (o) => o.vm.irqfd(o.event, 5, 2)],
  ["an irqfd with unknown flags", EINVAL, (o) => o.vm.irqfd(o.event, 5, 0x80)],
  ["a doorbell of 3 bytes", EINVAL, (o) => o.vm.ioeventfd(o.event, 0x1000, 3, undefined, 0)],
  ["a doorbell with a text to match", EINVAL, (o) => call(o.vm, "ioeventfd", o.event, 0x1000, 4, "0", 0)],
  ["a doorbell with unknown flags", EINVAL, (o) => o.vm.ioeventfd(o.event, 0x1000, 4, undefined, 0x800)],
  ["a doorbell that is not there", ENOENT, (o) => o.vm.ioeventfd(o.event, 0x1000, 4, undefined, 4)],
  ["half a route", EINVAL, (o) => o.vm.setGsiRouting(new Uint32Array(11))],
  ["more routes than KVM has", E2BIG, (o) => o.vm.setGsiRouting(new Uint32Array(12 * 4097))],
  [
    "an interrupt controller's state in too few bytes",
    EINVAL,
    (o) => o.vm.getIrqchip(new Uint8Array(kvm_irqchip.sizeof - 1)),
  ],
  ["a TSS above 4 GiB", EINVAL, (o) => o.vm.setTssAddr(2 ** 32)],
  ["a vCPU with an id of its own", EEXIST, (o) => o.vm.createVcpu(new native.KvmVcpu(), 0)],
  ["a vCPU with an id out of range", EINVAL, (o) => o.vm.createVcpu(new native.KvmVcpu(), 0xffffffff)],
  ["a vCPU into an open one", EBUSY, (o) => o.vm.createVcpu(o.vcpu, 1)],
  ["an unknown capability to enable", EINVAL, (o) => o.vm.enableCap(0xfffff, 0)],

  ["registers into too few bytes", EINVAL, (o) => o.vcpu.getRegs(new Uint8Array(kvm_regs.sizeof - 1))],
  ["registers into a DataView", EINVAL, (o) => call(o.vcpu, "getRegs", new DataView(new ArrayBuffer(4096)))],
  ["registers into an ArrayBuffer", EINVAL, (o) => call(o.vcpu, "getRegs", new ArrayBuffer(4096))],
  ["registers into a detached array", EINVAL, (o) => o.vcpu.getRegs(detached())],
  [
    "special registers that no CPU has",
    EINVAL,
    (o) => o.vcpu.setSregs(new Uint8Array(kvm_sregs.sizeof).fill(0xff)),
  ],
  ["XSAVE into too few bytes", EINVAL, (o) => o.vcpu.getXsave(new Uint8Array(4095))],
  ["part of a CPUID entry", EINVAL, (o) => o.vcpu.setCpuid2(new Uint32Array(9))],
  ["more CPUID than KVM takes", E2BIG, (o) => o.vcpu.setCpuid2(new Uint32Array(10 * 257))],
  ["more MSRs than KVM takes", E2BIG, (o) => o.vcpu.setMsrs(new Uint8Array(16 * 4097))],
  ["a state that no CPU is in", EINVAL, (o) => o.vcpu.setMpState(99)],
  ["a negative state", EINVAL, (o) => o.vcpu.setMpState(-1)],
  ["a capability that vCPUs do not have", EINVAL, (o) => o.vcpu.enableCap(0xffff)],
  ["an interrupt vector beyond 255", EINVAL, (o) => o.vcpu.interrupt(256)],

  ["a file that does not exist", ENOENT, () => new native.FileIo().open(join(folder, "none"), 0)],
  ["a file that must not exist", EEXIST, () => new native.FileIo().open(FILE, 4)],
  ["a folder", EISDIR, () => new native.FileIo().open(folder, 1)],
  ["a character device", EINVAL, () => new native.FileIo().open("/dev/null", 0)],
  ["a file with unknown flags", EINVAL, () => new native.FileIo().open(FILE, 8)],
  ["a transfer past the end of RAM", EFAULT, (o) => o.file.preadv(o.ram, Float64Array.of(65535, 2), 0, 1, 0)],
  [
    "a transfer that wraps around",
    EFAULT,
    (o) => o.file.preadv(o.ram, Float64Array.of(2 ** 53, 2 ** 53), 0, 1, 0),
  ],
  ["a transfer to a negative place", EFAULT, (o) => o.file.preadv(o.ram, Float64Array.of(-1, 1), 0, 1, 0)],
  ["a transfer to no number", EFAULT, (o) => o.file.preadv(o.ram, Float64Array.of(Number.NaN, 1), 0, 1, 0)],
  ["more pairs than there are", EINVAL, (o) => o.file.preadv(o.ram, Float64Array.of(0, 1), 0, 2, 0)],
  ["pairs after the last", EINVAL, (o) => o.file.preadv(o.ram, Float64Array.of(0, 1), 2, 0, 0)],
  ["pairs that wrap around", EINVAL, (o) => o.file.preadv(o.ram, Float64Array.of(0, 1), 1, 2 ** 53, 0)],
  ["a transfer before the file", EINVAL, (o) => o.file.preadv(o.ram, Float64Array.of(0, 1), 0, 1, -1)],
  [
    "a transfer to unopened RAM",
    EBADF,
    (o) => o.file.preadv(new native.GuestRam(), Float64Array.of(0, 1), 0, 1, 0),
  ],
  ["a transfer to an event", EINVAL, (o) => call(o.file, "preadv", o.event, Float64Array.of(0, 1), 0, 1, 0)],
  [
    "a write that does not say whether to wait",
    EINVAL,
    (o) => call(o.file, "pwritev", o.ram, Float64Array.of(0, 1), 0, 1, 0),
  ],
  ["discarding nothing", EINVAL, (o) => o.file.discard(0, 0)],

  ["an event taken before it rang", EAGAIN, (o) => o.event.take()],
  ["waiting for an event twice", EEXIST, (o) => [1, 2].map((tag) => o.epoll.add(o.event, tag))[1]],
  ["no longer waiting for what nobody waits for", ENOENT, (o) => o.epoll.remove(o.event)],
  ["waiting for an unopened event", EBADF, (o) => o.epoll.add(new native.EventFd(), 1)],
  ["waiting with a tag that is too large", EINVAL, (o) => o.epoll.add(o.event, 2 ** 32)],
  ["waiting into no tags", EINVAL, (o) => o.epoll.wait(new Uint32Array(0), 0)],
  ["waiting for a negative time", EINVAL, (o) => o.epoll.wait(new Uint32Array(1), -2)],
  ["waiting for half a millisecond", EINVAL, (o) => o.epoll.wait(new Uint32Array(1), 0.5)],
];

test.each(table)("%s is refused", (_what, expected, make) => {
  const objects = openAll();
  const result = make(objects);
  expect(Array.isArray(expected) ? expected : [expected]).toContain(result);
  for (const object of Object.values(objects.objects)) object.close();
});

function detached(): Uint8Array {
  const bytes = new Uint8Array(4096);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

test("a run function answers EBADF after its vCPU is closed, however it is called", () => {
  const { vcpu } = openAll();
  const runs = [vcpu.runner(false), vcpu.runner(false)];
  for (const run of runs) {
    if (typeof run === "number") throw new Error(`no run function: ${run}`);
    vcpu.kick();
    expect(Reflect.apply(run, { other: "this" }, [1, {}, undefined])).toBe(EINTR);
    vcpu.kick();
    Reflect.construct(run, []);
  }
  vcpu.close();
  for (const run of runs) {
    if (typeof run === "number") continue;
    expect(run()).toBe(EBADF);
    expect(Reflect.apply(run, undefined, [])).toBe(EBADF);
  }
});

test.each(CLASSES)("%s: a method of one class does not work on another's object", (name) => {
  const { objects } = openAll();
  for (const method of methodsOf(name)) {
    const found: unknown = Reflect.get(objects[name], method);
    if (typeof found !== "function") continue;
    const others = CLASSES.filter((other) => other !== name).map((other) => objects[other]);
    for (const other of [...others, {}, undefined, 5, Object.create(objects[name])]) {
      expect(() => Reflect.apply(found, other, []), method).toThrow(TypeError);
    }
  }
  expect(() => Reflect.apply(native[name], {}, [])).toThrow(TypeError);
});

/** Values of every kind, and numbers around every limit. None is larger than what a test may leave on disk. */
function garbage(all: ReturnType<typeof openAll>): unknown[] {
  const shared = new Uint8Array(new SharedArrayBuffer(8192));
  const objects = CLASSES.flatMap((name) => [all.objects[name], new native[name]()]);
  const closed = openAll().objects;
  for (const each of Object.values(closed)) each.close();
  return [
    ...[undefined, null, true, false, "", "text", FILE, Symbol("s"), 5n, {}, [], () => 1, new Date()],
    ...[0, 1, 2, 3, 4, 7, 8, 12, 16, 255, 256, 4096, 8192, 65535, 65536, 131072],
    ...[-0, -1, -2, 0.5, Number.NaN, Infinity, -Infinity, 2 ** 53 + 2, 2 ** 64, 1e300],
    ...[
      detached(),
      shared,
      shared.subarray(1),
      new Uint32Array(shared.buffer),
      new Float64Array(shared.buffer),
    ],
    ...[
      new Uint8Array(),
      new Uint8Array(1),
      new Uint8Array(8192),
      new Uint8Array(8192).fill(0xff),
      Buffer.alloc(4096),
    ],
    ...[
      new Uint32Array(),
      new Uint32Array(120),
      new Uint32Array(120).fill(0xffffffff),
      new Uint32Array(4096),
    ],
    ...[new Float64Array(), new Float64Array(64).fill(4096), new Float64Array(64).fill(Number.NaN)],
    ...[
      new BigUint64Array(64),
      new Int8Array(4096),
      new DataView(new ArrayBuffer(4096)),
      new ArrayBuffer(4096),
    ],
    ...objects,
    ...Object.values(closed),
    new Proxy(all.vm, {}),
  ];
}

/** Calls that would wait, run a guest without an end, or fill the host's disk. */
function harmless(method: string, args: unknown[]): void {
  if (method === "wait" && typeof args[1] === "number" && (args[1] === -1 || args[1] > 1)) args[1] = 1;
}

test.each(CLASSES)("%s: every method survives arguments that make no sense", (name) => {
  const next = random(20_231_123);
  const pick = <T>(values: readonly T[]) => values[Math.floor(next() * values.length)];
  for (let round = 0; round < 3; round++) {
    const all = openAll();
    const values = garbage(all);
    const closed = openAll().objects[name];
    closed.close();
    for (const method of methodsOf(name)) {
      for (let i = 0; i < 200; i++) {
        const fresh = new native[name]();
        const object = pick([all.objects[name], all.objects[name], fresh, closed]);
        if (object === all.objects[name] && method === "close") continue;
        const args = Array.from({ length: Math.floor(next() * 7) }, () => pick(values));
        harmless(method, args);
        const result = call(object, method, ...args);
        if (result instanceof ArrayBuffer || typeof result === "function") continue;
        expect(Number.isInteger(result), `${method} gave ${String(result)}`).toBe(true);
        const unopened = object === fresh || object === closed;
        if (unopened && !OPENING.includes(method)) {
          expect([EBADF, EINVAL, E2BIG], method).toContain(result);
        }
        if (method === "duplicate" && typeof result === "number" && result >= 0) closeSync(result);
        if (closed.token() >= 0) closed.close();
        fresh.close();
      }
    }
    for (const each of Object.values(all.objects)) each.close();
  }
  const file = openSync(FILE, "r"); // the process has descriptors left
  closeSync(file);
});
