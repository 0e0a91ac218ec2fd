/** A pool of restored machines, with guests of a few bytes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createPool, SnapshotError } from "vmexit";
import { ECHO, flatMachine, say } from "../support/flat-machine.ts";

let folder: string;
let snapshot: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-pool-"));
  snapshot = join(folder, "echo");
  await using vm = await flatMachine([...say(">"), ...ECHO]);
  await vm.start();
  await vm.serial.waitFor(">");
  await vm.snapshot({ dir: snapshot });
});
afterAll(() => rmSync(folder, { recursive: true }));

test("forty machines, four at a time, each from the same place", async () => {
  await using pool = await createPool({
    snapshot,
    ready: 4,
    limit: 8,
    restore: (n) => ({ name: `echo${n}` }),
    onTake: (vm, n) => void vm.serial.write(`<${n}>`),
  });
  expect(pool.ready).toBe(4);
  const names: string[] = [];
  const taker = async () => {
    for (let round = 0; round < 10; round++) {
      await using vm = await pool.take();
      await vm.serial.waitFor(`<${vm.name.slice("echo".length)}>`);
      names.push(vm.name);
    }
  };
  await Promise.all([taker(), taker(), taker(), taker()]);
  expect(names.sort()).toEqual(Array.from({ length: 40 }, (_, n) => `echo${n}`).sort());
});

test("a pool of what is not a snapshot is refused at once", async () => {
  await expect(createPool({ snapshot: folder, ready: 4 })).rejects.toThrow(SnapshotError);
});

test("a taker gets a machine that waits at once, and its replacement comes later", async () => {
  await using pool = await createPool({ snapshot, ready: 2 });
  await using vm = await pool.take();
  expect([vm.state, pool.ready]).toEqual(["running", 1]);
  vm.serial.write("now");
  await vm.serial.waitFor("now");
  await expect.poll(() => pool.ready).toBe(2);
});
