/** The lab itself, booted. It needs no KVM, but qemu-system-x86_64 and some patience. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const LAB = join(import.meta.dirname, "../../../lab/lab");
const PATIENCE = 300_000;

function lab(args: string[], input?: string) {
  return spawnSync(LAB, ["--no-tty", "--smp", "1", "--mem", "1G", ...args], {
    encoding: "utf8",
    timeout: PATIENCE,
    ...(input === undefined ? {} : { input }),
  });
}

test("a command in the lab has KVM, this checkout, its streams, a folder for results and its own status", {
  timeout: PATIENCE,
}, () => {
  const share = mkdtempSync(join(tmpdir(), "vmexit-unit-"));
  const command = `
    test -c /dev/kvm && grep -cw svm /proc/cpuinfo
    test -e ${LAB} && pwd
    cat
    echo told >&2
    echo kept >/out/result
    cat /sys/kernel/mm/transparent_hugepage/shmem_enabled
    exit 7`;
  try {
    const { status, stdout, stderr } = lab(["--cwd", tmpdir(), "--share", share, command], "typed\nand more");
    expect(stdout).toContain(`1\n${tmpdir()}\ntyped\nand more`);
    expect(stdout).toContain("[advise]");
    expect(stdout).not.toContain("told");
    expect(stderr).toContain("told\n"); // beside what the lab says of its first start, for example
    expect(status).toBe(7);
    expect(readFileSync(join(share, "result"), "utf8")).toBe("kept\n");
  } finally {
    rmSync(share, { recursive: true });
  }
});

test("several words are a command and its arguments, as they are", { timeout: PATIENCE }, () => {
  const words = ["a b", "$HOME", "'\"", "*"];
  expect(lab(["-n", "printf", "<%s>", ...words]).stdout).toBe(words.map((word) => `<${word}>`).join(""));
});

test("a command that takes too long ends with status 124", { timeout: PATIENCE }, () => {
  const { status, stderr } = lab(["-n", "--timeout", "20", "sleep 600"]);
  expect(stderr).toContain("longer than 20 s");
  expect(status).toBe(124);
});

test("a lab that dies is told apart from its command, and started over if asked", {
  timeout: PATIENCE,
}, () => {
  const { status, stdout, stderr } = lab([
    "-n",
    "--retries",
    "1",
    "echo here; sleep 1; echo b >/proc/sysrq-trigger; sleep 60",
  ]);
  expect(stdout).toBe("here\nhere\n");
  expect(stderr).toContain("starting over (1 of 1)");
  expect(status).toBe(125);
});
