/** CPU models, topology and nodes, as Linux sees them. */
import { expect, test } from "vitest";
import { linux, runScript } from "../support/guest.ts";

const SHOW = `
grep -m1 'model name' /proc/cpuinfo
grep -m1 -o -w avx /proc/cpuinfo || echo no avx
cd /sys/devices/system/cpu
for c in 0 1 2 3; do
  echo cpu$c $(cat cpu$c/topology/physical_package_id cpu$c/topology/core_id cpu$c/topology/thread_siblings_list)
done
cd ../node
for n in node[0-9]; do echo $n $(cat $n/cpulist $n/distance) $(grep MemTotal $n/meminfo); done
`;

test("a model's name and features, sockets, threads, and nodes with their memory and distances", async () => {
  const { output, status } = await runScript(
    SHOW,
    linux({
      memory: "256M",
      cpus: 4,
      topology: { sockets: 2, cores: 1, threads: 2 },
      // Of the vendor whose leaves say which CPUs are threads, whatever the host is.
      cpu: "SandyBridge,vendor=GenuineIntel,-avx",
      numa: [
        { cpus: [0, 1], memory: "96M", distances: [10, 27] },
        { cpus: [2, 3], memory: "160M", distances: [27, 10] },
      ],
    }),
  );
  expect(status).toBe(0);
  const lines = output.split("\n");
  expect(lines).toContain("model name\t: Intel Xeon E312xx (Sandy Bridge)");
  expect(lines).toContain("no avx");
  expect(lines.filter((line) => line.startsWith("cpu"))).toEqual([
    "cpu0 0 0 0-1",
    "cpu1 0 0 0-1",
    "cpu2 1 0 2-3",
    "cpu3 1 0 2-3",
  ]);
  const nodes = lines.filter((line) => line.startsWith("node")).map((line) => line.split(/\s+/));
  expect(nodes.map(([name, cpus, near, far]) => [name, cpus, near, far])).toEqual([
    ["node0", "0-1", "10", "27"],
    ["node1", "2-3", "27", "10"],
  ]);
  const [first, second] = nodes.map((words) => Number(words.at(-2)));
  expect(first).toBeLessThan(96 * 1024);
  expect(second).toBeGreaterThan(96 * 1024);
});

test("a Core 2 Duo has no AVX, whatever the host has", async () => {
  const { output } = await runScript(
    "grep -m1 'model name' /proc/cpuinfo; grep -m1 -o -w avx /proc/cpuinfo || echo no avx",
    // Of its own vendor, whatever the host's is.
    linux({ cpu: "core2duo,vendor=GenuineIntel" }),
  );
  expect(output).toContain("model name\t: Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz");
  expect(output).toContain("no avx");
});
