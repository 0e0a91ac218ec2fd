/** A tiny guest with a network card, whose network is a function of this test: net-kernel.c returns each frame. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { createVm, restoreVm, type VirtualMachine, type VmOptions } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { buildKernel } from "../support/multiboot-build.ts";

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OURS = [0x02, 0, 0, 0, 0, 1];
const ECHO = [0x88, 0];
const END = [0x88, 1];

let kernel: Uint8Array;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-net-"));
  buildKernel("net-kernel.c", join(folder, "kernel.elf"));
  kernel = readFileSync(join(folder, "kernel.elf"));
  return () => rmSync(folder, { recursive: true });
});

type Connect = NonNullable<NonNullable<VmOptions["network"]>[number]["connect"]>;
type Link = Parameters<Connect>[0];

/** The network of one machine. */
class Wire {
  readonly frames: number[][] = [];
  readonly calls: string[] = [];
  link: Link | undefined;
  #wake: () => void = () => {};

  readonly connect: Connect = (link) => {
    this.link = link;
    return {
      input: (frame) => {
        this.frames.push([...frame]);
        this.#wake();
      },
      room: () => void this.calls.push("room"),
      reset: () => void this.calls.push("reset"),
      pause: () => void this.calls.push("pause"),
      resume: () => void this.calls.push("resume"),
      close: () => void this.calls.push("close"),
    };
  };

  send(type: readonly number[], ...payload: number[]): boolean {
    return this.link?.send(Uint8Array.of(...MAC, ...OURS, ...type), Uint8Array.from(payload)) === true;
  }

  /** The oldest frame of the guest. */
  async next(): Promise<number[]> {
    while (this.frames.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.frames.shift() ?? [];
  }
}

const options = (wire: Wire): VmOptions => ({ memory: "16M", kernel, network: [{ connect: wire.connect }] });

async function start(wire: Wire): Promise<VirtualMachine> {
  const vm = await createVm(options(wire));
  await vm.start();
  expect(await wire.next()).toEqual([255, 255, 255, 255, 255, 255, ...MAC, ...ECHO, ...Buffer.from("hello")]);
  return vm;
}

test("frames reach a function, and its frames the guest", async () => {
  const wire = new Wire();
  await using vm = await start(wire);
  for (let n = 1; n <= 100; n++) {
    wire.send(ECHO, n, 2, 3);
    expect(await wire.next()).toEqual([...OURS, ...MAC, ...ECHO, n, 2, 3, n]);
  }
  const counted = {
    receivedFrames: 100,
    receivedBytes: 1700,
    receivedDropped: 0,
    sentFrames: 101,
    sentDropped: 0,
  };
  // A frame is counted after it was sent.
  await expect.poll(() => vm.stats().networks).toMatchObject([counted]);
  wire.send(END);
  await wire.next();
  expect(await vm.exited).toMatchObject({ reason: "exit" });
  expect(wire.calls).toEqual(["resume", "close"]);
});

test("a capture has the frames from its start to its end; so has a trace, which costs no exits", async () => {
  const wire = new Wire();
  await using vm = await start(wire);
  const path = join(folder, "net.pcapng");
  const capture = await vm.network.capture(path);
  const trace = vm.trace({ reasons: [], network: true });
  for (let n = 1; n <= 3; n++) {
    wire.send(ECHO, n);
    await wire.next();
  }
  await capture.stop();
  trace.stop();
  wire.send(ECHO, 4);
  await wire.next();
  expect(capture.lost).toBe(0);
  const file = readFileSync(path);
  const kinds: number[] = [];
  const payloads: number[][] = [];
  for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4)) {
    kinds.push(file.readUInt32LE(at));
    if (kinds.at(-1) !== 6) continue;
    payloads.push([...file.subarray(at + 28 + 14, at + 28 + file.readUInt32LE(at + 20))]);
  }
  expect(kinds).toEqual([0x0a0d0d0a, 1, 6, 6, 6, 6, 6, 6]);
  expect(file.includes("virtio-net0")).toBe(true);
  expect(payloads).toEqual([[1], [1, 1], [2], [2, 2], [3], [3, 3]]);
  const frames: string[] = [];
  for await (const record of trace) {
    if (record.kind === "frame") frames.push(`${record.card} ${record.direction} ${record.length}`);
    expect(record.kind).not.toBe("exit");
  }
  const pair = ["virtio-net0 in 15", "virtio-net0 out 16"];
  expect(frames).toEqual([...pair, ...pair, ...pair]);
});

test("a capture continues over a reset, and is complete when the machine has ended", async () => {
  const wire = new Wire();
  await using vm = await start(wire);
  const path = join(folder, "reset.pcapng");
  await vm.network.capture(path);
  await vm.reset();
  await wire.next();
  wire.send(END);
  await wire.next();
  await vm.exited;
  await expect.poll(() => readFileSync(path).includes("hello")).toBe(true);
  await expect(vm.network.capture(path)).rejects.toThrow(/the machine has ended/);
});

test("what leads to the guest is said to be missing where it is", async () => {
  await using vm = await createVm(options(new Wire()));
  await expect(vm.network.fetch("http://guest/")).rejects.toThrow(
    /no card of the machine is on a user network/,
  );
  await using other = await createVm({ memory: "16M", kernel });
  await expect(other.network.capture("none.pcapng")).rejects.toThrow(/has no network card/);
});

