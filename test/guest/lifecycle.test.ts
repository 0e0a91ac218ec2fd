/** Power button, reset, pause and panic, as Linux meets them. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { createVm, type VmError } from "vmexit";
import { bootMs, linux, logIn, runScript, type } from "../support/guest.ts";

test("the power button makes the guest shut down by itself", async () => {
  await using vm = await logIn();
  await vm.powerdown();
  await vm.serial.waitFor(/Power down/, { timeoutMs: bootMs() });
  expect(await vm.exited).toEqual({ reason: "poweroff" });
});

test("a guest that reboots starts again, counters go on; reset() does the same to it", async () => {
  await using vm = await logIn();
  const resets: number[] = [];
  vm.on("reset", () => resets.push(vm.stats().totalExits));
  vm.serial.write("reboot\n");
  await vm.serial.waitFor("vmexit: init", { timeoutMs: bootMs() });
  await vm.serial.waitFor("login: ", { timeoutMs: bootMs() });
  expect(resets).toHaveLength(1);
  await vm.reset();
  await vm.serial.waitFor("login: ", { timeoutMs: bootMs() });
  expect(resets).toHaveLength(2);
  expect(resets[1]).toBeGreaterThan(resets[0]);
  await vm.stop();
  expect(await vm.exited).toEqual({ reason: "stopped" });
});

test("with onReset exit, a reboot ends the machine", async () => {
  const { ending } = await runScript("busybox reboot -f", { onReset: "exit" });
  expect(ending).toEqual({ reason: "reset" });
});

test("a paused guest does nothing, and goes on where it was", async () => {
  await using vm = await logIn({ cpus: 2 });
  vm.serial.write("i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done\n");
  await vm.serial.waitFor(/tick 3\r/, { timeoutMs: bootMs() });
  await vm.pause();
  expect(vm.state).toBe("paused");
  const before = vm.stats().totalExits;
  await sleep(2000);
  expect(vm.stats().totalExits).toBe(before);
  await vm.resume();
  await vm.serial.waitFor(/tick 9\r/, { timeoutMs: bootMs() });
  vm.serial.write("\x03");
  expect(await type(vm, "echo still here")).toMatch(/^still here$/m);
});

test("a kernel panic is reported when it happens, and is a crash when the guest then resets", async () => {
  const { ending, errors } = await runScript("echo c >/proc/sysrq-trigger", { cmdline: "panic=-1" });
  expect(ending).toEqual({
    reason: "crash",
    message: "Kernel panic - not syncing: sysrq triggered crash",
  });
  expect(errors).toContainEqual(expect.objectContaining({ code: "EPANIC" }));
});

test("a panic without panic= leaves a guest that does nothing: it is reported all the same", async () => {
  await using vm = await createVm(linux({ cmdline: "rdinit=/nowhere panic=0" }));
  const reported = new Promise<VmError>((resolve) => vm.once("error", resolve));
  vm.serial.resume();
  await vm.start();
  expect((await reported).message).toMatch(/Kernel panic - not syncing: VFS/);
  expect(vm.state).toBe("running");
});
