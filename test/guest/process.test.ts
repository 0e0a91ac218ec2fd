/** The monitor's process may end at any time: nothing flushed is lost, and no guest keeps it alive. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { expect, test } from "vitest";
import { patience } from "../../lab/patience.mjs";
import { bootMs, guestFile, Scratch } from "../support/guest.ts";

const COMMAND = new URL("../../dist/bundle/main.js", import.meta.url).pathname;
const PROMPT_MS = 10_000; // on an idle machine

type Monitor = ChildProcessByStdio<null, Readable, null>;

/** The command, with a guest that runs `script`. */
function monitor(script: string, ...options: string[]): Monitor {
  const append = `console=ttyS0 quiet vmexit.run=${Buffer.from(script).toString("base64")}`;
  const images = ["-kernel", guestFile("vmlinuz"), "-initrd", guestFile("initrd.img")];
  const args = [COMMAND, "run", "-m", "256", ...images, "-append", append, "-nographic", ...options];
  return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
}

/** Resolves with everything printed so far once `pattern` is in it. */
function printed(child: Monitor, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => reject(new Error(`no ${pattern} in:\n${text}`)), bootMs());
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (!pattern.test(text)) return;
      clearTimeout(timer);
      resolve(text);
    });
    child.once("exit", () => reject(new Error(`the monitor ended; it printed:\n${text}`)));
  });
}

/** How it ended, and within a time that says it did so at once. */
async function ended(child: Monitor): Promise<{ code: number | null; signal: string | null }> {
  const timer = setTimeout(() => child.kill("SIGKILL"), patience(PROMPT_MS));
  const [code, signal] = await once(child, "exit");
  clearTimeout(timer);
  return { code, signal };
}

test("kill -9 while a guest writes loses no record that it had flushed", async () => {
  using scratch = new Scratch();
  const file = scratch.path("disk.img");
  writeFileSync(file, Buffer.alloc(1 << 20));
  const child = monitor(
    `i=0; while :; do
       printf 'record %06d' $i | dd of=/dev/vda bs=512 seek=$i conv=sync,fsync 2>/dev/null && echo flushed $i
       i=$((i+1))
     done`,
    "-drive",
    `file=${file},format=raw,if=virtio`,
  );
  const text = await printed(child, /flushed 30\r/);
  child.kill("SIGKILL");
  expect(await ended(child)).toEqual({ code: null, signal: "SIGKILL" });
  const last = Number(
    text
      .match(/flushed (\d+)\r/g)
      ?.at(-1)
      ?.match(/\d+/)?.[0],
  );
  expect(last).toBeGreaterThanOrEqual(30);
  const disk = readFileSync(file);
  for (let i = 0; i <= last; i++) {
    expect(disk.toString("latin1", i * 512, i * 512 + 13)).toBe(`record ${String(i).padStart(6, "0")}`);
  }
});

test.each(["SIGINT", "SIGTERM"] as const)("%s ends a process with a busy guest at once", async (signal) => {
  const child = monitor("echo busy; while :; do :; done", "-smp", "2");
  await printed(child, /busy/);
  child.kill(signal);
  expect(await ended(child)).toEqual({ code: null, signal });
});

test("a program that throws with a guest running ends at once", async () => {
  const program = `
    import { createVm } from "vmexit";
    const vm = await createVm({ memory: "256M", kernel: ${JSON.stringify(guestFile("vmlinuz"))},
      initrd: ${JSON.stringify(guestFile("initrd.img"))}, cmdline: "console=ttyS0 quiet" });
    await vm.start();
    await vm.serial.waitFor("vmexit: init", { timeoutMs: ${bootMs()} });
    console.log("up");
    throw new Error("on purpose");`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    cwd: new URL("../..", import.meta.url).pathname,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const monitorLike = child as unknown as Monitor;
  const up = printed(monitorLike, /up/);
  await up;
  expect(await ended(monitorLike)).toEqual({ code: 1, signal: null });
});
