import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import { PACKAGES } from "../../../scripts/setup-packages.mjs";

const LAB = join(import.meta.dirname, "../../../lab");
const scratch: string[] = [];
afterEach(() => {
  for (const folder of scratch.splice(0)) rmSync(folder, { recursive: true });
});

function shell(script: string, cache = "/nonexistent") {
  const command = `set -euo pipefail; . ${LAB}/kernel.sh; ${script}`;
  const result = spawnSync("bash", ["-c", command], { env: { ...process.env, VMEXIT_CACHE: cache } });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr.toString() };
}

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "vmexit-unit-"));
  scratch.push(made);
  return made;
}

/** As much of a bzImage as says where its payload is. */
function bzImage(payload: Buffer): string {
  const setupSects = 3;
  const image = Buffer.alloc((setupSects + 1) * 512 + 0x40 + payload.length + 100);
  image.writeUInt8(setupSects, 0x1f1);
  image.writeUInt32LE(0x40, 0x248);
  image.writeUInt32LE(payload.length, 0x24c);
  payload.copy(image, (setupSects + 1) * 512 + 0x40);
  const path = join(folder(), "vmlinuz");
  writeFileSync(path, image);
  return path;
}

function scripts(): string[] {
  return readdirSync(LAB, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path, "utf8").startsWith("#!"));
}

test("every script of the lab and its guest can be read by its shell", () => {
  expect(scripts().length).toBeGreaterThan(6);
  for (const path of scripts()) {
    const bash = readFileSync(path, "utf8").startsWith("#!/bin/bash");
    const [command, ...args] = bash ? ["bash", "-n"] : ["busybox", "sh", "-n"];
    const { status, stderr } = spawnSync(command, [...args, path], { encoding: "utf8" });
    expect.soft({ path, status, stderr }).toEqual({ path, status: 0, stderr: "" });
  }
});

test("set-up installs every package that a script of the lab asks for", () => {
  // Part of every Debian and Ubuntu.
  const essential = ["coreutils", "gzip", "util-linux"];
  const known = PACKAGES.map(({ name, command }) => `${command}:${name}`);
  // These commands come with others that are asked for by one name in the table.
  known.push("modprobe:kmod", "debugfs:e2fsprogs", "mkfs.ext2:e2fsprogs", "mkfs.ext3:e2fsprogs");
  known.push("grub-mkimage:grub-pc-bin");
  for (const path of scripts()) {
    for (const [, words = ""] of readFileSync(path, "utf8").matchAll(/^\s*need (.*)$/gm)) {
      for (const pair of words.split(" ").filter((word) => /^[\w.-]+:[\w.-]+$/.test(word))) {
        if (!essential.includes(pair.split(":")[1] ?? "")) expect.soft(known, path).toContain(pair);
      }
    }
  }
});

test("the kernel inside a bzImage comes out as it went in", () => {
  const kernel = Buffer.from("\x7fELF and all the rest");
  // A compressed kernel is followed by its size, which is not part of it.
  const payload = Buffer.concat([gzipSync(kernel), Buffer.from([kernel.length, 0, 0, 0])]);
  expect(shell(`unpack_kernel ${bzImage(payload)}`).stdout.toString("latin1")).toBe(
    kernel.toString("latin1"),
  );
});

test("a bzImage compressed in an unknown way is named", () => {
  const path = bzImage(Buffer.from("????"));
  const { status, stderr } = shell(`unpack_kernel ${path}`);
  expect(status).toBe(2);
  expect(stderr).toContain(`${path}: unknown kernel compression`);
});

/** apt with these packages: a name, what it depends on, and its files. A kernel of version 9.9. */
function fakeApt(packages: Record<string, { depends?: string[]; files: string[] }>) {
  const bin = folder();
  const archive = folder();
  for (const [name, { files }] of Object.entries(packages)) {
    const tree = join(folder(), name);
    mkdirSync(join(tree, "DEBIAN"), { recursive: true });
    const control = `Package: ${name}\nVersion: 9.9-1\nArchitecture: all\nMaintainer: nobody\nDescription: -\n`;
    writeFileSync(join(tree, "DEBIAN/control"), control);
    for (const file of files) {
      mkdirSync(join(tree, dirname(file)), { recursive: true });
      writeFileSync(join(tree, file), name);
    }
    const made = spawnSync("dpkg-deb", ["-b", tree, join(archive, `${name}.deb`)], { encoding: "utf8" });
    expect(made).toMatchObject({ status: 0 });
  }
  const recursive = Object.entries(packages).flatMap(([name, { depends = [] }]) => [
    name,
    ...depends.map((each) => `  Depends: ${each}`),
  ]);
  writeFileSync(
    join(bin, "apt-cache"),
    `#!/bin/sh
    for last in "$@"; do :; done
    case $1 in
      show) [ ! -e ${archive}/$last.deb ] || echo "Package: $last" ;;
      depends) printf '%s\n' ${recursive.map((line) => `'${line}'`).join(" ")} ;;
    esac`,
    { mode: 0o755 },
  );
  const download = `#!/bin/sh\nfor last in "$@"; do :; done\ncp ${archive}/$last.deb .`;
  writeFileSync(join(bin, "apt-get"), download, { mode: 0o755 });
  return bin;
}

