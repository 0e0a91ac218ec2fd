/** Linux starts, with any number of CPUs, from either kind of kernel image. */
import { expect, test } from "vitest";
import { createVm } from "vmexit";
import { bootMs, guestFile, linux, logIn, runScript, type } from "../support/guest.ts";

const SCRIPT = "nproc; grep -c ^processor /proc/cpuinfo; uname -s; cat /sys/class/tty/ttyS0/type";
const PORT_16550A = 4; // <linux/serial_core.h>

test("one CPU: a shell is reached by logging in on the console", async () => {
  await using vm = await logIn();
  expect(await type(vm, "id -u")).toMatch(/^0$/m);
  expect(await type(vm, "nproc")).toMatch(/^1$/m);
  expect(await type(vm, "dmesg | grep -c 'Hypervisor detected: KVM'")).toMatch(/^1$/m);
  vm.serial.write("poweroff\n");
  expect(await vm.exited).toEqual({ reason: "poweroff" });
});

test.each([1, 2, 4])("a bzImage with %i CPUs: all are there", async (cpus) => {
  const { status, output, ending } = await runScript(SCRIPT, { cpus });
  expect(output.trim().split("\n")).toEqual([`${cpus}`, `${cpus}`, "Linux", `${PORT_16550A}`]);
  expect({ status, ending }).toEqual({ status: 0, ending: { reason: "poweroff" } });
});

test("an uncompressed vmlinux by PVH, with 2 CPUs", async () => {
  const { status, output } = await runScript(SCRIPT, { cpus: 2, kernel: guestFile("vmlinux") });
  expect({ status, output: output.trim().split("\n").slice(0, 3) }).toEqual({
    status: 0,
    output: ["2", "2", "Linux"],
  });
});

test("CPUs are one socket of single-threaded cores, with their numbers as APIC ids", async () => {
  const fields = "physical id|core id|cpu cores|siblings|initial apicid";
  const { output } = await runScript(`grep -E '${fields}' /proc/cpuinfo | tr -s '\\t ' ' '`, { cpus: 3 });
  const expected = [0, 1, 2].flatMap((n) => [
    "physical id : 0",
    "siblings : 3",
    `core id : ${n}`,
    "cpu cores : 3",
    `initial apicid : ${n}`,
  ]);
  expect(output.trim().split("\n")).toEqual(expected);
});

test("a boot takes fewer than 3200 exits to its login", async () => {
  await using vm = await createVm(linux());
  await vm.start();
  await vm.serial.waitFor("login: ", { timeoutMs: bootMs() });
  expect(vm.stats().totalExits).toBeLessThan(3200);
});
