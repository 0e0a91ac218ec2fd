/** The command itself, as a process, with guests of a few bytes. */
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Child, MAIN, start } from "../support/program.ts";

const OUT_DX_AL = 0xee;
const say = (text: string) => [...Buffer.from(text)].flatMap((byte) => [0xb0, byte, OUT_DX_AL]);
const TO_COM1 = [0xba, 0xf8, 0x03]; // mov dx, 0x3f8
const POWER_OFF = [0xba, 0x04, 0x06, 0xb8, 0x00, 0x34, 0xef]; // out 0x604, ax = S5
const FOR_EVER = [0xeb, 0xfe]; // jmp $

/** Sends back what it receives, plus one; powers off at "q". */
const ECHO = [
  ...[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8], // mov dx, 0x3fd; wait until in al, dx & 1
  ...[0xba, 0xf8, 0x03, 0xec, 0x3c, 0x71, 0x74, 0x05], // mov dx, 0x3f8; in al, dx; cmp al, 'q'; je off
  ...[0xfe, 0xc0, 0xee, 0xeb, 0xeb], // inc al; out dx, al; jmp start
  ...POWER_OFF,
];

const GUESTS = {
  hi: [...TO_COM1, ...say("Hi\n"), ...POWER_OFF],
  debug: [0xb0, 0x44, 0xe6, 0xe9, ...POWER_OFF], // out 0xe9, 'D'
  exit: [0xb0, 0x10, 0xe6, 0xf4, ...FOR_EVER], // out 0xf4, 0x10
  // Protected mode, an interrupt table of length 0, and a division by zero: three faults in one.
  crash: [
    ...[0x0f, 0x01, 0x1e, 0x20, 0x10], // lidt [0x1020], where there are zeroes
    ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // cr0 |= PE
    ...[0x31, 0xc9, 0xf7, 0xf1], // xor cx, cx; div cx
  ],
  reset: [0xb0, 0xfe, 0xe6, 0x64, ...FOR_EVER], // the keyboard controller pulses the reset line
  ready: [...TO_COM1, ...say("ready\n"), ...FOR_EVER],
  // Writes without end.
  flood: [...TO_COM1, 0xb0, 0x2e, OUT_DX_AL, 0xeb, 0xfd],
  // Says when it listens.
  echo: [...TO_COM1, ...say(">"), ...ECHO],
  mirror: ECHO,
};

let folder: string;
const path = (name: keyof typeof GUESTS) => join(folder, `${name}.bin`);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmexit-cli-"));
  for (const [name, bytes] of Object.entries(GUESTS)) {
    await writeFile(join(folder, `${name}.bin`), Uint8Array.from(bytes));
  }
});
afterAll(() => rm(folder, { recursive: true }));

function flat(name: keyof typeof GUESTS, ...more: string[]): string[] {
  return ["run", "-m", "16", "-kernel", path(name), "-load-address", "0x1000", ...more];
}

test("the manual's first guest says Hi and powers off", async () => {
  expect(await start(flat("hi")).ended).toEqual({ status: 0, signal: null, out: "Hi\n", err: "" });
});

test("consoles go to files", async () => {
  const log = join(folder, "log");
  expect(await start(flat("hi", "-serial", `file:${log}`)).ended).toMatchObject({ status: 0, out: "" });
  expect(await readFile(log, "utf8")).toBe("Hi\n");
  expect(await start(flat("debug", "-debugcon", "stdio")).ended).toMatchObject({ status: 0, out: "D" });
});

test("each ending has its exit status", async () => {
  expect(await start(flat("exit")).ended).toMatchObject({ status: 33 });
  expect(await start(flat("reset", "-no-reboot")).ended).toMatchObject({ status: 0 });
  const crash = await start(flat("crash")).ended;
  expect(crash.status).toBe(4);
  expect(crash.err).toMatch(/^vmexit: the guest crashed: .+\n$/);
});

test("what cannot be started is said in one line", async () => {
  const missing = await start(["run", "-kernel", join(folder, "none"), "-load-address", "0x1000"]).ended;
  expect(missing.status).toBe(1);
  expect(missing.err).toMatch(/^vmexit run: .*none.*\n$/);
  const typo = await start(flat("hi", "-drive", "file=root.img,fromat=qcow2")).ended;
  expect(typo.status).toBe(2);
  expect(typo.err).toContain('unknown key "fromat" (did you mean "format"?)');
});

test("the counters come at the end", async () => {
  const { err } = await start(flat("hi", "--stats")).ended;
  expect(err).toMatch(/^exits\.IO +4$/m);
  expect(err).toMatch(/^serials\.0\.bytesOut +3$/m);
});

