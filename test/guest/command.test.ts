/** The command and the examples, as a user runs them. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { bootMs, guestFile, Scratch } from "../support/guest.ts";
import { talk as talkFor } from "../support/talk.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Runs a program; each time `[text, answer]` comes up in its output, in order, types the answer. */
const talk = (args: string[], dialogue: readonly (readonly [string, string])[]) =>
  talkFor(args, dialogue, 1.5 * bootMs());

test("vmexit run: log in over pipes, power off, exit status 0", async () => {
  using scratch = new Scratch();
  const disk = scratch.rootDisk();
  const { status, output } = await talk(
    [
      ...["dist/bundle/main.js", "run", "-m", "256", "-smp", "2", "-name", "test"],
      ...["-kernel", guestFile("vmlinuz"), "-initrd", guestFile("initrd.img")],
      ...["-append", "console=ttyS0 quiet root=/dev/vda"],
      ...["-drive", `file=${disk},format=raw,if=virtio`, "-nographic", "-no-reboot"],
    ],
    [
      ["login: ", "root\n"],
      ["# ", "nproc; hostname\n"],
      ["# ", "poweroff\n"],
    ],
  );
  expect(output).toMatch(/\n2\r\nvmexit\r\n/);
  expect(status).toBe(0);
});

test("vmexit run: status 4 and the kernel's words after a panic", async () => {
  const { status, output } = await talk(
    [
      ...["dist/bundle/main.js", "run", "-kernel", guestFile("vmlinuz"), "-m", "256", "-nographic"],
      ...["-append", "console=ttyS0 quiet panic=-1"],
    ],
    [],
  );
  expect(output).toMatch(/Kernel panic - not syncing: VFS/);
  expect(status).toBe(4);
});

test("vmexit probe finds that Linux guests can run here", () => {
  const { status, stdout } = spawnSync(process.execPath, ["dist/bundle/main.js", "probe", "--json"], {
    cwd: root,
    encoding: "utf8",
  });
  expect(JSON.parse(stdout)).toMatchObject({ ready: true, kvm: "hardware" });
  expect(status).toBe(0);
});

test("example 02 boots Linux, talks to it and turns it off", async () => {
  const { status, output } = await talk(
    ["build/tools/examples/02-boot-linux.js", process.env.VMEXIT_GUEST_DIR ?? ""],
    [],
  );
  expect(output).toMatch(/vm: poweroff/);
  expect(output).toMatch(/ttyS0/);
  expect(status).toBe(0);
});

test("example 07 tests a shell script in 20 forks", async () => {
  const vitest = ["node_modules/vitest/vitest.mjs", "run", "--project", "example", "--no-color"];
  const { status, output } = await talk([...vitest, "examples/07-script-in-forks.test.ts"], []);
  expect(output).toMatch(/Tests +20 passed/);
  expect(status).toBe(0);
});

test("example 05 boots kernel, initramfs and disk in the shape of CirrOS to a login", async () => {
  using scratch = new Scratch();
  const files = [guestFile("vmlinuz"), guestFile("initrd.img"), scratch.rootDisk(), "--write"];
  const { status, output } = await talk(["build/tools/examples/05-boot-cirros.js", ...files], []);
  expect(output).toContain("CirrOS is up.");
  expect(status).toBe(0);
});
