/** Guest RAM around the hole below 4 GiB, and as little of it as Linux can do with. */
import { expect, test } from "vitest";
import { runScript } from "../support/guest.ts";

/** 64 MiB into a tmpfs: Linux takes them from the zone above 4 GiB while it has one. */
const FILL = `
grep 'System RAM' /proc/iomem
free() { awk '/zone +Normal/ {n=1} n && /pages free/ {print $3; exit}' /proc/zoneinfo; }
before=$(free)
mkdir /t && mount -t tmpfs t /t
yes vmexit | head -c 67108864 >/t/x
echo "taken $((before - $(free)))"
md5sum </t/x`;

test("a guest of 5 GiB uses what lies above 4 GiB", async () => {
  const { output, status } = await runScript(FILL, { memory: "5G" });
  expect(status).toBe(0);
  // 3 GiB below the hole, 2 GiB from 4 GiB on.
  expect(output).toMatch(/^00100000-bfffffff : System RAM$/m);
  expect(output).toMatch(/^100000000-17fffffff : System RAM$/m);
  const taken = Number(/taken (\d+)/.exec(output)?.[1]);
  expect(taken).toBeGreaterThan(0.9 * 16384);
  expect(output).toContain("52afdc09d3add8d7c039cd0c5c6458d1");
});

test("private anonymous memory serves a guest as well as a memfd", async () => {
  const { output, status } = await runScript("grep MemTotal /proc/meminfo", { memoryBacking: "anonymous" });
  expect(status).toBe(0);
  expect(Number(/MemTotal: +(\d+) kB/.exec(output)?.[1])).toBeGreaterThan(200_000);
});
