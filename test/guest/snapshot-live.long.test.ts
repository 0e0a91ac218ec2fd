/** Linux that is saved while it runs, goes back to marks, and knows when it is a copy. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { restoreVm } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { continuesExactly, SCRIPT, TROUBLE } from "../support/checksum-guest.ts";
import { bootMs, Scratch, ScriptGuest } from "../support/guest.ts";
import { random } from "../support/random.ts";

/** Snapshots of one guest. */
const ROUNDS = Number(process.env.VMEXIT_SNAPSHOT_ROUNDS ?? "3");

/** Of a machine that runs: each has two snapshots, and a mark. */
const LIVE_ROUNDS = Math.ceil(ROUNDS / 3);
/** Of one test, with a guest that boots. */
const TIMEOUT_MS = patience(300_000 + 10_000 * ROUNDS);

/**
 * A kernel with the driver of the VM generation ID, which Debian 12 leaves out of the kernel for clouds that
 * the guest has. The one of the lab has it.
 */
function kernelThatReseeds(): string | undefined {
  const kernels = join(dirname(process.env.VMEXIT_GUEST_DIR ?? ""), "kernel");
  for (const name of readdirSync(kernels)) {
    const boot = join(kernels, name, "boot");
    const config = existsSync(boot)
      ? readdirSync(boot).find((file) => file.startsWith("config-"))
      : undefined;
    if (config === undefined || !/^CONFIG_VMGENID=y$/m.test(readFileSync(join(boot, config), "utf8")))
      continue;
    return join(boot, config.replace("config-", "vmlinuz-"));
  }
  return undefined;
}

const kernel = kernelThatReseeds();

const machines = [{ machine: "microvm" }, { machine: "pc" }] as const;

test.skipIf(kernel === undefined).each(machines)(
  "forks and restored copies of a $machine reseed their random numbers",
  async ({ machine }) => {
    using scratch = new Scratch();
    const said = "crng reseeded due to virtual machine fork";
    const script = `
echo "ready now"; read what
[ "$what" = parent ] || until dmesg | grep -q "${said}"; do sleep 0.1; done
echo "random $(head -c 16 /dev/urandom | md5sum)"; dmesg | grep -c "${said}"`;
    await using guest = await ScriptGuest.start(script, {
      machine,
      memory: "128M",
      ...(kernel && { kernel }),
    });
    const { vm } = guest;
    await vm.serial.waitFor("ready now", { timeoutMs: bootMs() });
    await vm.pause();
    const dir = scratch.path("snapshot");
    await vm.snapshot({ dir });
    const copies = [...(await vm.fork(3)), await restoreVm(dir), await restoreVm(dir)];
    const numbers: string[] = [];
    for (const each of [vm, ...copies]) {
      await each.resume();
      each.serial.write(each === vm ? "parent\n" : "copy\n");
      const [, number, times] = await each.serial.waitFor(/random (\w{32}) .*\s+(\d)/, {
        timeoutMs: bootMs(),
      });
      expect(times).toBe(each === vm ? "0" : "1");
      numbers.push(number);
      await each.stop();
    }
    expect(new Set(numbers).size).toBe(6);
  },
);

test(
  `a PC with 2 CPUs: ${ROUNDS} snapshots at random moments change nothing`,
  () => continuesExactly(ROUNDS, { machine: "pc", cpus: 2, rng: true, balloon: true }),
  TIMEOUT_MS,
);

/** What a machine printed from one moment to another, without the lines that were cut there. */
interface Piece {
  /** The least and the greatest number with which it may begin. */
  readonly from: number;
  readonly to: number;
  text: string;
}

/** The sum that SCRIPT prints with number `n`. */
function sumAt(n: number): number {
  let sum = 0;
  for (let i = 1; i <= n; i++) sum = (sum * 31 + i) % 1_000_003;
  return sum;
}

function checkPiece({ from, to, text }: Piece): number {
  const lines = text.replaceAll("\r", "").split("\n").slice(1, -1);
  expect(lines.join("\n")).not.toMatch(TROUBLE);
  const numbers = lines.flatMap((line) => /^n (\d+) (\d+) ([\d.]+)$/.exec(line)?.slice(1).map(Number) ?? []);
  expect(numbers.length).toBeGreaterThan(0);
  expect(numbers[0]).toBeGreaterThanOrEqual(from);
  expect(numbers[0]).toBeLessThanOrEqual(to);
  let uptime = 0;
  for (let at = 0; at < numbers.length; at += 3) {
    const n = numbers[0] + at / 3;
    expect(numbers.slice(at, at + 2)).toEqual([n, sumAt(n)]);
    expect(numbers[at + 2]).toBeGreaterThanOrEqual(uptime);
    uptime = numbers[at + 2];
  }
  return numbers.length / 3;
}

test(`Linux goes back to ${LIVE_ROUNDS} marks, and is saved while it runs, ${LIVE_ROUNDS} times`, {
  timeout: TIMEOUT_MS,
}, async () => {
  using scratch = new Scratch();
  const drives = [{ file: scratch.rootDisk(), format: "raw", snapshot: true }] as const;
  const guest = await ScriptGuest.start(SCRIPT, { cpus: 2, memory: "128M", drives });
  let vm = guest.vm;
  const pieces: Piece[] = [{ from: 1, to: 3, text: "" }];
  const watch = () =>
    vm.serial.on("data", (chunk: Buffer) => {
      (pieces.at(-1) ?? pieces[0]).text += chunk.toString();
    });
  watch();
  /** The number that was printed last. */
  const last = () =>
    Number([...(pieces.at(-1)?.text ?? "").matchAll(/n (\d+) \d+ [\d.]+\r?\n/g)].at(-1)?.[1] ?? 0);
  const more = async (than: number) => {
    await expect.poll(last, { timeout: bootMs() }).toBeGreaterThan(than);
  };
  const stopped = async () => {
    await vm.pause();
    await sleep(100); // what is in the ring
  };
  await more(2);
  const next = random(9);
  for (let round = 0; round < LIVE_ROUNDS; round++) {
    await stopped();
    const marked = last();
    await vm.mark();
    await vm.resume();
    await sleep(next() * 1000);
    await more(marked + 1);
    await stopped();
    await vm.rewind();
    pieces.push({ from: marked + 1, to: marked + 2, text: "" }); // the line at the mark is cut
    await vm.resume();
    await more(marked + 1);
    await sleep(next() * 1000);
    await vm.snapshot({ dir: scratch.path(`base-${round}`), stop: false, diff: true });
    await sleep(next() * 500);
    const before = last();
    const dir = scratch.path(`live-${round}`);
    await vm.snapshot({ dir, stop: false, diff: true });
    await stopped();
    const after = last();
    await vm.stop();
    vm = await restoreVm(dir, { drives });
    pieces.push({ from: before + 1, to: after + 2, text: "" });
    watch();
    await vm.resume();
    await more(before);
  }
  const found = pieces.length;
  await expect.poll(() => pieces.at(-1)?.text, { timeout: bootMs() }).toContain("disk good");
  await vm.stop();
  expect(pieces.map(checkPiece)).toHaveLength(found);
});
