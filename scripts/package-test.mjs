/**
 * Tests the package as its users get it: packs it, checks what is in it, and installs it with npm 12 under
 * each version of Node, on a root file system that has no compiler, no make and no python3.
 *
 *   npm test -- package
 *
 * The root file system is a few of Debian's packages, unpacked. It runs by chroot in a mount namespace, in a
 * user namespace of its own where the user is not root. Downloads are kept in the cache (VMEXIT_CACHE).
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cached, fromRegistry, NODES, nodeFolder } from "./node-versions.mjs";
import { hostKvm, inLab, root } from "./setup.mjs";
import { noTests } from "./test-results.mjs";

const NPM = "12";
const MOST_BYTES = 6 * 2 ** 20;
/** What sh and Node need. */
const DEBS = ["base-files", "libc6", "libgcc-s1", "libstdc++6", "libatomic1", "dash", "coreutils"];
const LIBRARIES = ["libselinux1", "libpcre2-8-0", "libacl1", "libattr1", "libgmp10"];

/** A guest of two instructions, by the library; TypeScript, which Node 22.18 and later run as it is. */
const PROGRAM = `import { createVm, type VirtualMachine } from "vmexit";

const kernel = Uint8Array.of(0xb0, 0x00, 0xe6, 0xf4); // mov al, 0; out 0xf4, al: the debug exit
const vm: VirtualMachine = await createVm({ memory: "1M", kernel, loadAddress: 0x1000 });
await vm.start();
const { reason } = await vm.exited;
await vm.close();
console.log("ended:", reason);
`;

function bareRoot() {
  return cached("bare-root-2", (folder) => {
    const debs = mkdtempSync(join(tmpdir(), "vmexit-debs-"));
    const download = () =>
      execFileSync("apt-get", ["download", "-q", ...DEBS, ...LIBRARIES], {
        cwd: debs,
        stdio: ["ignore", 2, 2],
      });
    try {
      download();
    } catch {
      // On a new machine the package lists are missing or old.
      execFileSync("apt-get", ["update", "-q"], { stdio: ["ignore", 2, 2] });
      download();
    }
    // As Debian and Ubuntu lay it out since 2021: /bin and /lib are links into /usr.
    for (const name of ["bin", "lib", "lib64", "sbin"]) {
      mkdirSync(join(folder, "usr", name), { recursive: true });
      execFileSync("ln", ["-s", `usr/${name}`, join(folder, name)]);
    }
    for (const name of readdirSync(debs)) {
      const tar = execFileSync("dpkg-deb", ["--fsys-tarfile", join(debs, name)], { maxBuffer: 2 ** 28 });
      execFileSync("tar", ["-x", "--keep-directory-symlink", "-C", folder], { input: tar });
    }
    for (const name of ["proc", "dev", "tmp", "project", "root"])
      mkdirSync(join(folder, name), { recursive: true });
    rmSync(debs, { recursive: true });
  });
}

/**
 * How npm reaches the registry here, for npm in the bare root: a proxy, another registry or certificate
 * authority. `NAME=VALUE`, and the file with the authority's certificates.
 */
function registrySettings() {
  const setting = (name) => execFileSync("npm", ["config", "get", name], { encoding: "utf8" }).trim();
  const settings = Object.entries(process.env).filter(([name]) => /^npm_config_|_proxy$/i.test(name));
  const variables = settings.map(([name, value]) => `${name}=${value}`);
  variables.push(`npm_config_registry=${setting("registry")}`);
  const authority = setting("cafile");
  if (!existsSync(authority)) return { variables };
  variables.push("npm_config_cafile=/project/ca.pem");
  return { variables, authority };
}

/** The command that runs `script` in `sh` in the bare root, with `project` as /project and Node `node`. */
function inRoot(bare, project, node, variables, script) {
  const program = nodeFolder(node);
  const npm = join(fromRegistry("npm", NPM), "node_modules/npm");
  const inside = [
    "set -e",
    `cd "$1"`,
    "PATH=$PATH:/usr/sbin; chroot=$(command -v chroot)",
    "mount --rbind /dev dev; mount --rbind /proc proc; mount -t tmpfs none tmp",
    `mkdir -p tmp/node tmp/npm; mount --bind "$2" tmp/node; mount --bind "$3" tmp/npm; mount --bind "$4" project; shift 4`,
    `mkdir -p tmp/bin; printf '#!/bin/sh\\nexec node /tmp/npm/bin/npm-cli.js "$@"\\n' >tmp/bin/npm`,
    `printf '#!/bin/sh\\nexec node /tmp/npm/bin/npx-cli.js "$@"\\n' >tmp/bin/npx; chmod +x tmp/bin/*`,
    `exec env -i PATH=/tmp/bin:/tmp/node:/usr/bin HOME=/tmp "$@" "$chroot" . sh -ec "cd /project; $SCRIPT"`,
  ];
  const asRoot = process.getuid?.() === 0 ? [] : ["--map-root-user"];
  return [
    ...["env", `SCRIPT=${script}`, "unshare", ...asRoot, "--mount", "--propagation", "private"],
    ...["sh", "-c", inside.join("\n"), "sh", bare, program, npm, project, ...variables],
  ];
}

