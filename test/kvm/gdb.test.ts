/**
 * Debian's gdb against tiny guests, on any KVM. Watchpoints need one in
 * hardware: see test/guest/gdb.test.ts.
 */
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm, SystemError } from "vmexit";
import { probeGuestDebug } from "vmexit/kvm";
import { ECHO, FOR_EVER, flatMachine, outByte, say } from "../support/flat-machine.ts";
import { RemoteClient, RUN_A_WHILE, runGdb } from "../support/gdb.ts";
import { guestFile } from "../support/guest.ts";
import { buildMultiboot } from "../support/multiboot-build.ts";
import { random } from "../support/random.ts";

/** The lab's emulated AMD-V has none. */
const { breakpoints } = probeGuestDebug("/dev/kvm");

let folder = "";
let kernel = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-gdb-"));
  kernel = join(folder, "kernel.elf");
  buildMultiboot(kernel, "-g", "-fno-inline");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A free port of the loopback. */
const ANY = { port: 0 };
const EXIT_16 = outByte(0xf4, 16);
/** nop; nop; jmp to the first: at 0x1000. */
const LOOP = [0x90, 0x90, 0xeb, 0xfc];

test.skipIf(!breakpoints)(
  "a Multiboot kernel in C: breakpoints by name, arguments, source lines, the end's status",
  async () => {
    await using vm = await createVm({ memory: "16M", kernel, cmdline: "quiet" });
    const { address } = await vm.serveGdb(ANY);
    const { output } = await runGdb(
      [
        `target remote ${address}`,
        "print/x $eax",
        "hbreak kernel_main",
        "continue",
        "print/x magic",
        "print info->boot_loader_name",
        "print $cr0",
        "backtrace",
        "info line",
        "delete",
        "break check_machine",
        "stepi",
        "next",
        "continue",
        "x/1xb $pc",
        "finish",
        "print data_word",
        "set var data_word = 7",
        "print data_word",
        "delete",
        "continue",
      ],
      { file: kernel },
    );
    expect(output).toContain("$1 = 0x2badb002"); // what the loader put into EAX
    expect(output).toContain("Breakpoint 1, kernel_main (magic=");
    expect(output).toContain("$2 = 0x2badb002");
    expect(output).toMatch(/\$3 = 0x[0-9a-f]+ .*"vmexit"/);
    expect(output).toMatch(/\$4 = \[ PE .*\]/);
    expect(output).toMatch(/#0 {2}kernel_main/);
    expect(output).toMatch(/Breakpoint 2, check_machine[\s\S]*Value returned is \$5 = 0/);
    expect(output).not.toContain("0xcc"); // gdb does not see its own breakpoint
    expect(output).toContain("$6 = 1\n$7 = 7");
    expect(output).toContain("exited with code 01");
    expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  },
);

test.skipIf(!breakpoints)("the manual's first session runs as printed", async () => {
  const manual = readFileSync(new URL("../../docs/debugging.md", import.meta.url), "utf8");
  const octal = /printf '([^']*)' > hi\.bin/.exec(manual)?.[1] ?? "";
  const code = octal
    .replaceAll("\\n", "\n")
    .replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
  const session = /```\n(\(gdb\) target remote :1234\n[\s\S]*?)```/.exec(manual)?.[1] ?? "";
  const lines = session.trimEnd().split("\n");
  const prompt = "(gdb) ";
  const commands = lines.filter((line) => line.startsWith(prompt)).map((line) => line.slice(prompt.length));
  expect(commands.length).toBeGreaterThan(8);
  await using vm = await createVm({ kernel: Buffer.from(code, "latin1"), loadAddress: 0x1000 });
  const { address } = await vm.serveGdb(ANY);
  const { output } = await runGdb(commands.map((command) => command.replace(":1234", address)));
  for (const line of lines.filter((line) => !line.startsWith(prompt))) expect(output).toContain(line);
  expect(await vm.exited).toEqual({ reason: "poweroff" });
  expect(String(vm.serial.read())).toBe("Yi\n");
});