const MODULES = ["kernel/fs/ext4.ko", "modules.builtin", "modules.builtin.modinfo", "modules.order"];

test.each([
  [
    "Debian 12",
    {
      "linux-image-amd64": { depends: ["linux-image-9.9"], files: [] },
      "linux-image-9.9": { files: ["boot/vmlinuz-9.9", ...MODULES.map((name) => `lib/modules/9.9/${name}`)] },
    },
    "linux-image-9.9",
  ],
  [
    "Debian 13",
    {
      "linux-image-amd64": { depends: ["linux-image-9.9"], files: [] },
      "linux-image-9.9": {
        files: ["boot/vmlinuz-9.9", ...MODULES.map((name) => `usr/lib/modules/9.9/${name}`)],
      },
    },
    "linux-image-9.9",
  ],
  [
    "Debian sid",
    {
      "linux-image-amd64": { depends: ["linux-base-amd64", "linux-image-9.9"], files: [] },
      "linux-image-9.9": { depends: ["linux-base-9.9", "linux-binary-9.9", "linux-modules-9.9"], files: [] },
      "linux-binary-9.9": { files: ["usr/lib/modules/9.9/vmlinuz"] },
      "linux-modules-9.9": { files: ["usr/lib/modules/9.9/kernel/fs/ext4.ko"] },
      "linux-base-9.9": { files: MODULES.slice(1).map((name) => `usr/lib/modules/9.9/${name}`) },
    },
    "linux-binary-9.9",
  ],
  [
    "Ubuntu",
    {
      "linux-image-amd64": { depends: ["linux-image-9.9"], files: [] },
      "linux-image-9.9": { files: ["boot/vmlinuz-9.9"] },
      "linux-modules-9.9": { files: MODULES.map((name) => `lib/modules/9.9/${name}`) },
    },
    "linux-image-9.9",
  ],
])("a kernel is found in its packages as %s lays them out", (_distribution, packages, from) => {
  const cache = folder();
  const script = `PATH=${fakeApt(packages)}:$PATH; depmod() { :; }
    kernel=$(fetch_kernel linux-image-amd64); cat "$kernel/version" "$(kernel_file "$kernel")"
    cd "$kernel/lib/modules/9.9" && ls kernel/fs modules.*`;
  const { stdout, stderr } = shell(script, cache);
  expect(stderr).not.toContain("no kernel");
  expect(stdout.toString()).toMatch(new RegExp(`^9\\.9\n${from}modules.*ext4\\.ko\n$`, "s"));
});

test("a kernel's packages without a kernel are named", () => {
  const empty = folder();
  const { status, stderr } = shell(`kernel_file ${empty}`);
  expect(status).toBe(2);
  expect(stderr).toContain(`there is no kernel in ${empty}`);
});

test("a missing command is named with the package to install", () => {
  const { status, stderr } = shell("need bash:bash no-such-command:no-such-package");
  expect(status).toBe(2);
  expect(stderr).toContain("apt-get install -y no-such-package");
});

test("builds are distinguished by their sources", () => {
  const path = join(folder(), "recipe");
  writeFileSync(path, "one");
  const first = shell(`key_of 6.1 ${path}`).stdout.toString();
  expect(first).toMatch(/^[0-9a-f]{12}\n$/);
  expect(shell(`key_of 6.2 ${path}`).stdout.toString()).not.toBe(first);
  writeFileSync(path, "two");
  expect(shell(`key_of 6.1 ${path}`).stdout.toString()).not.toBe(first);
});

test("one process at a time fills the cache, and the others say that they wait", () => {
  const cache = folder();
  const second = `bash -c '. ${LAB}/kernel.sh; lock_cache; cat ${cache}/done'`;
  const { stdout, stderr } = shell(
    `lock_cache; ${second} & sleep 0.5; echo first >${cache}/done; unlock_cache; wait`,
    cache,
  );
  expect(stdout.toString()).toBe("first\n");
  expect(stderr).toContain("waiting for another process");
});

test.each([
  [["--nope", "true"], "unknown option --nope"],
  [["--timeout"], "--timeout needs a value"],
  [[], "no command"],
])("a mistake in the lab's options %j is named, and no lab is started", (args, message) => {
  const { status, stderr } = spawnSync(join(LAB, "lab"), args, { encoding: "utf8" });
  expect(status).toBe(2);
  expect(stderr).toContain(message);
});