/** What must be true of the package's file. @returns {string[]} what is not */
function faultsOf(tarball) {
  const names = execFileSync("tar", ["-tzf", tarball], { encoding: "utf8" }).trim().split("\n");
  const expected =
    /^package\/(package\.json|LICENSE|README(\.zh-CN)?\.md|dist\/.*|prebuilds\/linux-x64\/vmexit\.node)$/;
  const { scripts = {} } = JSON.parse(
    execFileSync("tar", ["-xzOf", tarball, "package/package.json"], { encoding: "utf8" }),
  );
  const bytes = statSync(tarball).size;
  return [
    ...names
      .filter((name) => !expected.test(name) || /tsbuildinfo|\.map$/.test(name))
      .map((name) => `it has ${name}`),
    ...["package/dist/licenses.txt", "package/prebuilds/linux-x64/vmexit.node", "package/dist/bundle/main.js"]
      .filter((name) => !names.includes(name))
      .map((name) => `it lacks ${name}`),
    ...["preinstall", "install", "postinstall"]
      .filter((name) => name in scripts)
      .map((name) => `it has a ${name} script`),
    ...(bytes > MOST_BYTES ? [`it has ${bytes} bytes; ${MOST_BYTES} are the most`] : []),
  ];
}

/** Runs a command; returns what it printed, or throws an error with it. */
function output(command, options = {}) {
  const { status, stdout, stderr } = spawnSync(command[0], command.slice(1), {
    encoding: "utf8",
    cwd: root,
    ...options,
  });
  if (status !== 0) throw new Error(`exit status ${status}\n${stdout}${stderr}`);
  return `${stdout}${stderr}`;
}

/** @returns {import("./test-results.mjs").Counts} */
export function packageTest() {
  const counts = noTests();
  const test = (what, body) => {
    try {
      body();
      counts.passed++;
      console.log(` ✓ ${what}`);
    } catch (error) {
      counts.failed++;
      console.log(` × ${what}: ${error.message}`);
    }
  };
  const scratch = mkdtempSync(join(tmpdir(), "vmexit-package-"));
  try {
    output(["npm", "pack", "--pack-destination", scratch]);
    const [name] = readdirSync(scratch);
    const tarball = join(scratch, name);
    test("holds what users need, within 6 MiB, and runs no script", () => {
      const faults = faultsOf(tarball);
      if (faults.length > 0) throw new Error(faults.join("; "));
    });
    test("publint finds nothing", () => output(["npx", "publint", "--strict", tarball]));
    test("its types resolve as its code does", () =>
      output(["npx", "attw", "--profile", "esm-only", tarball]));
    test("the addon of two builds is the same, byte for byte", () => {
      const addon = join(root, "prebuilds/linux-x64/vmexit.node");
      const before = readFileSync(addon);
      rmSync(addon);
      output(["npm", "run", "prebuild"]);
      if (!before.equals(readFileSync(addon))) throw new Error("they differ");
    });
    const bare = bareRoot();
    const { variables, authority } = registrySettings();
    for (const node of NODES) {
      const project = join(scratch, `node-${node}`);
      mkdirSync(project);
      cpSync(tarball, join(project, "vmexit.tgz"));
      if (authority !== undefined) cpSync(authority, join(project, "ca.pem"));
      writeFileSync(join(project, "package.json"), '{ "private": true, "type": "module" }\n');
      writeFileSync(join(project, "program.ts"), PROGRAM);
      writeFileSync(
        join(project, "program.js"),
        PROGRAM.replace(", type VirtualMachine", "").replace(": VirtualMachine", ""),
      );
      // npm 12 itself needs Node 22.
      const npm = node < 22 ? 24 : node;
      test(`Node ${node}: npm ${NPM} installs it without compiler, make and python3`, () => {
        for (const tool of ["gcc", "cc", "make", "python3"]) {
          if (existsSync(join(bare, "usr/bin", tool))) throw new Error(`the root file system has ${tool}`);
        }
        const shared = ["resolv.conf", "hosts", "nsswitch.conf"].filter((file) =>
          existsSync(join("/etc", file)),
        );
        for (const file of shared) cpSync(join("/etc", file), join(bare, "etc", file), { dereference: true });
        const printed = output(
          inRoot(bare, project, npm, variables, "npm install --no-audit --no-fund ./vmexit.tgz"),
        );
        if (/script/i.test(printed)) throw new Error(`it speaks of scripts:\n${printed}`);
      });
      // npx comes with npm 12, which needs Node 22.
      const vmexit = node < 22 ? "node node_modules/vmexit/dist/bundle/main.js" : "npx vmexit";
      const typed = node >= 22 ? "node --disable-warning=ExperimentalWarning program.ts; " : "";
      const script = `node program.js; ${typed}${vmexit} demo entry-exit`;
      test(`Node ${node}: a program, the same in TypeScript, and a demo run`, () => {
        const command = inRoot(bare, project, node, variables, script);
        const printed = output(hostKvm().opens ? command : inLab(["--no-tty", "-n"], command));
        const ended = printed.match(/ended: \S+/g) ?? [];
        if (ended.length !== (node >= 22 ? 2 : 1)) throw new Error(printed);
        if (!printed.includes("exits: all, including those")) throw new Error(printed);
      });
    }
  } catch (error) {
    counts.failed++;
    console.log(` × the package: ${error.message}`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return counts;
}
