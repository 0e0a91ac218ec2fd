/**
 * Debian's gdb against Linux, and against a kernel in C for what software KVM
 * does not do: INT3 in ring 0, and watchpoints.
 *
 * The distribution's vmlinux has no symbols: the guest itself says where they
 * are, and "nokaslr" keeps them there.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createVm } from "vmexit";
import { inEmulator } from "../support/emulator.ts";
import { runGdb } from "../support/gdb.ts";
import { BOOT_MS, guestFile, linux, logIn, runScript, type } from "../support/guest.ts";
import { buildMultiboot } from "../support/multiboot-build.ts";

/** Where Linux' text is linked at, less where PVH's loader puts it. */
const KERNEL_MAP = 0xffff_ffff_8000_0000n;

/** Addresses of kernel symbols. */
async function kernelSymbols<Name extends string>(...names: Name[]): Promise<Record<Name, bigint>> {
  const { output } = await runScript(`grep -E ' (${names.join("|")})$' /proc/kallsyms`, {
    cmdline: "nokaslr",
  });
  const found = names.map((name) => {
    const [, digits] = new RegExp(`^([0-9a-f]{16}) . ${name}$`, "m").exec(output) ?? [];
    if (digits === undefined) throw new Error(`the guest does not know ${name}: ${output}`);
    return [name, BigInt(`0x${digits}`)];
  });
  return Object.fromEntries(found);
}

const hex = (value: bigint) => `0x${value.toString(16)}`;

test("a kernel in C: a breakpoint in software, a watchpoint, the way up to the caller", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-gdb-"));
  try {
    const kernel = join(folder, "kernel.elf");
    buildMultiboot(kernel, "-g", "-fno-inline");
    await using vm = await createVm({ memory: "16M", kernel });
    const { address } = await vm.serveGdb({ port: 0 });
    const { output } = await runGdb(
      [
        ...[`target remote ${address}`, "break check_machine", "continue", "x/1xb $pc", "finish"],
        ...["print data_word", "set var data_word = 7", "break out8", "continue", "backtrace 1", "delete"],
        // Where there are no debug registers, gdb watches by stepping.
        ...(inEmulator ? ["set can-use-hw-watchpoints 0"] : []),
        ...["up", "info locals", "continue"],
      ],
      { file: kernel, limitMs: BOOT_MS },
    );
    expect(output).toContain("Breakpoint 1, check_machine ()");
    expect(output).not.toContain("0xcc"); // gdb does not see its own breakpoint
    expect(output).toMatch(/Run till exit[\s\S]*Value returned is \$1 = 0/);
    expect(output).toContain("$2 = 1");
    expect(output).toContain("Breakpoint 2, out8 (port=1016");
    expect(output).toContain("exited with code 01");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a watchpoint stops after the write, with the old value and the new", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-gdb-"));
  try {
    const kernel = join(folder, "kernel.elf");
    buildMultiboot(kernel, "-g", "-fno-inline");
    await using vm = await createVm({ memory: "16M", kernel });
    const { address } = await vm.serveGdb({ port: 0 });
    const { output } = await runGdb(
      [
        // Where there are no debug registers, gdb watches by stepping.
        ...(inEmulator ? ["set can-use-hw-watchpoints 0"] : []),
        ...[`target remote ${address}`, "break check_machine", "continue", "watch data_word", "continue"],
        ...["backtrace 1", "delete", "continue"],
      ],
      { file: kernel, limitMs: BOOT_MS },
    );
    expect(output).toMatch(/atchpoint 2: data_word\n\nOld value = 305419896\nNew value = 1\n/);
    expect(output).toMatch(/#0 +(0x[0-9a-f]+ in )?check_machine/);
    expect(output).toContain("exited with code 01");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("Linux: start_kernel, steps, registers, memory, a breakpoint on two CPUs, and on to the login", async () => {
  const at = await kernelSymbols("start_kernel", "linux_banner", "run_init_process");
  await using vm = await createVm(
    linux({ kernel: guestFile("vmlinux"), cpus: 2, cmdline: "nokaslr no5lvl" }),
  );
  const { address } = await vm.serveGdb({ port: 0 });
  const login = vm.serial.waitFor("login: ", { timeoutMs: 3 * BOOT_MS });
  // A debug register knows linear addresses; an INT3 has to be where the code is before there is paging.
  const start = inEmulator
    ? `break *${hex(at.start_kernel - KERNEL_MAP)}`
    : `hbreak *${hex(at.start_kernel)}`;
  const { output } = await runGdb(
    [
      ...[`target remote ${address}`, start, "continue", "print/x $pc", "delete", "info threads"],
      ...[
        "info registers cr0 efer cs",
        "stepi",
        "stepi",
        "stepi",
        "print $pc - $1",
        `x/s ${hex(at.linux_banner)}`,
      ],
      ...["print *(int *)0x10", `break *${hex(at.run_init_process)}`, "continue", "print/x $pc", "delete"],
      ...["info threads", "thread 2", "print $cs & 3", "x/i $pc", "stepi", "detach"],
    ],
    { file: guestFile("vmlinux"), limitMs: 2 * BOOT_MS },
  );
  expect(output).toContain(`$1 = ${hex(at.start_kernel)}`);
  expect(output).toMatch(/Thread 1 \(CPU 0 \(running\)\)[\s\S]*Thread 2 \(CPU 1 \(waiting\)\)/);
  expect(output).toMatch(/cr0 +0x[0-9a-f]+ +\[ PE .*PG/);
  expect(output).toMatch(/efer +0x[0-9a-f]+ +\[ .*LME LMA/);
  expect(output).toMatch(/\$2 = [1-9]/);
  expect(output).toMatch(/x?"Linux version 6/);
  expect(output).toContain("Cannot access memory at address 0x10"); // not mapped
  expect(output).toContain(`= ${hex(at.run_init_process)}`);
  expect(output).toMatch(/CPU 1 \((running|halted)\)/); // it was started meanwhile
  await login;
});

test("Linux that runs: Ctrl-C, threads, a step on each CPU, and the guest notices nothing", async () => {
  await using vm = await logIn({ cpus: 2 });
  const { address } = await vm.serveGdb({ port: 0 });
  const { output } = await runGdb(
    [
      ...[
        `target remote ${address}`,
        "continue",
        "info threads",
        "stepi",
        "thread 2",
        "stepi",
        "print/x $cr3 != 0",
      ],
      "continue",
      "detach",
    ],
    { file: guestFile("vmlinux"), interrupts: [12_000, 20_000], limitMs: BOOT_MS },
  );
  expect(output.match(/Program received signal SIGINT/g)).toHaveLength(2);
  expect(output).toMatch(/Thread 1 \(CPU 0[\s\S]*Thread 2 \(CPU 1/);
  expect(output).toContain("$1 = 1");
  expect(output).toContain("[Inferior 1 (Remote target) detached]");
  expect(vm.state).toBe("running");
  expect(await type(vm, "nproc")).toBe("2");
});
