/** The command lab/lab with a script in place of QEMU, which reports what a lab reports and then falls silent. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

const LAB = join(import.meta.dirname, "../../../lab/lab");
const LIMIT_MS = 60_000;
/** Seconds without a heartbeat that are a hang; a real lab has 60. Far more than a busy machine makes of 0.5. */
const HANG_TIMEOUT = 8;
const scratch: string[] = [];
afterAll(() => {
  for (const folder of scratch.splice(0)) rmSync(folder, { recursive: true });
});

/** The folder that the lab reports into, and its kernel's console, as QEMU's arguments name them. */
const FIND = `
for word in "$@"; do
  case $word in
    local,path=*,mount_tag=control,*) control=\${word#local,path=} control=\${control%%,*} ;;
    file,id=console,path=*) console=\${word##*path=} ;;
  esac
done
beat() { for name in "$@"; do echo >"$control/beat.$name"; done; }
up() { beat 0 1 work; echo 1 >"$control/up"; }
end() { echo "$1" >"$control/status"; exit; }
`;

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

/** lab/lab with `script` as its emulator, and no input. */
function lab(script: string, ...options: string[]) {
  return labWithInput(script, "-n", ...options);
}

async function labWithInput(script: string, ...options: string[]) {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-unit-"));
  scratch.push(folder);
  const bin = join(folder, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "qemu-system-x86_64"), `#!/bin/bash\n${FIND}\n${script}`, { mode: 0o755 });
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env.PATH}`,
    STARTS: join(folder, "starts"),
    VMEXIT_LAB_HANG_TIMEOUT: `${HANG_TIMEOUT}`,
    VMEXIT_LAB_BOOT_TIMEOUT: "2",
  };
  const began = Date.now();
  const command = options.includes("--") ? [] : ["true"];
  const words = ["--no-tty", ...options, ...command];
  return await new Promise<Ended>((resolve) => {
    const child = execFile(LAB, words, { timeout: LIMIT_MS, env }, (_error, stdout, stderr) =>
      resolve({ status: child.exitCode, stdout, stderr, seconds: (Date.now() - began) / 1000 }),
    );
  });
}

test.concurrent("several words are a command and its arguments, as they are", {
  timeout: LIMIT_MS,
}, async () => {
  const words = ["a b", "$HOME", "'\"", "*"];
  const { status, stdout } = await lab(
    `up; bash "$control/command" >&7; end $?`,
    "--",
    "printf",
    "<%s>",
    ...words,
  );
  expect({ status, stdout }).toEqual({ status: 0, stdout: words.map((word) => `<${word}>`).join("") });
});

test.concurrent("a lab whose parts all beat is left alone until its command ends", {
  timeout: LIMIT_MS,
}, async () => {
  const { status, stderr } = await lab(`up; for i in {1..25}; do beat 0 1 work; sleep 0.5; done; end 9`);
  expect(stderr).not.toContain("hung");
  expect(status).toBe(9);
});

test.concurrent.each([
  ["its CPU 1", "0 work"],
  ["its CPU 0", "1 work"],
  ["its kernel's work items", "0 1"],
])(
  "a lab that lacks the heartbeat of %s has hung, although the rest beats",
  {
    timeout: LIMIT_MS,
  },
  async (what, alive) => {
    const { status, stderr } = await lab(`up; while :; do beat ${alive}; sleep 0.5; done`);
    expect(stderr).toMatch(new RegExp(`the lab hung \\(no heartbeat of ${what} for \\d+ s\\)`));
    expect(status).toBe(125);
  },
);

test.concurrent.each([
  // Linux 6.1: what bench blk raw-cached randread came to, with its heartbeat going on.
  "INFO: task khugepaged:33 blocked for more than 60 seconds.",
  // Linux 7.2
  "INFO: task jbd2/vda-8:77 blocked in I/O wait for more than 60 seconds.",
  "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
  "rcu: INFO: rcu_preempt self-detected stall on CPU",
  "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 5254 jiffies s: 69 root: 0x2/.",
  "rcu: rcu_preempt kthread starved for 5252 jiffies! g1 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=0",
  "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 33s!",
  "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [node:812]",
])("a lab whose kernel reports `%s` has hung", { timeout: LIMIT_MS }, async (line) => {
  const { status, stderr } = await lab(
    `up; echo '[  122.1] ${line}' >>"$console"; while :; do beat 0 1 work; sleep 0.5; done`,
  );
  expect(stderr).toContain("the lab hung (its kernel reports: ");
  expect(status).toBe(125);
});

test.concurrent("a lab with input that does not come up at first is started again", {
  timeout: LIMIT_MS,
}, async () => {
  const { status, stderr } = await labWithInput(`
    echo >>"$STARTS"
    if [ $(wc -l <"$STARTS") = 1 ]; then exec sleep 60; fi
    up; end 4`);
  expect(stderr).toContain("the lab did not come up in 2 s (attempt 1 of 3)");
  expect(stderr).not.toContain("mkfifo");
  expect(status).toBe(4);
});

test.concurrent("a lab that hung is started again as often as asked, and its end is the command's", {
  timeout: LIMIT_MS,
}, async () => {
  const { status, stderr } = await lab(
    `echo >>"$STARTS"; up
    [ "$(wc -l <"$STARTS")" -lt 3 ] || end 0
    echo 'INFO: task a:1 blocked for more than 60 seconds.' >>"$console"; exec sleep 60`,
    ...["--retries", "2"],
  );
  expect(stderr).toContain("starting again (2 of 2)");
  expect(status).toBe(0);
});

test.concurrent("a lab that does not come up gets twice the time at each further attempt", {
  timeout: LIMIT_MS,
}, async () => {
  const { status, stderr } = await lab(
    `echo >>"$STARTS"; [ "$(wc -l <"$STARTS")" = 3 ] || exec sleep 60; sleep 5; up; end 3`,
  );
  expect(stderr).toContain("did not come up in 2 s (attempt 1 of 3)");
  expect(stderr).toContain("did not come up in 4 s (attempt 2 of 3)");
  expect(status).toBe(3);
});

test.concurrent("a time limit lasts longer where the lab is slower", { timeout: LIMIT_MS }, async () => {
  const { status, stderr, seconds } = await lab(
    `up; echo 400 >"$control/slowness"; while :; do beat 0 1 work; sleep 0.5; done`,
    ...["--timeout", "2"],
  );
  expect(stderr).toContain("longer than 2 s");
  expect(seconds).toBeGreaterThan(6);
  expect(status).toBe(124);
});
