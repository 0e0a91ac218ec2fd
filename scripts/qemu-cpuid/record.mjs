/**
 * Records the CPUID that QEMU gives its guests, of every CPU model, for
 * test/unit/machine/cpu/. Needs QEMU 11.1, a C compiler and a /dev/kvm (a software one will do).
 *
 *   node scripts/qemu-cpuid/record.mjs [--root DIR] OUTPUT-FOLDER
 *
 * `--root DIR`: QEMU is in that root file system, which has a /dev/kvm.
 *
 * Without hardware for all features QEMU would leave some out. `x-force-features=on` keeps them, and
 * `vendor=` the vendor, which is the host's otherwise. Leaf 0xD is the host's all the same. What is recorded
 * is the argument of KVM_SET_CPUID2: a guest's own CPUID can have what a KVM adds.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const TOPOLOGIES = [
  "8,sockets=2,cores=2,threads=2",
  "6,sockets=1,dies=2,cores=3,threads=1",
  "3,cores=3",
  "1,sockets=1,cores=2,threads=1,maxcpus=2",
];
const WITH_TOPOLOGY =
  /^(qemu64|SandyBridge|EPYC|EPYC-Genoa|Dhyana|SapphireRapids|YongFeng|pentium3|phenom|coreduo|GraniteRapids|SierraForest|EPYC-Turin|ClearwaterForest)-v[1678]$/;

const words = process.argv.slice(2);
const root = words[0] === "--root" ? words.splice(0, 2)[1] : "/";
const [output] = words;
const here = import.meta.dirname;
const folder = mkdtempSync(join(root, "tmp", "qemu-cpuid-"));
const inside = folder.slice(root === "/" ? 0 : root.length);
execFileSync("gcc", ["-shared", "-fPIC", "-O1", "-o", join(folder, "shim.so"), join(here, "shim.c"), "-ldl"]);

/** Runs QEMU, which ends at once. */
function qemu(options, input, environment = []) {
  const command = ["env", ...environment, "qemu-system-x86_64", ...options];
  const [program, ...rest] = root === "/" ? command : ["chroot", root, ...command];
  return spawnSync(program, rest, { input, encoding: "utf8", timeout: 20_000, maxBuffer: 2 ** 28 });
}

const PAUSED = ["-M", "pc", "-S", "-nodefaults", "-display", "none"];

/** Name, vendor and features of every model, by QMP. */
function models() {
  const ask = (...commands) => {
    const all = [{ execute: "qmp_capabilities" }, ...commands, { execute: "quit" }];
    const { stdout } = qemu(
      ["-accel", "tcg", ...PAUSED, "-qmp", "stdio"],
      all.map((each) => JSON.stringify(each)).join("\n"),
    );
    const lines = stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
    return lines.filter((line) => "return" in line || "error" in line).slice(1, 1 + commands.length);
  };
  const [{ return: all }] = ask({ execute: "query-cpu-definitions" });
  const names = all
    .map(({ name }) => name)
    .filter((name) => /-v\d+$/.test(name))
    .sort(byVersion);
  const expanded = ask(
    ...names.map((name) => ({
      execute: "query-cpu-model-expansion",
      arguments: { type: "full", model: { name } },
    })),
  );
  return names.map((name, n) => ({ name, vendor: expanded[n].return.model.props.vendor }));
}

function byVersion(a, b) {
  const [, nameA, versionA] = /^(.*)-v(\d+)$/.exec(a);
  const [, nameB, versionB] = /^(.*)-v(\d+)$/.exec(b);
  if (nameA !== nameB) return nameA < nameB ? -1 : 1;
  return versionA - versionB;
}

/** The leaves of each CPU that are not all zero, but for KVM's own. */
function cpuid({ name, vendor }, smp) {
  const log = join(folder, "log");
  rmSync(log, { force: true });
  const cpu = `${name},vendor=${vendor},x-force-features=on`;
  const { stderr } = qemu(
    ["-accel", "kvm", ...PAUSED, "-monitor", "stdio", "-cpu", cpu, "-smp", smp],
    "q\n",
    [`LD_PRELOAD=${inside}/shim.so`, `CPUID_LOG=${inside}/log`],
  );
  let text;
  try {
    text = readFileSync(log, "utf8");
  } catch {
    throw new Error(`${name}: no CPUID was set\n${stderr}`);
  }
  return text
    .split("cpu\n")
    .slice(1)
    .map((one) =>
      one.split("\n").filter((line) => line !== "" && !/( 0{8}){4}$/.test(line) && !line.startsWith("4000")),
    );
}

try {
  const all = models();
  const [{ stdout: version }, { stdout: help }] = [qemu(["--version"]), qemu(["-cpu", "help"])];
  const head = `# ${version.split("\n")[0]}: leaf, subleaf, EAX, EBX, ECX, EDX of what is not zero.\n`;
  let text = `${head}# A version has the lines that differ from the version before; "-" is a leaf that it has not.\n`;
  let before = { name: "", lines: new Map() };
  for (const model of all) {
    const [lines] = cpuid(model, "1");
    const place = (line) => line.split(" ").slice(0, 2).join(" ");
    const now = new Map(lines.map((line) => [place(line), line]));
    const isNext = model.name.replace(/\d+$/, "") === before.name.replace(/\d+$/, "");
    const base = isNext ? before.lines : new Map();
    const changed = [...now.values()].filter((line) => base.get(place(line)) !== line);
    const gone = [...base.keys()].filter((key) => !now.has(key)).map((key) => `${key} -`);
    text += `\n${model.name} ${model.vendor}\n${[...changed, ...gone].map((line) => `${line}\n`).join("")}`;
    before = { name: model.name, lines: now };
  }
  writeFileSync(join(output, "qemu-11.1-models.txt"), text);
  let topologies = `${head}# The last CPU of a machine: the leaves that depend on -smp.\n`;
  for (const model of all.filter(({ name }) => WITH_TOPOLOGY.test(name))) {
    for (const smp of TOPOLOGIES) {
      topologies += `\n${model.name} ${model.vendor} ${smp}\n`;
      const lines = cpuid(model, smp).at(-1);
      const kept = lines.filter((line) => /^(0|1|4|b|1f|80000001|80000008|8000001[de]) /.test(line));
      topologies += kept.map((line) => `${line}\n`).join("");
    }
  }
  writeFileSync(join(output, "qemu-11.1-topologies.txt"), topologies);
  writeFileSync(join(output, "qemu-11.1-cpu-help.txt"), help);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
