/**
 * `vmexit/vitest`: tests that each have a machine of their own, which has booted.
 *
 * The machine boots once for a test file, and each test gets a fork: what it does
 * to its guest, no other test sees. With `cache`, the booted machine is kept as a
 * snapshot, and later files and runs continue from it.
 *
 * Source: vitest.dev, "Test Context" (test.extend).
 */
import { createHash } from "node:crypto";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, test as base, beforeAll, type TestAPI } from "vitest";
import {
  createVm,
  type ForkOptions,
  restoreVm,
  SnapshotError,
  type VirtualMachine,
  type VmOptions,
} from "./index.ts";

export interface MachineTestOptions {
  /** The machine, as for createVm. A drive has to be read-only, or to have `snapshot: true`. */
  readonly vm: VmOptions;
  /** Waits until the machine has booted, in the state in which each test finds it. */
  readonly ready: (vm: VirtualMachine) => unknown;
  /** What that may take. Default: 120 000. Tests have time limits of their own. */
  readonly bootTimeoutMs?: number;
  /** A folder for snapshots of booted machines. */
  readonly cache?: string;
  /** How the machines of tests are made, as for vm.fork. */
  readonly fork?: ForkOptions;
}

/** What a test takes from its context. */
export interface MachineFixture {
  /** A machine of this test alone, which runs. It ends with the test. */
  readonly vm: VirtualMachine;
}

const BOOT_TIMEOUT_MS = 120_000;

/**
 * The `test` function of a file whose tests need that machine:
 * `test("…", async ({ vm }) => …)`. To be called at the file's top level.
 */
export function machineTest(options: MachineTestOptions): TestAPI<MachineFixture> {
  const { bootTimeoutMs = BOOT_TIMEOUT_MS } = options;
  let booted: VirtualMachine | undefined;
  beforeAll(async () => {
    booted = await bootedMachine(options);
  }, bootTimeoutMs);
  afterAll(() => booted?.close());
  return base.extend<MachineFixture>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads from the pattern what a fixture needs
    vm: async ({}, use) => {
      if (booted === undefined) throw new Error("the machine of this file has not booted");
      const [vm] = await booted.fork(1, options.fork);
      try {
        await vm.resume();
        await use(vm);
      } finally {
        await vm.close();
      }
    },
  });
}

/** Paused, where `ready` left it. */
async function bootedMachine({ vm: options, ready, cache }: MachineTestOptions): Promise<VirtualMachine> {
  const dir = cache === undefined ? undefined : join(cache, cacheName(options, ready));
  if (dir !== undefined) {
    const kept = await restored(dir, options);
    if (kept !== undefined) return kept;
  }
  const vm = await createVm(options);
  try {
    await vm.start();
    await ready(vm);
    await vm.pause();
    if (cache !== undefined && dir !== undefined) {
      mkdirSync(cache, { recursive: true });
      await vm.snapshot({ dir });
    }
    return vm;
  } catch (error) {
    await vm.close();
    throw error;
  }
}

/** Undefined for a snapshot that is not there, or fits neither this host nor these drives any more. */
async function restored(dir: string, options: VmOptions): Promise<VirtualMachine | undefined> {
  const { memoryBacking: _memory, cpu: _cpu, ...more } = options; // what a snapshot has of its own
  try {
    return await restoreVm(dir, more);
  } catch (error) {
    if (error instanceof SnapshotError) return undefined;
    throw error;
  }
}

/** Another one whenever anything differs of which the booted machine is made. */
function cacheName(options: VmOptions, ready: MachineTestOptions["ready"]): string {
  const hash = createHash("sha256");
  const { kernel, initrd, drives = [] } = options;
  const shown = JSON.stringify(options, (_, value: unknown) => (ArrayBuffer.isView(value) ? null : value));
  hash.update(`${ready}\n${shown}\n`);
  for (const from of [kernel, initrd, ...drives.map(({ file }) => file)]) {
    if (typeof from === "string") hash.update(`${from} ${stateOf(from)}\n`);
    else if (from !== undefined) hash.update(from);
  }
  return `${options.name ?? "vm"}-${hash.digest("hex").slice(0, 16)}`;
}

function stateOf(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? "is not a file" : `${stat.size} ${stat.mtimeNs}`;
}
