/** The lab itself, booted. It needs no KVM, but qemu-system-x86_64 and some patience. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const LAB = join(import.meta.dirname, "../../../lab/lab");
const PATIENCE = 900_000; // reached only by a hang, also on a busy machine

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
    echo wrong >&2
    echo kept >/out/result
    cat /sys/kernel/mm/transparent_hugepage/shmem_enabled
    exit 7`;
  try {
    const { status, stdout, stderr } = lab(["--cwd", tmpdir(), "--share", share, command], "typed\nand more");
    expect(stdout).toContain(`1\n${tmpdir()}\ntyped\nand more`);
    expect(stdout).toContain("[advise]");
    expect(stdout).not.toContain("wrong");
    expect(stderr).toContain("wrong\n"); // beside what the lab says of its first start, for example
    expect(status).toBe(7);
    expect(readFileSync(join(share, "result"), "utf8")).toBe("kept\n");
  } finally {
    rmSync(share, { recursive: true });
  }
});

test("a lab with a CPU that carries nothing out any more has hung, though its other CPU goes on", {
  timeout: PATIENCE,
}, () => {
  // A process that no other gets past: neither the CPU's heartbeat nor a work item on it.
  const spin = "exec chrt -f 99 taskset -c 1 bash -c 'while :; do :; done'";
  const { status, stderr } = spawnSync(
    LAB,
    ["--no-tty", "-n", "--smp", "2", "--mem", "1G", `echo -1 >/proc/sys/kernel/sched_rt_runtime_us; ${spin}`],
    { encoding: "utf8", timeout: PATIENCE, env: { ...process.env, VMEXIT_LAB_HANG_TIMEOUT: "15" } },
  );
  expect(stderr).toMatch(/the lab hung \(no heartbeat of its (CPU 1|kernel's work items)/);
  expect(status).toBe(125);
});

test("a lab that dies is distinguished from its command that fails, and started again if asked", {
  timeout: PATIENCE,
}, () => {
  const { status, stdout, stderr } = lab([
    "-n",
    "--retries",
    "1",
    "echo here; sleep 1; echo b >/proc/sysrq-trigger; sleep 60",
  ]);
  expect(stdout).toBe("here\nhere\n");
  expect(stderr).toContain("starting again (1 of 1)");
  expect(status).toBe(125);
});