test.skipIf(!breakpoints)(
  "real-mode code is shown as such, stepped, changed, and reset from gdb",
  async () => {
    await using vm = await flatMachine([...say("Hi"), ...EXIT_16]);
    const { address } = await vm.serveGdb(ANY);
    const { output } = await runGdb([
      `target remote ${address}`,
      "x/2i $pc",
      "stepi",
      "stepi",
      "print $al",
      "set var $al = 'Q'",
      "hbreak *0x1006",
      "continue",
      "monitor reset",
      "maintenance flush register-cache",
      "print/x $pc",
      "continue",
      "print/x $pc",
      "monitor memory",
      "set var *(char*)0x1007 = 0xf4",
      "delete",
      "detach",
    ]);
    expect(output).toMatch(/=> 0x1000:\tmov +\$0x3f8,%dx\n +0x1003:\tmov +\$0x48,%al/);
    expect(output).toContain("$1 = 72");
    expect(output).toContain("$2 = 0x1000");
    expect(output).toContain("$3 = 0x1006");
    expect(output).toContain("0000000000000000-00000000000fffff ram slot 0");
    expect(await vm.exited).toEqual({ reason: "exit", status: 33 });
    // The first time with the character that gdb put into AL; the second without, and its last goes to another port.
    expect(String(vm.serial.read())).toBe("QH");
  },
);

test("Ctrl-C stops a guest that runs; detach lets it go on, and it still answers", async () => {
  await using vm = await flatMachine([...say("!"), ...ECHO]);
  const { address } = await vm.serveGdb(ANY);
  await vm.start();
  await vm.serial.waitFor("!");
  const { output } = await runGdb([
    ...[`target remote ${address}`, RUN_A_WHILE, "info threads", "print/x $cs", "detach"],
  ]);
  expect(output).toContain("Program received signal SIGINT");
  expect(output).toMatch(/\* 1 +Thread 1 \(CPU 0 \(running\)\)/);
  expect(output).toContain("$1 = 0x100");
  expect(vm.state).toBe("running");
  vm.serial.write("after");
  await vm.serial.waitFor("after");
});

test.skipIf(!breakpoints)("Linux is met at the entry of its 64-bit code, with paging on", async () => {
  const image = readFileSync(guestFile("vmlinux"));
  const entry = `0x${image.readBigUInt64LE(24).toString(16)}`; // e_entry
  await using vm = await createVm({ memory: "256M", kernel: image, cmdline: "nokaslr" });
  const { address } = await vm.serveGdb(ANY);
  const { output } = await runGdb([
    ...[`target remote ${address}`, "print $cr0 & 0x80000000", `hbreak *${entry}`, "continue", "print/x $pc"],
    ...["info registers cr0 efer", "stepi", `x/1gx ${entry}`, "print *(int *)0xffffffff00000000", "kill"],
  ]);
  expect(output).toContain("$1 = 0"); // the PVH entry is 32-bit code
  expect(output).toContain(`$2 = ${entry}`);
  expect(output).toMatch(/cr0 +0x[0-9a-f]+ +\[ PE .*PG \]/);
  expect(output).toMatch(/efer +0x[0-9a-f]+ +\[ .*LME LMA/);
  expect(output).toContain("Cannot access memory at address 0xffffffff00000000");
});

test("a CPU that was never started is a thread too, and the first can be stepped while it waits", async () => {
  await using vm = await flatMachine(LOOP, { cpus: 2 });
  const { address } = await vm.serveGdb(ANY);
  const { output } = await runGdb([
    `target remote ${address}`,
    "info threads",
    "stepi",
    "print/x $pc",
    "set scheduler-locking on",
    "stepi",
    "print/x $pc",
    "thread 2",
    "print/x $cs",
    "kill",
  ]);
  expect(output).toMatch(/Thread 1 \(CPU 0 \(running\)\)[\s\S]*Thread 2 \(CPU 1 \(waiting\)\)/);
  expect(output).toContain("$1 = 0x1001");
  expect(output).toContain("$2 = 0x1002");
  expect(output).toContain("$3 = 0xf000");
  expect(await vm.exited).toEqual({ reason: "stopped" });
});

test("gdb connects by a socket file too, which goes with the machine", async () => {
  const path = join(folder, "gdb.sock");
  const vm = await flatMachine(FOR_EVER);
  expect((await vm.serveGdb({ path })).address).toBe(path);
  expect((await runGdb([`target remote ${path}`, "print/x $pc", "detach"])).output).toContain("$1 = 0x1000");
  expect(vm.state).toBe("running"); // detach let it begin
  await vm.close();
  expect(existsSync(path)).toBe(false);
});

test("a port in use is an error that says so, and nothing of the guest has run", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const place = other.address();
  const port = typeof place === "object" && place !== null ? place.port : 0;
  await using vm = await flatMachine(FOR_EVER);
  const refused = await vm.serveGdb({ port }).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(SystemError);
  expect(refused).toMatchObject({
    code: "EADDRINUSE",
    message: expect.stringContaining(`127.0.0.1:${port}`),
  });
  expect(vm.state).toBe("created");
  other.close();
});

