/** A boot of Linux, traced by the command, and what is found in the trace. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type ExitRecord, type ReadRecord, readTrace } from "vmexit";
import { bootMs, guestFile, Scratch } from "../support/guest.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

function vmexit(...args: string[]) {
  const command = ["dist/bundle/main.js", ...args];
  return spawnSync(process.execPath, command, { cwd: root, encoding: "utf8", timeout: 1.5 * bootMs() });
}

test("a traced boot: devices by name, functions by symbol, two tracks for Perfetto, KVM's own counters", async () => {
  using scratch = new Scratch();
  const [file, perfetto, disk] = ["boot.trace", "boot.json", "symbols"].map((name) => scratch.path(name));
  writeFileSync(disk, Buffer.alloc(16 * 2 ** 20));
  const script = Buffer.from("cat /proc/kallsyms >/dev/vda; sync").toString("base64");
  const boot = vmexit(
    ...["run", "-m", "256", "-smp", "2", "-nographic", "-no-reboot"],
    ...["-kernel", guestFile("vmlinuz"), "-initrd", guestFile("initrd.img")],
    ...["-append", `console=ttyS0 quiet nokaslr vmexit.run=${script}`],
    ...["-drive", `file=${disk},format=raw,if=virtio`],
    ...["-trace", `exits=${file},memory=on`, "-trace", `exits=${perfetto},device=com1`, "-stats"],
  );
  expect(boot.stdout).toContain("vmexit: status 0");
  expect(boot.status).toBe(0);

  // All of it is there, and it is what the machine itself counted.
  const records: ReadRecord[] = [];
  for await (const record of readTrace(file)) records.push(record);
  const exits = records.filter((record): record is ExitRecord => record.kind === "exit");
  const total = Number(/^totalExits +(\d+)$/m.exec(boot.stderr)?.[1]);
  expect(records.at(-1)).toMatchObject({ kind: "end", exits: total, dropped: 0 });
  expect(exits).toHaveLength(total);
  expect(new Set(exits.map(({ vcpu }) => vcpu))).toEqual(new Set([0, 1]));
  expect(new Set(exits.map(({ mode }) => mode))).toContain("long");
  for (const vcpu of [0, 1]) {
    const times = exits.filter((exit) => exit.vcpu === vcpu).map(({ t }) => t);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  }
  expect(records.filter(({ kind }) => kind === "memory").length).toBeGreaterThan(3);

  const symbols = scratch.path("System.map");
  writeFileSync(symbols, readFileSync(disk, "latin1").replace(/\0+$/, ""));
  const summary = vmexit("trace", "summary", file, "-symbols", symbols);
  expect(summary.stderr).toBe("");
  expect(summary.stdout).toMatch(/^IO +com1 +\d+ /m);
  expect(summary.stdout).toMatch(/^MMIO +virtio-blk0 +\d+ /m);
  expect(summary.stdout).toMatch(/^0xffffffff8[0-9a-f]{7} +io_serial_\w+\+0x[0-9a-f]+ +\d+$/m);
  expect(summary.stdout).not.toContain("do not fit");
  expect(summary.stdout).toMatch(/^exits +vCPUs +\d+$/m);
  // Far more than came to user space.
  expect(Number(/^exits +vCPUs +(\d+)$/m.exec(summary.stdout)?.[1])).toBeGreaterThan(total);

  const events: { name: string; tid: number }[] = JSON.parse(readFileSync(perfetto, "utf8"));
  expect(events.filter(({ name }) => name === "thread_name").map(({ tid }) => tid)).toEqual([0, 1]);
  expect(new Set(events.map(({ name }) => name))).toContain("IO com1");
});
