/** The serial console under Linux' own driver: interrupts and FIFOs instead of a loop that polls. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { bootMs, logIn, type } from "../support/guest.ts";

// In the lab interrupts from one CPU to another can get lost (docs/lab.md). On one CPU there are none.
if (process.env.VMEXIT_LAB !== undefined) execFileSync("taskset", ["-a", "-c", "-p", "1", `${process.pid}`]);

const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");

/** Letters in which a lost, doubled or moved piece shows. */
const letters = (length: number) =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => 0x61 + ((i ^ (i >>> 8)) % 26)));

test("what is pasted into a guest arrives whole", async () => {
  await using vm = await logIn();
  const pasted = letters(32_768);
  vm.serial.write("stty raw -echo; echo ready; head -c 32768 | md5sum; stty sane\n");
  await vm.serial.waitFor(/\nready\r?\n/, { timeoutMs: bootMs() });
  const before = vm.stats().serials[0].bytesIn;
  await new Promise((resolve) => vm.serial.write(pasted, resolve));
  expect(vm.stats().serials[0].bytesIn - before).toBe(pasted.length);
  await vm.serial.waitFor(md5(pasted), { timeoutMs: bootMs() });
});

test("what a guest prints arrives whole, past a reader that lags", async () => {
  // A UART that is never busy keeps Linux in its interrupt handler; where each byte takes long, its watchdogs say so.
  await using vm = await logIn({ cmdline: "nosoftlockup rcupdate.rcu_cpu_stall_suppress=1" });
  const length = 65_536;
  await type(vm, "yes 0123456789abcde | head -c 65536 >/tmp/text");
  const chunks: Buffer[] = [];
  vm.serial.write("stty -onlcr; echo '['; cat /tmp/text; echo ']'\n");
  let text = "";
  while (!text.endsWith("]\n# ")) {
    const chunk: Buffer | null = vm.serial.read();
    if (chunk === null) await once(vm.serial, "readable");
    else {
      chunks.push(chunk);
      text = Buffer.concat(chunks.slice(-3)).toString();
      await sleep(20);
    }
  }
  const printed = Buffer.concat(chunks).toString();
  const begin = printed.lastIndexOf("[\n") + 2;
  expect(printed.slice(begin, -4)).toBe("0123456789abcde\n".repeat(length / 16));
  expect(vm.stats().serials[0].dropped).toBe(0);
});