test("an access that nobody answers is shown when asked for", async () => {
  await writeFile(join(folder, "unclaimed.bin"), Uint8Array.from([0xb0, 0x7b, 0xe6, 0x99, ...POWER_OFF]));
  const argv = [
    "run",
    "-kernel",
    join(folder, "unclaimed.bin"),
    "-load-address",
    "0x1000",
    "-trace",
    "unclaimed",
  ];
  expect((await start(argv).ended).err).toBe("vmexit: unclaimed: write of 1 at port 0x0099: 0x7b\n");
});

test("a pipe is a keyboard, and its end is not the guest's", async () => {
  const { child, says, ended } = start(flat("echo"));
  child.stdin.write("HAL\x01w");
  await says(">IBM\x02x");
  child.stdin.end("q");
  expect(await ended).toMatchObject({ status: 0, out: ">IBM\x02x" });
});

test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s ends a running guest at once", async (signal) => {
  const { child, says, ended } = start(flat("ready"));
  await says("ready");
  const sent = Date.now();
  child.kill(signal);
  expect(await ended).toMatchObject({ status: null, signal });
  expect(Date.now() - sent).toBeLessThan(5_000);
});

test("a signal ends a guest that waits for a reader of its output", async () => {
  const { child, ended } = start(flat("flood"));
  await once(child.stdout, "data");
  child.stdout.pause();
  await new Promise((resolve) => setTimeout(resolve, 500));
  child.kill("SIGTERM");
  child.stdout.resume();
  expect(await ended).toMatchObject({ signal: "SIGTERM" });
});

test("a reader that has seen enough ends the run", async () => {
  const { child, ended } = start(flat("flood"));
  await once(child.stdout, "data");
  child.stdout.destroy();
  expect(await ended).toMatchObject({ status: 141, err: "" });
});

test("a pseudo-terminal is announced in QEMU's words and connected to the guest", async () => {
  const { child, seen, ended } = start(flat("mirror", "-serial", "pty"));
  await once(child.stderr, "data");
  const [, name] = /^char device redirected to (\/dev\/pts\/\d+) \(label serial0\)\n$/.exec(seen.err) ?? [];
  const shell = start(
    ["-c", `exec 3<>${name}; printf HAL >&3; dd bs=1 count=3 <&3 2>/dev/null; printf q >&3; sleep 1`],
    { program: ["sh"] },
  );
  expect((await shell.ended).out).toBe("IBM");
  expect(await ended).toMatchObject({ status: 0 });
});

/** Runs the command on a terminal of its own, by script(1); then tells whether that is as it was before. */
function onTerminal(guest: keyof typeof GUESTS, ...nodeOptions: string[]): Child {
  const command = [process.execPath, ...nodeOptions, MAIN, ...flat(guest)]
    .map((word) => `'${word}'`)
    .join(" ");
  const lines = `before=$(stty -g); ${command}; echo "status $?"; [ "$(stty -g)" = "$before" ] && echo restored`;
  return start(["-qec", lines, "/dev/null"], { program: ["script"] });
}

test("on a terminal keys reach the guest unchanged, Ctrl-C too, and Ctrl-A x quits", async () => {
  const { child, says, ended } = onTerminal("echo");
  await says(">");
  child.stdin.write("\x02");
  await says("\x03");
  child.stdin.write("\x03");
  await says("\x04");
  child.stdin.write("\x01h");
  await says("Ctrl-A x");
  child.stdin.write("\x01x");
  const { out } = await ended;
  expect(out).toContain("vmexit: stopped by Ctrl-A x");
  expect(out).toContain("status 6");
  expect(out).toContain("restored");
});

test("the terminal is restored when the guest powers off", async () => {
  const { out } = await onTerminal("hi").ended;
  expect(out).toContain("status 0");
  expect(out).toContain("restored");
});

test("the terminal is restored after a signal and after a crash of the command itself", async () => {
  const late = (code: string) => `data:text/javascript,setTimeout(() => { ${code} }, 1000)`;
  const killed = await onTerminal("ready", "--import", late('process.kill(process.pid, "SIGTERM")')).ended;
  expect(killed.out).toContain("ready");
  expect(killed.out).toContain("status 143");
  expect(killed.out).toContain("restored");
  const thrown = await onTerminal("ready", "--import", late('throw new Error("a bug")')).ended;
  expect(thrown.out).toContain("Error: a bug");
  expect(thrown.out).toContain("status 1\r");
  expect(thrown.out).toContain("restored");
});

test("probe answers for this machine, in words and in JSON", async () => {
  const words = await start(["probe"]).ended;
  expect(words.out).toContain("API version      12");
  const json = await start(["probe", "--json"]).ended;
  const report = JSON.parse(json.out);
  expect(report).toMatchObject({ apiVersion: 12, device: { usable: true } });
  expect(json.status).toBe(report.ready ? 0 : 1);
  expect(words.status).toBe(json.status);
});