test.skipIf(!breakpoints)("a breakpoint in hardware stays over a reset", async () => {
  await using vm = await flatMachine(LOOP);
  const { address } = await vm.serveGdb(ANY);
  await using gdb = await RemoteClient.connect(address);
  expect(await gdb.ask("Z1,1001,1")).toBe("OK");
  gdb.send("vCont;c");
  expect(await gdb.receive()).toBe("T05thread:1;hwbreak:;");
  expect(await gdb.ask("z1,1001,1")).toBe("OK");
  expect(await gdb.ask("Z1,2000,1")).toBe("OK"); // where nothing comes by until we say so
  gdb.send("vCont;c");
  await expect.poll(() => vm.state).toBe("running");
  await vm.reset();
  vm.memory.write(0x1000, Uint8Array.of(0xe9, 0xfd, 0x0f)); // jmp 0x2000
  expect(await gdb.receive()).toBe("T05thread:1;hwbreak:;");
  expect(vm.vcpus[0].registers().rip).toBe(0x1000n);
});

test("a debugger that is lost while the guest runs leaves it running, and another may come", async () => {
  await using vm = await flatMachine([...say("!"), ...ECHO]);
  const { address } = await vm.serveGdb(ANY);
  {
    await using first = await RemoteClient.connect(address);
    first.send("vCont;c");
    await vm.serial.waitFor("!");
    const second = await RemoteClient.connect(address).catch(() => undefined);
    expect(await second?.receive()).toBeUndefined(); // one at a time
  }
  vm.serial.write("alone");
  await vm.serial.waitFor("alone");
  await using later = await RemoteClient.connect(address);
  expect(await later.ask("?")).toBe("T05thread:1;");
  expect(vm.state).toBe("paused");
});

test.skipIf(!breakpoints)("a debugger that is lost while the guest stands leaves it standing", async () => {
  await using vm = await flatMachine(FOR_EVER);
  const { address } = await vm.serveGdb(ANY);
  await vm.start();
  {
    await using gdb = await RemoteClient.connect(address);
    await expect.poll(() => vm.state).toBe("paused");
    expect(await gdb.ask("Z1,1000,1")).toBe("OK");
  }
  await using again = await RemoteClient.connect(address);
  again.send("vCont;c");
  await expect.poll(() => vm.state).toBe("running"); // the lost one's breakpoint is gone
});

test("whoever connects and talks nonsense harms neither the guest nor the next debugger", async () => {
  await using vm = await flatMachine(FOR_EVER);
  const { address } = await vm.serveGdb(ANY);
  const next = random(3);
  for (let turn = 0; turn < 5; turn++) {
    await using noise = await RemoteClient.connect(address);
    for (let piece = 0; piece < 20; piece++) {
      noise.raw(Uint8Array.from({ length: 2000 }, () => Math.floor(next() * 256)));
    }
  }
  await expect
    .poll(async () => {
      await using gdb = await RemoteClient.connect(address);
      return await gdb.ask("m1000,2");
    })
    .toBe("ebfe");
});
