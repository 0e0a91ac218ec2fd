/** Saved machines from the command line, with guests of a few bytes. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FOR_EVER, flatMachine, inByte, outByte, POWER_OFF, say } from "../support/flat-machine.ts";
import { MAIN, start as startProgram } from "../support/program.ts";
import { qemuCheck, qemuImg, qemuIo } from "../support/qemu-tools.ts";

/** Waits for a byte on COM1. */
const RECEIVE = [
  ...inByte(0x3fd), // in al, LSR
  ...[0xa8, 0x01, 0x74, 0xf8], // test al, DR; jz back
  ...inByte(0x3f8),
];
/** Prints ">", and after each byte the letters from A on, one more each time; at "q" it powers off. */
const LETTERS = [
  ...say(">"),
  ...[0xb3, 0x41], //              mov bl, 'A'
  ...RECEIVE, //            again: receive
  ...[0x3c, 0x71, 0x74, 0x0a], //  cmp al, 'q'; je off
  ...[0x88, 0xd8], //              mov al, bl
  ...[0xba, 0xf8, 0x03, 0xee], //  out COM1, al
  ...[0xfe, 0xc3], //              inc bl
  ...[0xeb, 0xe6], //              jmp again
  ...POWER_OFF, //            off:
];
const LOADED = ["-load-address", "0x1000"];

let folder: string;
let kernel: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-snapshot-command-"));
  kernel = join(folder, "letters.bin");
  writeFileSync(kernel, Uint8Array.from(LETTERS));
});
afterAll(() => rmSync(folder, { recursive: true }));

const start = (argv: readonly string[], program?: readonly string[]) =>
  startProgram(argv, { cwd: folder, program });
const command = (...argv: string[]) => start(argv).ended;
/** Saves in `dir` a machine that has printed ">". */
const save = (dir: string, ...more: string[]) =>
  command("snapshot", "save", dir, "-until", ">", "-m", "1", "-kernel", kernel, ...LOADED, ...more);

test("a machine is booted and saved, and continues in two other processes", async () => {
  const saved = await save("booted", "-name", "letters");
  expect(saved).toMatchObject({ status: 0, out: ">" });
  expect(saved.err).toMatch(/^\nvmexit: saved in .*booted \([\d.]+ KiB of RAM, paused for \d+ ms\)\n$/);
  for (let round = 0; round < 2; round++) {
    const { child, says, ended } = start(["run", "-loadvm", "booted"]);
    child.stdin.write("..");
    await says("AB");
    child.stdin.write("q");
    expect(await ended).toEqual({ status: 0, signal: null, out: "AB", err: "" });
  }
});

test("Ctrl-A s saves the machine of a console again and again", async () => {
  const words = [process.execPath, MAIN, "run", "-loadvm", "booted", "-savevm", "later"];
  const { child, says, ended } = start(
    ["-qec", words.map((word) => `'${word}'`).join(" "), "/dev/null"],
    ["script"],
  );
  child.stdin.write(".");
  await says("A");
  child.stdin.write("\x01s");
  await says("saved in");
  child.stdin.write(".");
  await says("\nB");
  child.stdin.write("\x01x");
  await ended;
  const next = start(["run", "-loadvm", "later"]);
  next.child.stdin.write(".");
  await next.says("B");
  next.child.stdin.write("q");
  expect(await next.ended).toMatchObject({ status: 0, out: "B" });
  // Without -savevm, in a folder of its own.
  const unnamed = start(
    [
      "-qec",
      words
        .slice(0, 5)
        .map((word) => `'${word}'`)
        .join(" "),
      "/dev/null",
    ],
    ["script"],
  );
  unnamed.child.stdin.write(".");
  await unnamed.says("A");
  unnamed.child.stdin.write("\x01s");
  await unnamed.says("saved in");
  unnamed.child.stdin.write("\x01x");
  await unnamed.ended;
  expect(readdirSync(folder).filter((name) => /^letters-\d{8}-\d{6}$/.test(name))).toHaveLength(1);
});

test("what is given besides has to be what the snapshot has", async () => {
  expect(await command("run", "-loadvm", "booted", "-m", "2")).toMatchObject({
    status: 1,
    err: expect.stringMatching(/^vmexit run: .*booted: it is of another machine, .* ram\[0\]\.size is .*\n$/),
  });
  expect((await command("run", "-loadvm", "booted", "-drive", "file=x,format=raw")).err).toMatch(
    /has 0 drives/,
  );
  expect(await command("run", "-loadvm", "nowhere")).toMatchObject({
    status: 1,
    err: expect.stringMatching(/^vmexit run: .*nowhere.* cannot be read: .*\n$/),
  });
});