test("more frames than the card has buffers and the ring has room: none is lost", async () => {
  const wire = new Wire();
  await using vm = await start(wire);
  const payload = new Array(1500).fill(7);
  let sent = 0;
  while (sent < 2000 && wire.send(ECHO, ...payload)) sent++;
  expect(sent).toBeGreaterThan(500);
  for (let n = 1; n <= sent; n++) expect((await wire.next()).at(-1)).toBe(n & 0xff);
  expect(wire.calls).toContain("room");
  expect(vm.stats().networks[0].receivedDropped).toBe(0);
});

test("a link that is down carries nothing; pause, resume and reset reach the network", async () => {
  const wire = new Wire();
  await using vm = await start(wire);
  vm.networks[0].setLink(false);
  wire.send(ECHO, 1);
  await expect.poll(() => vm.stats().networks[0].receivedDropped).toBe(1);
  vm.networks[0].setLink(true);
  wire.send(ECHO, 2);
  expect((await wire.next()).slice(-2)).toEqual([2, 1]);

  await vm.pause();
  wire.send(ECHO, 3); // it waits in the ring
  await vm.resume();
  expect((await wire.next()).slice(-2)).toEqual([3, 2]);
  await vm.reset();
  expect((await wire.next()).slice(-5)).toEqual([...Buffer.from("hello")]);
  expect(wire.calls.filter((call) => call !== "room")).toEqual([
    "resume",
    "pause",
    "resume",
    "reset",
    "resume",
  ]);
});

test("a snapshot continues on another network, with the frames that it was offered", async () => {
  const dir = join(folder, "snapshot");
  const wire = new Wire();
  await using vm = await start(wire);
  wire.send(ECHO, 1);
  await wire.next();
  await vm.snapshot({ dir });
  await expect(restoreVm(dir)).rejects.toThrow(/has 1 network cards, and 0 are given/);

  const other = new Wire();
  await using copy = await restoreVm(dir, { network: [{ connect: other.connect }] });
  await copy.resume();
  other.send(ECHO, 2);
  expect((await other.next()).slice(-2)).toEqual([2, 2]);
});

test("each copy of a machine is on a network of its own", async () => {
  const wire = new Wire();
  await using vm = await start(wire);
  wire.send(ECHO, 1);
  await wire.next();
  await expect(vm.fork(1)).rejects.toThrow(/network\[0\] cannot be shared, because it is not a user network/);
  await expect(vm.fork(1, { network: () => [] })).rejects.toThrow(/has 1 network cards, and .* gives 0/);

  const wires = [new Wire(), new Wire()];
  const copies = await vm.fork(2, { network: (n) => [{ connect: wires[n].connect }] });
  wires[1].send(ECHO, 4); // each guest counts its own frames
  expect((await wires[1].next()).slice(-2)).toEqual([4, 2]);
  wires[1].send(ECHO, 5);
  expect((await wires[1].next()).slice(-2)).toEqual([5, 3]);
  wires[0].send(ECHO, 6);
  expect((await wires[0].next()).slice(-2)).toEqual([6, 2]);
  wire.send(ECHO, 7);
  expect((await wire.next()).slice(-2)).toEqual([7, 2]);
  await Promise.all(copies.map((copy) => copy.stop()));
  expect(wires.map(({ calls }) => calls.at(-1))).toEqual(["close", "close"]);
});

test("copies of a machine on a user network have one each, unless it has ports of the host", async () => {
  await using vm = await createVm({ memory: "16M", kernel, network: [{ user: {} }] });
  await vm.start();
  const sent = (machine: VirtualMachine) => machine.stats().networks[0].sentFrames;
  await expect.poll(() => sent(vm), { timeout: patience(20_000) }).toBe(1);
  const [copy] = await vm.fork(1);
  expect([copy.state, copy.networks.length, sent(copy)]).toEqual(["running", 1, 0]);
  await copy.stop();
  await using other = await createVm({
    ...{ memory: "16M", kernel },
    network: [{ user: { hostfwd: ["tcp:127.0.0.1:0-:22"] } }],
  });
  await other.start();
  await expect(other.fork(1)).rejects.toThrow(/two machines cannot have its ports \(hostfwd\)/);
});

test("a network that cannot be made is why there is no machine", async () => {
  const connect: Connect = () => {
    throw new Error("no cable");
  };
  await expect(createVm({ memory: "16M", kernel, network: [{ connect }] })).rejects.toThrow("no cable");
  await expect(createVm({ memory: "16M", kernel, network: [{}] })).rejects.toThrow(/connected to nothing/);
});

test("an e1000 of a PC is in its snapshot: the same card continues, and another one is refused", async () => {
  const dir = join(folder, "pc-snapshot");
  const waits = Uint8Array.of(0xf4, 0xeb, 0xfd); // 1: hlt; jmp 1b
  const pc = { machine: "pc", memory: "16M", kernel: waits, loadAddress: 0x1000 } as const;
  const wire = new Wire();
  await using vm = await createVm({ ...pc, network: [{ model: "e1000", connect: wire.connect }] });
  await vm.start();
  await vm.snapshot({ dir });
  const { connect } = new Wire();
  await using copy = await restoreVm(dir, { network: [{ connect }] });
  await copy.resume();
  copy.networks[0].setLink(false);
  expect(copy.networks[0].isUp).toBe(false);
  await using usual = await restoreVm(dir, { defaultNetwork: true });
  expect(usual.networks).toHaveLength(1);
  await expect(restoreVm(dir, { network: [{ model: "virtio", connect }] })).rejects.toThrow(
    /"virtio" is not the card that was saved/,
  );
  await expect(restoreVm(dir)).rejects.toThrow(/has 1 network cards, and 0 are given/);
  await expect(createVm({ kernel, network: [{ model: "e1000", connect }] })).rejects.toThrow(
    /a microvm has virtio cards only/,
  );
});
