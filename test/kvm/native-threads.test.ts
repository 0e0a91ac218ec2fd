/** One vCPU, one VM, one memory, seen from several threads. */
import { expect, test } from "vitest";
import { KVM_EXIT_HLT } from "../../src/kvm/abi.ts";
import { INTERRUPTED } from "../../src/kvm/exit.ts";
import { Vcpu } from "../../src/kvm/vcpu.ts";
import { Vm } from "../../src/kvm/vm.ts";
import { Epoll, EventFd } from "../../src/sys/event.ts";
import { GuestRam } from "../../src/sys/guest-ram.ts";
import { AddonThread } from "../support/addon-thread.ts";
import { guestMappings, openDescriptors, settle } from "../support/process-resources.ts";
import { CODE, tinyGuest } from "../support/tiny-guest.ts";

const FOREVER = [0xff, 0x06, 0x00, 0x20, 0xeb, 0xfa]; // again: inc word [0x2000]; jmp again

/** Runs the vCPU with token `data`, then says what `run` returned. */
const RUN_ONCE = `
  const cpu = new native.KvmVcpu();
  if (cpu.attach(data) !== 0) throw new Error("no such vCPU");
  post("ready");
  const result = cpu.runner(false)();
  cpu.close();
  post(result);
`;

async function untilItRuns(memory: Uint8Array): Promise<void> {
  const words = new DataView(memory.buffer);
  const before = words.getUint16(0x2000, true);
  const deadline = Date.now() + 20_000;
  while (words.getUint16(0x2000, true) === before) {
    if (Date.now() > deadline) throw new Error("the guest does not run");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test("a kick from another thread ends a run that would go on for ever", async () => {
  using guest = tinyGuest(FOREVER);
  const thread = new AddonThread(RUN_ONCE, guest.cpu.token);
  expect(await thread.message()).toBe("ready");
  await untilItRuns(guest.memory);
  guest.cpu.kick();
  expect(await thread.message()).toBe(INTERRUPTED);
  await thread.end();
});

test("a kick before the run ends the run at once, and the run after it runs", () => {
  using guest = tinyGuest([0xf4]);
  guest.cpu.kick();
  guest.cpu.kick();
  expect(guest.cpu.run()).toBe(INTERRUPTED);
  expect(guest.cpu.getRegs().rip).toBe(BigInt(CODE));
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
});

test("of many kicks at any moment none is lost", async () => {
  using guest = tinyGuest(FOREVER);
  const rounds = 200;
  const answer = new Int32Array(new SharedArrayBuffer(4));
  const thread = new AddonThread(
    `
      const cpu = new native.KvmVcpu();
      cpu.attach(data.token);
      const run = cpu.runner(false);
      let other = 0;
      post("ready");
      for (let i = 0; i < data.rounds; i++) {
        if (run() !== -4) other++;
        Atomics.add(data.answer, 0, 1);
        Atomics.notify(data.answer, 0);
      }
      cpu.close();
      post(other);
    `,
    { token: guest.cpu.token, rounds, answer },
  );
  const finished = thread.message().then((message) => (message === "ready" ? thread.message() : message));
  for (let i = 0; i < rounds; i++) {
    guest.cpu.kick();
    const waited = Atomics.waitAsync(answer, 0, i, 20_000);
    expect(await waited.value).not.toBe("timed-out");
  }
  expect(await finished).toBe(0);
  await thread.end();
});

test("a vCPU that runs is busy for every other thread", async () => {
  using guest = tinyGuest(FOREVER);
  const thread = new AddonThread(RUN_ONCE, guest.cpu.token);
  await thread.message();
  await untilItRuns(guest.memory);
  const busy = expect.objectContaining({ code: "EBUSY" });
  expect(() => guest.cpu.run()).toThrow(busy);
  expect(() => guest.cpu.getRegs()).toThrow(busy);
  expect(() => guest.cpu.setMpState(0)).toThrow(busy);
  expect(() => guest.cpu.getXsave()).toThrow(busy);
  expect(() => guest.cpu.getMsrs([0x10])).toThrow(busy);
  guest.cpu.kick();
  expect(await thread.message()).toBe(INTERRUPTED);
  expect(guest.cpu.getRegs().rip).toBeGreaterThanOrEqual(BigInt(CODE));
  await thread.end();
});

test("closing a VM and its memory takes nothing from a vCPU that runs", async () => {
  const guest = tinyGuest(FOREVER);
  const other = Vcpu.attach(guest.cpu.token);
  const shared = GuestRam.attach(guest.ram.token);
  const thread = new AddonThread(RUN_ONCE, guest.cpu.token);
  await thread.message();
  await untilItRuns(guest.memory);
  guest[Symbol.dispose]();
  await settle();
  expect(guest.memory.length, "our view is gone").toBe(0);
  const memory = new Uint8Array(shared.map(0, shared.size));
  await untilItRuns(memory);
  other.kick();
  expect(await thread.message()).toBe(INTERRUPTED);
  await thread.end();
  other.close();
  shared.close();
  await settle();
  expect([...guestMappings(), ...openDescriptors().filter((name) => /kvm|guest-ram/.test(name))]).toEqual([]);
});

test("a thread that ends lets go of all it had, closed or not", async () => {
  using guest = tinyGuest([0xf4]);
  await settle();
  const before = [openDescriptors().length, guestMappings().length];
  const thread = new AddonThread(
    `
      const ram = new native.GuestRam();
      ram.create(1 << 20, 0);
      globalThis.view = new Uint8Array(ram.view(0, 1 << 20));
      const shared = new native.GuestRam();
      shared.attach(data.ram);
      globalThis.other = shared.view(0, 4096);
      const event = new native.EventFd();
      event.create();
      const vm = new native.KvmVm();
      vm.attach(data.vm);
      const cpu = new native.KvmVcpu();
      vm.createVcpu(cpu, 5);
      globalThis.page = cpu.runPage();
      globalThis.kept = [ram, shared, event, vm, cpu, cpu.runner(false)];
      post("done");
    `,
    { ram: guest.ram.token, vm: guest.vm.token },
  );
  await thread.message();
  await thread.end();
  await settle();
  expect([openDescriptors().length, guestMappings().length]).toEqual(before);
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
});

test("two threads see the same memory, and an interrupt line works from any of them", async () => {
  using guest = tinyGuest([0xf4], { irqchip: true });
  guest.memory[0x3000] = 7;
  const thread = new AddonThread(
    `
      const ram = new native.GuestRam();
      ram.attach(data.ram);
      const bytes = new Uint8Array(ram.view(0x3000, 2));
      bytes[1] = bytes[0] * 6;
      const vm = new native.KvmVm();
      vm.attach(data.vm);
      post([vm.irqLine(3, 1), vm.irqLine(3, 0)]);
    `,
    { ram: guest.ram.token, vm: guest.vm.token },
  );
  expect(await thread.message()).toEqual([0, 0]);
  expect(guest.memory[0x3001]).toBe(42);
  expect(Vm.attach(guest.vm.token).checkExtension("IRQCHIP")).toBe(1);
  await thread.end();
});

test("an event wakes a thread that waits for it, with its tag", async () => {
  const event = EventFd.create();
  const thread = new AddonThread(
    `
      const event = new native.EventFd();
      event.attach(data);
      const epoll = new native.Epoll();
      epoll.create();
      epoll.add(event, 0xfffffffe);
      const tags = new Uint32Array(4);
      post("ready");
      const count = epoll.wait(tags, 20000);
      post([count, tags[0], event.take(), event.take(), epoll.wait(tags, 0)]);
    `,
    event.token,
  );
  await thread.message();
  event.signal();
  event.signal();
  const [count, tag, rings, none, after]: number[] = Object.values((await thread.message()) ?? {});
  expect([count, tag, none, after]).toEqual([1, 0xfffffffe, -11, 0]);
  expect(rings).toBeGreaterThanOrEqual(1);
  await thread.end();
  event.close();
});

test("an event is reported once for each time it rang since, taken or not", () => {
  using event = EventFd.create();
  using epoll = new Epoll();
  const tags = new Uint32Array(2);
  epoll.add(event, 7);
  event.signal();
  event.signal();
  expect([epoll.wait(tags, -1), tags[0]]).toEqual([1, 7]);
  expect(epoll.wait(tags, 0)).toBe(0);
  event.signal();
  expect([epoll.wait(tags, -1), tags[0]]).toEqual([1, 7]);
});

test("an event can be waited for until it is removed", () => {
  using event = EventFd.create();
  using epoll = new Epoll();
  const tags = new Uint32Array(2);
  epoll.add(event, 5);
  expect(epoll.wait(tags, 0)).toBe(0);
  event.signal();
  expect([epoll.wait(tags, -1), tags[0]]).toEqual([1, 5]);
  expect([event.take(), event.take()]).toEqual([1, 0]);
  event.signal();
  epoll.remove(event);
  expect(epoll.wait(tags, 0)).toBe(0);
});
