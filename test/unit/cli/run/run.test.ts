import { EventEmitter } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex, PassThrough, Writable } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { OptionError } from "../../../../src/base/errors.ts";
import { BootError } from "../../../../src/boot/plan.ts";
import type { EndingSignal } from "../../../../src/cli/exit-status.ts";
import type { Machine, RunDeps } from "../../../../src/cli/run/run.ts";
import { run } from "../../../../src/cli/run/run.ts";
import type { RecordSource } from "../../../../src/cli/run/trace-file.ts";
import { snapshotCommand } from "../../../../src/cli/snapshot/snapshot.ts";
import type { VmOptions } from "../../../../src/config/machine.ts";
import type { GdbPlace } from "../../../../src/gdb/server.ts";
import { SystemError } from "../../../../src/sys/errors.ts";
import type { Ending } from "../../../../src/threads/shared.ts";

/** A serial port of a guest that prints a test's text and echoes nothing. */
class FakePort extends Duplex {
  received = "";
  printed = (_text: string): void => {};
  waitFor(text: string): Promise<void> {
    return new Promise((resolve) => {
      this.printed = (printed) => {
        if (printed.includes(text)) resolve();
      };
    });
  }
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.received += chunk.toString();
    done();
  }
}

class FakeMachine extends EventEmitter implements Machine {
  name = "web";
  state = "running";
  readonly saved: string[] = [];
  async pause(): Promise<void> {
    this.state = "paused";
  }
  async snapshot({ dir }: { dir: string }) {
    this.saved.push(`${this.state}: ${dir}`);
    return { dir, ramBytes: 3 << 20, pauseMs: 12.3 };
  }
  readonly serials: readonly FakePort[];
  readonly debugConsole = new PassThrough();
  readonly exited: Promise<Ending>;
  closed = false;
  records: RecordSource = { stop() {}, async *[Symbol.asyncIterator]() {} };
  end: (ending: Ending) => void = () => {};

  constructor(options: VmOptions) {
    super();
    this.serials = Array.from({ length: options.serialPorts ?? 1 }, () => new FakePort());
    this.exited = new Promise((resolve) => {
      this.end = (ending) => {
        for (const port of this.serials) port.push(null);
        this.debugConsole.end();
        resolve(ending);
      };
    });
  }

  started = false;
  resumed = 0;
  async resume(): Promise<void> {
    this.resumed++;
  }
  gdb: GdbPlace | undefined;
  refusal: Error | undefined;
  async start(): Promise<void> {
    this.started = true;
  }
  async serveGdb(place: GdbPlace): Promise<{ address: string }> {
    if (this.refusal !== undefined) throw this.refusal;
    this.gdb = place;
    return { address: "127.0.0.1:1234" };
  }
  async stop(): Promise<void> {
    this.end({ reason: "stopped" });
  }
  async close(): Promise<void> {
    this.closed = true;
  }
  trace(): RecordSource {
    return this.records;
  }
  stats(): object {
    return { exits: { IO: 3 }, totalExits: 3 };
  }
}

class Sink extends Writable {
  text = "";
  failure: NodeJS.ErrnoException | undefined;
  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.failure === undefined) this.text += chunk.toString();
    done(this.failure);
  }
}

function host(guest: (machine: FakeMachine, options: VmOptions) => void | Promise<void>) {
  const seen = {
    stdin: new PassThrough(),
    stdout: new Sink(),
    stderr: new Sink(),
    machine: undefined as FakeMachine | undefined,
    refusal: undefined as Error | undefined,
    restored: undefined as readonly [string, object] | undefined,
    signal: (_signal: EndingSignal) => {},
  };
  const world: RunDeps = {
    stdin: seen.stdin,
    stdout: seen.stdout,
    stderr: seen.stderr,
    createVm: async (options) => {
      const machine = new FakeMachine(options);
      seen.machine = machine;
      machine.refusal = seen.refusal;
      machine.start = async () => {
        machine.started = true;
        setImmediate(() => void guest(machine, options));
      };
      return machine;
    },
    restoreVm: async (dir, options) => {
      seen.restored = [dir, options];
      return world.createVm({ ...options, kernel: options?.kernel ?? "" });
    },
    openPty: () => Promise.reject(new Error("no pseudo-terminal in this test")),
    onSignal: (listener) => {
      seen.signal = listener;
    },
  };
  return { seen, world };
}