test("a folder of snapshots is listed, each is shown, verified and deleted", async () => {
  mkdirSync(join(folder, "all"));
  for (const name of ["all/one", "all/two"]) await save(name, "-name", "letters");
  const listed = await command("snapshot", "list", "all");
  expect(listed.out).toMatch(
    /^SNAPSHOT +MACHINE +MEMORY +CPUS +ON DISK +SAVED\nall\/one +letters +1 MiB +1 +\d.* KiB +\d{4}-.*\nall\/two .*\n$/,
  );
  const json = JSON.parse((await command("snapshot", "list", "-json", "all")).out);
  expect(json[0]).toMatchObject({ path: "all/one", name: "letters", memory: 1 << 20, cpus: "1" });
  expect((await command("snapshot", "show", "all/one")).out).toMatch(
    /^snapshot +all\/one\nmachine +letters, a microvm whose kernel was started as flat\nsaved /,
  );
  expect(await command("snapshot", "verify", "all/one", "all/two")).toMatchObject({
    status: 0,
    out: "all/one: no errors were found\nall/two: no errors were found\n",
  });
  truncateSync(join(folder, "all/two/ram"), 4096);
  expect(await command("snapshot", "verify", "all/one", "all/two")).toMatchObject({
    status: 1,
    out: "all/one: no errors were found\n",
    err: expect.stringMatching(/two\/ram: it has 4096 bytes/),
  });
  expect(await command("snapshot", "delete", "all/one", "all/two")).toMatchObject({ status: 0, err: "" });
  expect(readdirSync(join(folder, "all"))).toEqual([]);
});

test("no other folder is deleted", async () => {
  const other = join(folder, "thesis");
  mkdirSync(other);
  writeFileSync(join(other, "thesis.txt"), "");
  expect(await command("snapshot", "delete", "thesis")).toMatchObject({
    status: 1,
    err: "vmexit snapshot delete: thesis: it is not a snapshot: it has no machine.json\n",
  });
  writeFileSync(join(other, "machine.json"), "{}");
  expect((await command("snapshot", "delete", "thesis")).err).toMatch(/"thesis\.txt" is in it/);
  expect(existsSync(join(other, "thesis.txt"))).toBe(true);
});

test("a snapshot that another one continues is not deleted without it", async () => {
  mkdirSync(join(folder, "chain"));
  await using vm = await flatMachine(FOR_EVER);
  await vm.start();
  for (const name of ["whole", "next"]) await vm.snapshot({ dir: join(folder, "chain", name), diff: true });
  expect(await command("snapshot", "delete", "chain/whole")).toMatchObject({
    status: 1,
    err: expect.stringMatching(/chain\/whole: .*chain\/next continues it, .*: delete both\n$/),
  });
  expect(await command("snapshot", "delete", "chain/whole", "chain/next")).toMatchObject({
    status: 0,
    err: "",
  });
  expect(readdirSync(join(folder, "chain"))).toEqual([]);
});

test("the machine of a guest that ends first is not saved", async () => {
  const hi = join(folder, "hi.bin");
  writeFileSync(hi, Uint8Array.from([...say("Hi"), ...outByte(0x80, 0), ...POWER_OFF]));
  expect(
    await command("snapshot", "save", "never", "-until", "login:", "-kernel", hi, ...LOADED),
  ).toMatchObject({
    status: 1,
    out: "Hi",
    err: expect.stringContaining('the guest ended before it printed "login:"'),
  });
  expect(existsSync(join(folder, "never"))).toBe(false);
  const late = await command(
    "snapshot",
    "save",
    "never",
    "-until",
    "?",
    "-timeout",
    "0.5",
    "-kernel",
    kernel,
    ...LOADED,
  );
  expect(late).toMatchObject({ status: 1, err: expect.stringContaining('no "?" within 500 ms') });
});

test("inside a qcow2 image, disk and machine are saved together, and -loadvm takes the name", async () => {
  const image = join(folder, "disk.qcow2");
  qemuImg("create", "-q", "-f", "qcow2", image, "8M");
  qemuIo(image, ["write -P 7 0 64k"]);
  const drive = ["-drive", `file=${image},format=qcow2`];
  expect(await save("disk:inside", "-name", "letters", ...drive)).toMatchObject({
    status: 0,
    err: expect.stringMatching(/saved in .*disk\.qcow2 /),
  });
  expect(readdirSync(folder).filter((name) => name.startsWith(".vmexit"))).toEqual([]);
  expect((await command("img", "snapshot", "-l", image)).out).toMatch(/1 +inside +[\d.]+ (KiB|MiB) /);
  expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  expect((await command("img", "check", image)).out).toMatch(/^No errors were found/);
  qemuIo(image, ["write -P 8 0 64k"]);
  for (let round = 0; round < 2; round++) {
    const { child, says, ended } = start(["run", "-loadvm", "inside", ...drive]);
    child.stdin.write("..");
    await says("AB");
    child.stdin.write("q");
    expect(await ended).toEqual({ status: 0, signal: null, out: "AB", err: "" });
    qemuIo(image, ["read -P 7 0 64k"]); // as it was
  }
  expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  expect((await command("run", "-loadvm", "other", ...drive)).err).toMatch(/there is no snapshot "other"/);
  qemuImg("snapshot", "-c", "disk-alone", image);
  expect((await command("run", "-loadvm", "disk-alone", ...drive)).err).toMatch(/has a disk alone/);
  expect((await save("disk:x", "-drive", `file=${image},format=raw`)).err).toMatch(/not in a qcow2 image/);
  expect((await save("disk:x")).err).toMatch(/there is no drive in a qcow2 image/);
});
