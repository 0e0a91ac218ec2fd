import { expect, test } from "vitest";
import { OptionError } from "../../../src/base/errors.ts";
import { MachinePool, type PooledMachine, type PoolSettings } from "../../../src/vm/machine-pool.ts";
import { StateError } from "../../../src/vm/vm-error.ts";

class FakeMachine implements PooledMachine {
  readonly n: number;
  readonly exited: Promise<unknown>;
  state = "paused";
  #end: (value?: unknown) => void = () => {};

  constructor(n: number) {
    this.n = n;
    this.exited = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  async resume(): Promise<void> {
    this.state = "running";
  }
  async close(): Promise<void> {
    this.state = "exited";
    this.#end();
  }
}

const turns = () => new Promise((resolve) => setTimeout(resolve, 20));

/** A pool, the machines that it made, and whether it can make more. */
async function pooled(settings: PoolSettings<FakeMachine>) {
  const made: FakeMachine[] = [];
  const host = { failure: undefined as Error | undefined };
  const pool = await MachinePool.filled(async (n) => {
    if (host.failure !== undefined) throw host.failure;
    const machine = new FakeMachine(n);
    made.push(machine);
    return machine;
  }, settings);
  return { pool, made, host };
}

test("machines wait, are handed out running in their order, and are replaced", async () => {
  const { pool, made } = await pooled({ ready: 2 });
  expect([pool.ready, pool.taken, made.map(({ state }) => state)]).toEqual([2, 0, ["paused", "paused"]]);
  const first = await pool.take();
  expect([first.n, first.state]).toEqual([0, "running"]);
  await turns();
  expect([pool.ready, pool.taken, made.length]).toEqual([2, 1, 3]);
  await first.close();
  await turns();
  expect([pool.ready, pool.taken, made.length]).toEqual([2, 0, 3]);
});

test("more takers than machines that wait are served in their order", async () => {
  const { pool } = await pooled({ ready: 1 });
  const taken = await Promise.all(Array.from({ length: 5 }, () => pool.take()));
  expect(taken.map(({ n }) => n)).toEqual([0, 1, 2, 3, 4]);
});

test("at the limit, a taker waits until a machine ends", async () => {
  const { pool, made } = await pooled({ ready: 1, limit: 2 });
  const [first] = [await pool.take(), await pool.take()];
  const third = pool.take();
  await turns();
  expect([made.length, pool.ready, pool.taken]).toEqual([2, 0, 2]);
  await first.close();
  expect((await third).n).toBe(2);
});

test("a machine that cannot be made fails those who wait for it, and is tried again", async () => {
  const errors: unknown[] = [];
  const { pool, host } = await pooled({ ready: 1, onError: (error) => errors.push(error) });
  host.failure = new Error("there is no memory");
  await pool.take();
  await turns();
  expect([errors, pool.ready]).toEqual([[host.failure], 0]);
  const waiting = [pool.take(), pool.take()];
  for (const each of waiting) await expect(each).rejects.toThrow("there is no memory");
  expect(errors).toHaveLength(1);
  host.failure = undefined;
  expect((await pool.take()).state).toBe("running");
  await turns();
  expect([pool.ready, pool.taken]).toEqual([1, 2]);
});

test("a pool whose first machines cannot be made is not made, and leaves none behind", async () => {
  const made: FakeMachine[] = [];
  const making = MachinePool.filled(
    async (n) => {
      if (n === 2) throw new Error("there is no memory");
      made.push(new FakeMachine(n));
      return made[n];
    },
    { ready: 4 },
  );
  await expect(making).rejects.toThrow("there is no memory");
  expect(made.map(({ state }) => state)).toEqual(["exited", "exited"]);
});

test("the hook has a machine before it continues; if it fails, so does take, and the machine ends", async () => {
  const states: string[] = [];
  const { pool, made } = await pooled({
    onTake: ({ state }, n) => {
      states.push(`${n} ${state}`);
      if (n === 1) throw new Error("the hook failed");
    },
  });
  await pool.take();
  await expect(pool.take()).rejects.toThrow("the hook failed");
  await turns();
  expect([states, made[1].state, pool.taken]).toEqual([["0 paused", "1 paused"], "exited", 1]);
});

test("close ends machines that wait, refuses takers, and leaves what was taken", async () => {
  const { pool, made } = await pooled({ ready: 2, limit: 3 });
  const taken = [await pool.take(), await pool.take(), await pool.take()];
  const waiting = expect(pool.take()).rejects.toThrow(StateError);
  await taken[0].close();
  await pool.close();
  await waiting;
  await expect(pool.take()).rejects.toThrow("take(): the pool was closed");
  await turns();
  const running = taken.slice(1);
  expect(running.map(({ state }) => state)).toEqual(["running", "running"]);
  expect(made.filter((each) => !running.includes(each)).map(({ state }) => state)).not.toContain("paused");
});

test.each([{ ready: -1 }, { ready: 1.5 }, { limit: 0 }, { ready: 3, limit: 2 }])(
  "%j is refused",
  async (settings) => {
    await expect(pooled(settings)).rejects.toThrow(OptionError);
  },
);