const says = (text: string, ending: Ending) => (machine: FakeMachine) => {
  machine.serials[0].push(text);
  machine.end(ending);
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmexit-cli-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("what the guest says comes out before its power-off becomes status 0", async () => {
  const { seen, world } = host(says("hello\r\n", { reason: "poweroff" }));
  expect(await run(["-kernel", "K"], world)).toBe(0);
  expect(seen.stdout.text).toBe("hello\r\n");
  expect(seen.stderr.text).toBe("");
  expect(seen.machine?.closed).toBe(true);
});

test("a crash has its own status and says why", async () => {
  const { seen, world } = host(says("", { reason: "crash", message: "triple fault" }));
  expect(await run(["-kernel", "K"], world)).toBe(4);
  expect(seen.stderr.text).toBe("vmexit: the guest crashed: triple fault\n");
});

test("a guest's own status is passed on", async () => {
  const { world } = host(says("", { reason: "exit", status: 33 }));
  expect(await run(["-kernel", "K"], world)).toBe(33);
});

test("a command line that cannot be used has status 2 and starts nothing", async () => {
  const { seen, world } = host(() => {});
  expect(await run(["-kernel", "K", "-drive", "file=a,fromat=raw"], world)).toBe(2);
  expect(seen.stderr.text).toBe(
    'vmexit run: -drive file=a,fromat=raw: unknown key "fromat" (did you mean "format"?)\n',
  );
  expect(seen.machine).toBeUndefined();
});

test.each<[Error, number, string]>([
  [new OptionError("cpus: 999 is out of range"), 2, "vmexit run: cpus: 999 is out of range\n"],
  [
    new BootError("K: neither a bzImage nor an ELF file"),
    1,
    "vmexit run: K: neither a bzImage nor an ELF file\n",
  ],
])("an error of the library becomes a sentence", async (error, status, text) => {
  const { seen, world } = host(() => {});
  const failing = { ...world, createVm: () => Promise.reject(error) };
  expect(await run(["-kernel", "K"], failing)).toBe(status);
  expect(seen.stderr.text).toBe(text);
});

test("help is printed without a machine", async () => {
  const { seen, world } = host(() => {});
  expect(await run(["--help"], world)).toBe(0);
  expect(seen.stdout.text).toContain("Usage: vmexit run");
});

test("what is piped in reaches the guest, and its end does not end the guest", async () => {
  const { seen, world } = host(async (machine) => {
    seen.stdin.end("echo hi\n");
    await new Promise((resolve) => setTimeout(resolve, 20));
    says(`got: ${machine.serials[0].received}`, { reason: "poweroff" })(machine);
  });
  expect(await run(["-kernel", "K"], world)).toBe(0);
  expect(seen.stdout.text).toBe("got: echo hi\n");
});

test("a signal stops the machine and is what the process dies of", async () => {
  const { seen, world } = host((machine) => {
    machine.serials[0].push("working");
    seen.signal("SIGTERM");
  });
  expect(await run(["-kernel", "K"], world)).toBe("SIGTERM");
  expect(seen.stdout.text).toBe("working");
  expect(seen.machine?.closed).toBe(true);
});

test("a signal while the machine is being made is obeyed", async () => {
  const { seen, world } = host(() => {});
  const running = run(["-kernel", "K"], { ...world, createVm: () => new Promise(() => {}) });
  await new Promise((resolve) => setImmediate(resolve));
  seen.signal("SIGINT");
  expect(await running).toBe("SIGINT");
});

test("a machine that does not stop is left behind", { timeout: 10_000 }, async () => {
  const { seen, world } = host((machine) => {
    machine.stop = () => new Promise(() => {});
    machine.close = () => new Promise(() => {});
    seen.signal("SIGTERM");
  });
  expect(await run(["-kernel", "K"], world)).toBe("SIGTERM");
});

test("a reader that goes away ends the run without a complaint", async () => {
  const { seen, world } = host((machine) => {
    seen.stdout.failure = Object.assign(new Error("write EPIPE"), { code: "EPIPE" });
    machine.serials[0].push("for nobody");
  });
  expect(await run(["-kernel", "K"], world)).toBe(141);
  expect(seen.stderr.text).toBe("");
});

test("output that cannot be written ends the run and says where", async () => {
  const { seen, world } = host((machine) => {
    seen.stdout.failure = Object.assign(new Error("ENOSPC: no space left on device, write"), {
      code: "ENOSPC",
    });
    machine.serials[0].push("too much");
  });
  expect(await run(["-kernel", "K"], world)).toBe(1);
  expect(seen.stderr.text).toContain("writing the guest's output to standard output: ENOSPC");
});

test("each console goes where it was sent, whole", async () => {
  const log = join(folder, "log,1");
  const debug = join(folder, "debug");
  const { seen, world } = host((machine) => {
    machine.serials[0].push("x".repeat(300_000));
    machine.serials[1].push("second");
    machine.serials[2].push("unheard");
    machine.debugConsole.write("debug");
    machine.end({ reason: "poweroff" });
  });
  const argv = ["-kernel", "K", "-serial", `file:${log}`, "-serial", "stdio", "-serial", "none"];
  expect(await run([...argv, "-debugcon", `file:${debug}`], world)).toBe(0);
  expect((await readFile(log, "utf8")).length).toBe(300_000);
  expect(await readFile(debug, "utf8")).toBe("debug");
  expect(seen.stdout.text).toBe("second");
});

test("a file that cannot be made is found before the guest starts", async () => {
  const { seen, world } = host(() => {});
  const missing = join(folder, "missing", "log");
  expect(await run(["-kernel", "K", "-serial", `file:${missing}`], world)).toBe(1);
  expect(seen.stderr.text).toContain(missing);
  expect(seen.machine).toBeUndefined();
});

test("the machine's counters come at the end when asked for", async () => {
  const { seen, world } = host(says("", { reason: "poweroff" }));
  await run(["-kernel", "K", "--stats"], world);
  expect(seen.stderr.text).toMatch(/^exits\.IO {4}3\ntotalExits {2}3\nexits are returns of KVM_RUN/);
});

test("unclaimed accesses are shown when asked for", async () => {
  const { seen, world } = host((machine, options) => {
    options.onUnclaimed?.({ space: "port", direction: "read", address: 0x2f9, size: 1, value: 0xff });
    options.onUnclaimed?.({ space: "memory", direction: "write", address: 0xd0000000, size: 4, value: 1 });
    machine.end({ reason: "poweroff" });
  });
  await run(["-kernel", "K", "-trace", "unclaimed"], world);
  expect(seen.stderr.text).toBe(
    "vmexit: unclaimed: read of 1 at port 0x02f9: 0xff\nvmexit: unclaimed: write of 4 at memory 0xd0000000: 0x00000001\n",
  );
});

test("a report names the device that it is about", async () => {
  const { seen, world } = host((machine) => {
    machine.emit("error", Object.assign(new Error("writing failed"), { device: "virtio-blk1", code: "EIO" }));
    machine.emit("error", Object.assign(new Error("the kernel panicked"), { device: "vm", code: "EPANIC" }));
    machine.end({ reason: "poweroff" });
  });
  await run(["-kernel", "K"], world);
  expect(seen.stderr.text).toBe("vmexit: virtio-blk1: writing failed\nvmexit: the kernel panicked\n");
});

test("a guest cannot flood the log with reports", async () => {
  const { seen, world } = host((machine) => {
    for (let n = 0; n < 1000; n++) machine.emit("error", new Error("virtio-blk: broken queue"));
    machine.end({ reason: "poweroff" });
  });
  await run(["-kernel", "K"], world);
  expect(seen.stderr.text.split("\n").length).toBeLessThan(110);
  expect(seen.stderr.text).toContain("further reports are not shown");
});

test("the place for a debugger is printed, and with -S the guest waits for it", async () => {
  const { seen, world } = host(() => {});
  const outcome = run(["-kernel", "K", "-s", "-S"], world);
  await vi.waitFor(() => expect(seen.stderr.text).not.toBe(""));
  expect(seen.stderr.text).toBe(
    "vmexit: gdb may connect: target remote 127.0.0.1:1234; the guest starts when gdb continues it\n",
  );
  expect(seen.machine).toMatchObject({ gdb: { port: 1234 }, started: false });
  seen.machine?.end({ reason: "poweroff" });
  expect(await outcome).toBe(0);
});

test("a port in use for gdb is an error before the guest starts", async () => {
  const { seen, world } = host(() => {});
  seen.refusal = new SystemError(-98, "listen", "waiting for gdb at 127.0.0.1:1234", "Choose another port.");
  expect(await run(["-kernel", "K", "-s"], world)).toBe(1);
  expect(seen.machine?.started).toBe(false);
  expect(seen.stderr.text).toBe(
    "vmexit run: waiting for gdb at 127.0.0.1:1234: listen failed with EADDRINUSE. Choose another port.\n",
  );
});

/** Standard input on a terminal. */
function onTerminal(world: RunDeps, stdin: PassThrough): RunDeps {
  return { ...world, stdin: Object.assign(stdin, { isTTY: true, setRawMode: () => {} }) };
}

const turns = () => new Promise((resolve) => setTimeout(resolve, 20));
/** What was asked for has happened, and was reported. */
const until = (what: () => unknown) => vi.waitFor(() => expect(what()).toBeTruthy(), { timeout: 20_000 });

test("Ctrl-A s saves the machine, which goes on", async () => {
  const place = join(folder, "saved");
  const { seen, world } = host(async (machine) => {
    seen.stdin.write("\x01s");
    await until(() => seen.stderr.text !== "");
    says("on", { reason: "poweroff" })(machine);
  });
  expect(await run(["-kernel", "K", "-savevm", place], onTerminal(world, seen.stdin))).toBe(0);
  expect(seen.machine?.saved).toEqual([`running: ${place}`]);
  expect(seen.stderr.text).toBe(`\nvmexit: saved in ${place} (3 MiB of RAM, paused for 12 ms)\n`);
  expect(seen.stdout.text).toBe("on");
});

test("Ctrl-A s leaves a machine paused whose guest would write to the file that the snapshot names", async () => {
  const { seen, world } = host(async () => {
    seen.stdin.write("\x01s");
    await until(() => seen.stderr.text !== "");
    seen.stdin.write("\x01x");
  });
  const argv = ["-kernel", "K", "-savevm", "there", "-drive", "file=a.img,format=raw"];
  expect(await run(argv, onTerminal(world, seen.stdin))).toBe(6);
  expect(seen.machine?.saved).toEqual(["paused: there"]);
  expect(seen.stderr.text).toContain("the machine is paused: the snapshot fits a.img only until the guest");
});

test("with -snapshot the guest does not write to files, and goes on", async () => {
  const { seen, world } = host(async (machine) => {
    seen.stdin.write("\x01s");
    await until(() => seen.stderr.text !== "");
    machine.end({ reason: "poweroff" });
  });
  const argv = ["-kernel", "K", "-savevm", "there", "-snapshot", "-drive", "file=a.img,format=raw"];
  expect(await run(argv, onTerminal(world, seen.stdin))).toBe(0);
  expect(seen.machine?.saved).toEqual(["running: there"]);
});

test("a failure to save is a sentence, and the machine goes on", async () => {
  const { seen, world } = host(async (machine) => {
    machine.snapshot = () => Promise.reject(new Error("there is no space"));
    seen.stdin.write("\x01s");
    await until(() => seen.stderr.text !== "");
    machine.end({ reason: "poweroff" });
  });
  expect(await run(["-kernel", "K"], onTerminal(world, seen.stdin))).toBe(0);
  expect(seen.stderr.text).toBe("\nvmexit: there is no space\n");
});

test("-loadvm restores and resumes; a port that the saved machine lacks is refused", async () => {
  const { seen, world } = host(() => {});
  const running = run(["-loadvm", "booted", "-name", "copy"], world);
  await turns();
  expect(seen.restored).toEqual(["booted", { name: "copy", defaultNetwork: true }]);
  expect([seen.machine?.started, seen.machine?.resumed]).toEqual([false, 1]);
  seen.machine?.end({ reason: "poweroff" });
  expect(await running).toBe(0);
  expect(await run(["-loadvm", "booted", "-serial", "stdio", "-serial", "none"], world)).toBe(2);
  expect(seen.stderr.text).toContain("-serial: 2 are given, and the machine of booted has 1");
});

test("without -savevm, Ctrl-A s makes a new folder, with a name that files may have", async () => {
  const { seen, world } = host(async (machine) => {
    seen.stdin.write("\x01s");
    await until(() => seen.stderr.text !== "");
    machine.end({ reason: "poweroff" });
  });
  const createVm = async (options: VmOptions) =>
    Object.assign(await world.createVm(options), { name: ".my/vm" });
  expect(await run(["-kernel", "K"], onTerminal({ ...world, createVm }, seen.stdin))).toBe(0);
  expect(seen.machine?.saved).toEqual([expect.stringMatching(/^running: _my_vm-\d{8}-\d{6}$/)]);
});

test("snapshot save starts a machine, saves it when its console shows the text, and ends", async () => {
  const { seen, world } = host((machine) => {
    machine.serials[0].push("login:");
    machine.serials[0].printed("login:");
  });
  expect(await snapshotCommand(["save", "there", "-until", "login:", "-kernel", "K"], world)).toBe(0);
  expect(seen.machine?.saved).toEqual(["paused: there"]);
  expect(seen.machine?.closed).toBe(true);
  expect(seen.stdout.text).toBe("login:");
});

test("snapshot save prints a list that is loaded when it is asked for", async () => {
  const { seen, world } = host(() => {});
  expect(await snapshotCommand(["save", "there", "-until", "login:", "-cpu", "help"], world)).toBe(0);
  expect(seen.stdout.text).toContain("Available CPUs:");
});

test("snapshot save takes options from a file, as vmexit run does", async () => {
  const { seen, world } = host(() => {});
  const argv = ["save", "there", "-until", "login:", "-readconfig", "/nonexistent/machine.cfg"];
  expect(await snapshotCommand(argv, world)).toBe(2);
  expect(seen.stderr.text).toContain("-readconfig /nonexistent/machine.cfg: ENOENT");
});

test("snapshot save fails if the guest ends first", async () => {
  const { seen, world } = host(says("panic", { reason: "poweroff" }));
  expect(await snapshotCommand(["save", "there", "-until", "login:", "-kernel", "K"], world)).toBe(1);
  expect(seen.stderr.text).toBe('\nvmexit: the guest ended before it printed "login:"; nothing was saved\n');
});

test.each([
  [["save", "-kernel", "K"], "the folder for the snapshot comes first"],
  [["save", "there", "-kernel", "K"], "A machine that already runs is saved by Ctrl-A s in its console"],
  [["save", "there", "-until", "a", "-timeout", "soon", "-kernel", "K"], "not a number of seconds"],
  [["save", "there", "-until", "a", "-kernel", "K", "-s", "-S"], "the machine has to start by itself"],
  [["sav"], 'unknown command "sav" (did you mean "save"?)'],
])("vmexit snapshot %j is refused", async (argv, sentence) => {
  const { seen, world } = host(() => {});
  expect(await snapshotCommand(argv, world)).toBe(2);
  expect(seen.stderr.text).toContain(sentence);
  expect(seen.machine).toBeUndefined();
});
