/** The command by its names of QEMU, in the bundle that is installed. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { aliasOf, qemuStatus, signalText } from "../../../src/cli/alias.ts";

const MAIN = fileURLToPath(new URL("../../../dist/bundle/main.js", import.meta.url));
const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));

let folder = "";
let bin = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-alias-"));
  bin = join(folder, "bin");
  mkdirSync(bin);
  const { stdout, status } = install(bin);
  expect({ status, lines: stdout.split("\n").length }).toEqual({ status: 0, lines: 6 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function install(dir: string) {
  return spawnSync(process.execPath, [MAIN, "install-aliases", dir], { encoding: "utf8" });
}

function run(name: string, ...argv: string[]) {
  const { stdout, stderr, status } = spawnSync(join(bin, name), argv, { encoding: "utf8", cwd: folder });
  return { stdout, stderr, status };
}

test("a program that asks for the version reads one of QEMU", () => {
  expect(run("qemu-system-x86_64", "-version").stdout).toBe(
    `QEMU emulator version 11.1.3 (vmexit ${version})\n`,
  );
  expect(run("kvm", "--version").stdout).toMatch(/^QEMU emulator version 11\.1\.3 /);
  expect(run("qemu-img", "--version").stdout).toMatch(/^qemu-img version 11\.1\.3 /);
  expect(run("qemu-nbd", "-V").stdout).toMatch(/^qemu-nbd version 11\.1\.3 /);
});

test("errors begin with the name and have QEMU's status", () => {
  expect(run("qemu-system-x86_64", "-nosuch")).toEqual({
    stdout: "",
    stderr: "qemu-system-x86_64: -nosuch: invalid option\n",
    status: 1,
  });
  expect(run("qemu-kvm", "-smp", "3,cores=2").stderr).toBe(
    "qemu-kvm: -smp 3,cores=2: Invalid CPU topology: product of the hierarchy must match maxcpus: " +
      "sockets (1) * dies (1) * modules (1) * cores (2) * threads (1) != maxcpus (3)\n",
  );
});

test("help is of the name", () => {
  expect(run("qemu-system-x86_64", "-h").stdout).toMatch(
    /^usage: qemu-system-x86_64 \[options\] \[disk_image\]$/m,
  );
  const { stdout } = run("qemu-img", "--help");
  expect(stdout).toContain("qemu-img [-h|--help]");
  expect(stdout).not.toContain("vmexit img");
});

test("qemu-img works as it is known", () => {
  const created = run("qemu-img", "create", "-f", "qcow2", "a.qcow2", "1M");
  expect(created.stdout).toMatch(/^Formatting 'a.qcow2', fmt=qcow2 /);
  expect(run("qemu-img", "info", "a.qcow2").stdout).toMatch(/^image: a.qcow2\nfile format: qcow2\n/);
  const missing = run("qemu-img", "info", "none.qcow2");
  expect({ status: missing.status, begins: missing.stderr.startsWith("qemu-img: ") }).toEqual({
    status: 1,
    begins: true,
  });
});

test("what is there already and not an alias is left", () => {
  const other = join(folder, "other");
  mkdirSync(other);
  writeFileSync(join(other, "kvm"), "");
  const { stderr, status } = install(other);
  expect(stderr).toBe(
    `vmexit install-aliases: ${join(other, "kvm")} is there already, and is not an alias of this command; nothing was changed\n`,
  );
  expect(status).toBe(1);
  expect(install(bin)).toMatchObject({ status: 0, stdout: "" });
});

test("the plain command is not an alias", () => {
  expect(aliasOf(MAIN)).toBeUndefined();
  expect(execFileSync(process.execPath, [MAIN, "version"], { encoding: "utf8" })).toBe(`vmexit ${version}\n`);
});

test("ends that QEMU counts as good have status 0, and a wrong command line 1", () => {
  expect(
    ["SIGTERM", 6, 0].map((outcome) => qemuStatus(outcome === "SIGTERM" ? outcome : Number(outcome))),
  ).toEqual([0, 0, 0]);
  expect([2, 4, 85].map(qemuStatus)).toEqual([1, 4, 85]);
  expect(signalText({ name: "kvm", runs: "run" }, "SIGTERM")).toBe("kvm: terminating on signal 15\n");
});
