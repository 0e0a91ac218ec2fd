/**
 * Debian's gdb against Linux, and against a kernel in C for what only a KVM in
 * hardware does: INT3 and watchpoints.
 *
 * The lab's emulated AMD-V knows neither those nor debug registers, so that
 * there only steps, Ctrl-C and what can be looked at are left. The
 * distribution's vmlinux has no symbols: the guest itself says where they are,
 * and "nokaslr" keeps them there.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm, type VirtualMachine } from "vmexit";
import { probeGuestDebug } from "vmexit/kvm";
import { RUN_A_WHILE, runGdb } from "../support/gdb.ts";
import { bootMs, guestFile, linux, logIn, runScript, type } from "../support/guest.ts";
import { buildMultiboot } from "../support/multiboot-build.ts";

const { int3, breakpoints, watchpoints } = probeGuestDebug("/dev/kvm");

let folder = "";
let kernel = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-gdb-"));
  kernel = join(folder, "kernel.elf");
  buildMultiboot(kernel, "-g", "-fno-inline");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs gdb against a machine; its first command is to connect. */
async function debug(vm: VirtualMachine, commands: readonly string[], more: Parameters<typeof runGdb>[1]) {
  const { address } = await vm.serveGdb({ port: 0 });
  const { output } = await runGdb([`target remote ${address}`, ...commands], { limitMs: bootMs(), ...more });
  return output;
}

/** The kernel's symbol table, as the guest prints it. */
async function kernelSymbols(...names: string[]): Promise<(name: string) => string> {
  const { output } = await runScript(`grep -E ' (${names.join("|")})$' /proc/kallsyms`, {
    cmdline: "nokaslr",
  });
  return (name) => {
    const [, digits] = new RegExp(`^([0-9a-f]{16}) . ${name}$`, "m").exec(output) ?? [];
    if (digits === undefined) throw new Error(`the guest does not know ${name}: ${output}`);
    return `0x${digits}`;
  };
}

test.skipIf(!int3)("a breakpoint in software stops, is not seen, and is gone after the end", async () => {
  await using vm = await createVm({ memory: "16M", kernel });
  const output = await debug(
    vm,
    ["break check_machine", "continue", "x/1xb $pc", "finish", "print data_word", "delete", "continue"],
    { file: kernel },
  );
  expect(output).toContain("Breakpoint 1, check_machine ()");
  expect(output).not.toContain("0xcc");
  expect(output).toMatch(/Value returned is \$1 = 0/);
  expect(output).toContain("exited with code 01");
});

test("a watchpoint stops after the write, with the old value and the new", async () => {
  await using vm = await createVm({ memory: "16M", kernel });
  const output = await debug(
    vm,
    [
      // Without debug registers gdb watches by stepping, which is slow: from near before the write.
      ...(watchpoints
        ? []
        : ["set can-use-hw-watchpoints 0", "set $esp = 0x90000", "set $pc = check_machine"]),
      ...["watch data_word", "continue", "print $pc > (long) check_machine", "delete", "kill"],
    ],
    { file: kernel },
  );
  expect(output).toMatch(/atchpoint 1: data_word\n\nOld value = 305419896\nNew value = 1\n/);
  expect(output).toContain("$1 = 1");
});

test.skipIf(!breakpoints)(
  "Linux from its first function: start_kernel, registers, a breakpoint for two CPUs, on to the login",
  async () => {
    const at = await kernelSymbols("start_kernel", "linux_banner", "run_init_process");
    await using vm = await createVm(linux({ kernel: guestFile("vmlinux"), cpus: 2, cmdline: "nokaslr" }));
    const login = vm.serial.waitFor("login: ", { timeoutMs: 2 * bootMs() });
    const output = await debug(
      vm,
      [
        ...[
          `hbreak *${at("start_kernel")}`,
          "continue",
          "print/x $pc",
          "info threads",
          "info registers cr0 efer",
        ],
        ...["stepi", "stepi", `x/s ${at("linux_banner")}`, "print *(int *)0x10", "delete"],
        ...[
          `break *${at("run_init_process")}`,
          "continue",
          "print/x $pc",
          "info threads",
          "delete",
          "detach",
        ],
      ],
      { file: guestFile("vmlinux") },
    );
    expect(output).toContain(`$1 = ${at("start_kernel")}`);
    expect(output).toMatch(/Thread 2 \(CPU 1 \(waiting\)\)/);
    expect(output).toMatch(/cr0 +0x[0-9a-f]+ +\[ PE .*PG/);
    expect(output).toContain('"Linux version ');
    expect(output).toContain("Cannot access memory at address 0x10");
    expect(output).toContain(`= ${at("run_init_process")}`);
    await login;
  },
);

test("Linux at work: Ctrl-C, its two CPUs, steps, memory, and it goes on as if nothing had been", async () => {
  await using vm = await logIn({ cpus: 2, cmdline: "nokaslr" });
  const banner = /^([0-9a-f]{16}) . linux_banner$/m.exec(
    await type(vm, "grep linux_banner /proc/kallsyms"),
  )?.[1];
  const output = await debug(
    vm,
    [
      ...[
        RUN_A_WHILE,
        "info threads",
        "info registers cr0 efer cs",
        "print/x $pc",
        `x/s 0x${banner}`,
        "x/i $pc",
      ],
      ...["set scheduler-locking on", "stepi", "thread 2", "print $cr3 != 0", "stepi", "print *(int *)0x10"],
      ...["set scheduler-locking off", "thread 1", RUN_A_WHILE, "detach"],
    ],
    {},
  );
  expect(output.match(/received signal SIGINT/g)).toHaveLength(2);
  expect(output).toMatch(/Thread 1 \(CPU 0 [\s\S]*Thread 2 \(CPU 1 /);
  expect(output).toMatch(/cr0 +0x[0-9a-f]+ +\[ PE .*PG/);
  expect(output).toMatch(/efer +0x[0-9a-f]+ +\[ .*LME LMA/);
  expect(output).toContain('"Linux version ');
  expect(output).toContain("Cannot access memory at address 0x10");
  expect(vm.state).toBe("running");
  expect(await type(vm, "nproc")).toBe("2");
});

test("Linux before its first instruction: PVH's 32-bit entry, in 64-bit words, and on to the login", async () => {
  await using vm = await createVm(linux({ kernel: guestFile("vmlinux"), cpus: 2 }));
  const login = vm.serial.waitFor("login: ", { timeoutMs: bootMs() });
  const output = await debug(
    vm,
    ["show architecture", "print/x $cs", "print $cr0 & 0x80000000", "stepi", "stepi", "x/4xb $pc", "detach"],
    {},
  );
  expect(output).toContain("i386:x86-64");
  expect(output).toContain("$2 = 0"); // paging is off
  await login;
});
