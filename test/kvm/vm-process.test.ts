/** Programs that end while their guests run: whatever ends a program ends its guests, at once. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { patience } from "../../lab/patience.mjs";
import { ECHO, FLOOD, FOR_EVER, flatOptions, POWER_OFF, say } from "../support/flat-machine.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** How long a program may take to end, on a machine that does other things besides. */
const PROMPTLY_MS = 30_000;

const GUESTS = {
  /** Computes, and never leaves the guest. */
  busy: [...say("!"), ...FOR_EVER],
  /** Leaves the guest all the time, for a console that nobody reads. */
  flood: FLOOD,
  /** Polls its receiver. */
  echo: [...say("!"), ...ECHO],
  off: [...say("!"), ...POWER_OFF],
};

/**
 * A program that makes `count` machines and starts them; then `rest` runs, with
 * `machines` and `vm`, the first one.
 */
function program(guest: keyof typeof GUESTS, rest: string, count = 1) {
  const { memory, loadAddress } = flatOptions([]);
  const source = `
    import { createVm } from "vmexit";
    const kernel = Uint8Array.from(${JSON.stringify(GUESTS[guest])});
    const make = () => createVm({ memory: "${memory}", kernel, loadAddress: ${loadAddress}, cpus: 2 });
    const machines = await Promise.all(Array.from({ length: ${count} }, make));
    const [vm] = machines;
    const start = async () => {
      for (const each of machines) await each.start();
      while (machines.some((each) => each.stats().totalExits === 0)) await new Promise((r) => setTimeout(r, 5));
      console.log("running");
    };
    ${rest}`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", source], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const seen = { out: "", err: "" };
  child.stderr.on("data", (data) => {
    seen.err += data;
  });
  const running = new Promise<void>((resolve) => {
    child.stdout.on("data", (data) => {
      seen.out += data;
      if (seen.out.includes("running\n")) resolve();
    });
  });
  const ended = once(child, "close").then(([status, signal]: (number | string | null)[]) => {
    return { status, signal, ...seen };
  });
  /** How it ended, and how long after it ran. */
  const end = async () => {
    await Promise.race([running, ended]);
    const since = Date.now();
    const result = await ended;
    expect(Date.now() - since, `${result.out}${result.err}`).toBeLessThan(patience(PROMPTLY_MS));
    return result;
  };
  return { child, running, end };
}

for (const guest of ["busy", "flood", "echo"] as const) {
  test(`process.exit() ends a program whose guests are at work: ${guest}`, async () => {
    const { end } = program(guest, "await start(); process.exit(3);", 2);
    expect(await end()).toMatchObject({ status: 3, signal: null, err: "" });
  });

  test.each(["SIGINT", "SIGTERM", "SIGKILL"] as const)(
    `%s ends a program whose guest is at work: ${guest}`,
    async (signal) => {
      const { child, running, end } = program(guest, "await start();");
      await running;
      child.kill(signal);
      expect(await end()).toMatchObject({ status: null, signal, err: "" });
    },
  );

  test(`an uncaught exception ends a program whose guest is at work: ${guest}`, async () => {
    const { end } = program(
      guest,
      `await start(); setTimeout(() => { throw new Error("my own mistake"); });`,
    );
    const { status, signal, err } = await end();
    expect({ status, signal }).toEqual({ status: 1, signal: null });
    expect(err).toContain("my own mistake");
  });
}

test("a handler of SIGINT may close its machines and leave", async () => {
  const { child, running, end } = program(
    "busy",
    `process.once("SIGINT", async () => { await vm.close(); console.log(vm.state); }); await start();`,
  );
  await running;
  child.kill("SIGINT");
  expect(await end()).toEqual({ status: 0, signal: null, out: "running\nexited\n", err: "" });
});

test("a program ends by itself once its guest is off, whether it closes the machine or not", async () => {
  const { end } = program("off", "await start(); console.log((await vm.exited).reason);");
  expect(await end()).toEqual({ status: 0, signal: null, out: "running\npoweroff\n", err: "" });
});

test("a running guest keeps its program, as a server does; a stopped one does not", async () => {
  const { end } = program("busy", "setTimeout(() => vm.stop(), 1_000); await start();");
  expect(await end()).toEqual({ status: 0, signal: null, out: "running\n", err: "" });
});

test("a machine that was never started does not keep its program", async () => {
  const { end } = program("busy", `console.log("made");`);
  expect(await end()).toEqual({ status: 0, signal: null, out: "made\n", err: "" });
});

test("process.exit() in the middle of making, pausing and stopping machines ends the program", async () => {
  for (const rest of [
    "await start(); vm.pause(); process.exit(3);",
    "await start(); vm.stop(); process.exit(3);",
    "make(); make(); process.exit(3);",
    "await start(); vm.reset(); process.exit(3);",
  ]) {
    expect(await program("flood", rest).end()).toMatchObject({ status: 3, signal: null, err: "" });
  }
});

test("process.exit() while the threads of a machine still start ends the program", async () => {
  for (let ms = 20; ms < 120; ms += 10) {
    // Too busy to notice anything, as a program at its end may be.
    const rest = `make(); for (const start = Date.now(); Date.now() - start < ${ms}; ); process.exit(3);`;
    expect(await program("busy", rest, 3).end()).toMatchObject({ status: 3, signal: null, err: "" });
  }
}, 200_000);
