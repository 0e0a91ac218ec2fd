import { expect, test } from "vitest";
import { parseRun } from "../../../../src/cli/run/command-line.ts";

function vm(line: string) {
  const command = parseRun(["-kernel", "K", ...line.split(" ")]);
  if (command.action !== "run") throw new Error("printed instead of running");
  return command.request.vm;
}
const MIB = 2 ** 20;

test("nodes with CPUs and memory", () => {
  expect(
    vm(
      "-m 256 -smp 4 -numa node,cpus=0-1,mem=64 -numa node,nodeid=1,cpus=2,cpus=3,mem=192M -numa dist,src=0,dst=1,val=33",
    ).numa,
  ).toEqual([
    { cpus: [0, 1], memory: 64 * MIB, distances: [10, 33] },
    { cpus: [2, 3], memory: 192 * MIB, distances: [33, 10] },
  ]);
  expect(vm("-numa node -numa node").numa).toEqual([{}, {}]);
});

test("memory back ends of nodes, and of the machine", () => {
  expect(
    vm(
      "-m 128 -object memory-backend-ram,id=a,size=32M -object memory-backend-ram,id=b,size=96M,prealloc=on -numa node,memdev=a -numa node,memdev=b",
    ),
  ).toMatchObject({
    memoryBacking: "anonymous",
    prealloc: true,
    numa: [{ memory: 32 * MIB }, { memory: 96 * MIB }],
  });
  expect(
    vm(
      "-m 1G -machine memory-backend=m -object memory-backend-memfd,id=m,size=1G,hugetlb=on,hugetlbsize=2M,share=on",
    ),
  ).toMatchObject({ memoryBacking: "memfd", hugePages: true });
  expect(
    vm(
      "-object memory-backend-file,id=m,size=128M,mem-path=/dev/hugepages,share=on -M microvm,memory-backend=m",
    ),
  ).toMatchObject({
    hugePages: true,
  });
  expect(vm("-mem-path /dev/hugepages/libvirt -mem-prealloc")).toMatchObject({
    hugePages: true,
    prealloc: true,
  });
});

test("objects that a device has anyway are accepted", () => {
  expect(vm("-object rng-random,filename=/dev/urandom,id=rng0 -object iothread,id=t0")).toEqual(
    vm("-no-hpet"),
  );
});

test("an iothread says how the thread that serves the devices polls, as with QEMU", () => {
  expect(
    vm("-object iothread,id=t0,poll-max-ns=50000,poll-grow=4 -object iothread,id=t1,poll-shrink=2"),
  ).toMatchObject({
    polling: { maxNs: 50_000, grow: 4, shrink: 2 },
  });
});

test.each([
  ["-numa node,nodeid=1", "nodes have to be given in order; this is node 0"],
  ["-numa node,cpus=3-1", 'cpus="3-1" is not a CPU or a range of CPUs, as in 0-3'],
  ["-numa node,memdev=x", "-numa node,memdev=x: there is no -object memory-backend-… with id=x"],
  ["-numa hmat-lb,initiator=0", '"hmat-lb" is not supported; use node or dist'],
  ["-numa node -numa dist,src=0,dst=4,val=20", "-numa dist,src=0,dst=4: there is no such node"],
  ["-object memory-backend-file,id=m,size=128M,mem-path=/tmp/x", "/tmp/x is not a folder of huge pages"],
  ["-object iothread,id=t,poll-max-ns=-1", "poll-max-ns"],
  ["-object memory-backend-epc,id=m,size=64M", '"memory-backend-epc" is not supported'],
  [
    "-M memory-backend=m -object memory-backend-ram,id=m,size=64M",
    "memory back ends have 67108864 bytes together, and the machine has 134217728",
  ],
  [
    "-object memory-backend-ram,id=a,size=64M -object memory-backend-memfd,id=b,size=64M -numa node,memdev=a -numa node,memdev=b",
    "all memory of a machine has to be of one kind",
  ],
])("%s: %s", (line, sentence) => {
  expect(() => vm(line)).toThrow(sentence);
});
