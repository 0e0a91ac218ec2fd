/**
 * Tests a shell script that deletes files, as root, in 20 machines: one boots,
 * and each test gets a copy of it. Whatever the script deletes, the next test
 * has all of it again.
 *
 *     npm run example -- 07-script-in-forks [GUEST-FOLDER]
 *
 * In a project of your own, with vmexit and vitest, that is `npx vitest run`.
 * GUEST-FOLDER contains vmlinuz and initrd.img; `lab/guest/build` makes one.
 */
import { join } from "node:path";
import { expect } from "vitest";
import type { VirtualMachine } from "vmexit";
import { machineTest } from "vmexit/vitest";

/** Deletes all but the newest files of a folder: keep FOLDER COUNT. Is there a mistake in it? */
const KEEP = `
[ -d "$1" ] && [ "$2" -ge 0 ] || exit 2
cd "$1" || exit 2
ls -t | tail -n +$(($2 + 1)) | while IFS= read -r file; do rm -f -- "$file"; done
`;

const folder = process.env.VMEXIT_GUEST_DIR ?? "";

const test = machineTest({
  vm: {
    memory: "128M",
    kernel: join(folder, "vmlinuz"),
    initrd: join(folder, "initrd.img"),
    cmdline: "console=ttyS0 quiet",
  },
  ready: async (vm) => {
    await vm.serial.waitFor("login: ", { timeoutMs: 1_200_000 }); // an emulated host may be slow
    vm.serial.write("root\n");
    await vm.serial.waitFor("# ");
    vm.serial.write("stty -echo; PS1= PS2=\n");
    vm.serial.write(`cat >/keep <<'END'${KEEP}END\necho installed\n`);
    await vm.serial.waitFor(/^installed\r?\n/m);
  },
  bootTimeoutMs: 1_200_000,
});

/** Runs commands in the guest's shell, and returns what they print and their exit status. */
async function run(vm: VirtualMachine, commands: string): Promise<{ lines: string[]; status: number }> {
  vm.serial.write(`(${commands}); echo "status $?"\n`);
  const match = await vm.serial.waitFor(/([\s\S]*)status (\d+)\r?\n/, { timeoutMs: 300_000 });
  const lines = match[1].split(/\r?\n/).filter((line) => line !== "");
  return { lines, status: Number(match[2]) };
}

const KINDS: Record<string, string[]> = {
  "plain names": ["a", "b", "c"],
  "names with blanks": ["a a", " b", "c "],
  "names like options": ["-rf", "--help", "-"],
  "more files than a screen has lines": Array.from({ length: 40 }, (_, n) => `file${n}`),
};

for (const [kind, files] of Object.entries(KINDS)) {
  for (const count of [0, 1, 2, 3]) {
    test(`of ${kind}, the newest ${count} are kept`, async ({ vm }) => {
      const words = files.map((file) => `'./${file}'`).join(" ");
      // From the oldest to the newest.
      await run(vm, `mkdir /d; cd /d; t=1; for f in ${words}; do touch -d "@$t" "$f"; t=$((t+60)); done`);
      expect((await run(vm, `sh /keep /d ${count}`)).status).toBe(0);
      const { lines } = await run(vm, "ls -1 /d");
      expect(lines.sort()).toEqual(files.slice(files.length - count).sort());
    });
  }
}

for (const words of ["", "/nowhere 1", "/etc -1", "/etc/passwd 0"]) {
  test(`"keep ${words}" deletes nothing`, async ({ vm }) => {
    const before = await run(vm, "ls /etc");
    expect((await run(vm, `sh /keep ${words} 2>/dev/null`)).status).toBe(2);
    expect(await run(vm, "ls /etc")).toEqual(before);
  });
}
