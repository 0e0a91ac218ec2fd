/**
 * Runs the tests, each tier where it can run, after all the set-up that they need.
 *
 *   npm test                         all tiers
 *   npm test -- [TIER...] [TEXT...]  these tiers (unit, kvm, guest), or the test files
 *                                    whose path contains one of the texts
 *   npm test -- package              the package as users install it (package-test.mjs)
 *   npm test -- nodes                what depends on Node, under the other versions that are supported
 *   npm test -- --lab ...            kvm and guest in the lab, even if they can run here
 *   npm run test:long [-- ...]       the same, with many more random cases and crashes (LONG), and the files
 *                                    that take too long for npm test (NAME.long.test.ts)
 *
 * unit needs no KVM. kvm (tiny guests) takes any /dev/kvm, guest (Linux kernels) needs
 * hardware KVM; where there is none, they run in two labs (scripts/lab-lanes.mjs). A file
 * is run again only if the lab itself died under it.
 *
 * The last line is `N passed, N failed`, with `, N skipped` if any were. Exit status 1 if
 * a test failed, or if a tier ran none: a test that cannot run here is not a success.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInLabs } from "./lab-lanes.mjs";
import { NODES, nodeFolder } from "./node-versions.mjs";
import { packageTest } from "./package-test.mjs";
import { guestFolder, hostKvm, inLab, main, pcDisk, pcMedia, root, run, setUp } from "./setup.mjs";
import { add, count, inWords, noTests } from "./test-results.mjs";

const TIERS = ["unit", "kvm", "guest"];
const PACKAGE = "package";
const OTHER_NODES = "nodes";

/** What depends on Node: the addon, Workers, streams. All tests under all versions: `npm run test:nodes`. */
const NODE_TESTS = {
  unit: ["test/unit/sys", "test/unit/threads", "test/unit/kvm", "test/unit/vm/serial"],
  kvm: ["test/kvm/kvm-vm", "test/kvm/native-", "test/kvm/ring-threads", "test/kvm/vm-lifecycle"],
};

/**
 * What tests with random cases read, and how many they try in `npm run test:long`: about ten times as many as
 * in `npm test`, which has to end within 45 minutes on two cores. A range is one of seeds: another range tries
 * other cases.
 */
const LONG = {
  VMEXIT_CRASH_ROUNDS: "200",
  VMEXIT_IMG_CRASHES: "60",
  VMEXIT_QCOW2_CRASHES: "40",
  VMEXIT_QCOW2_LOSSES: "30",
  VMEXIT_QCOW2_FAULTS: "1-60",
  VMEXIT_QCOW2_SEEDS: "1-250",
  VMEXIT_QCOW2_FUZZ: "1-4000",
  VMEXIT_FOREIGN_SEEDS: "1-30",
  VMEXIT_FOREIGN_FUZZ: "1-600",
  VMEXIT_SNAPSHOT_ROUNDS: "50",
  VMEXIT_NET_FUZZ: "1000000",
  VMEXIT_CHAIN_SEEDS: "1-40",
  VMEXIT_IDE_ACCESSES: "1250000",
  VMEXIT_E1000_ACCESSES: "1250000",
  VMEXIT_PC_ACCESSES: "3400000",
  VMEXIT_CD_PACKETS: "10000000",
  VMEXIT_FW_CFG_ACCESSES: "50000000",
  VMEXIT_VIRTIO_PCI_ACCESSES: "10000000",
  VMEXIT_FUZZ_FRAMES: "2500000",
  VMEXIT_PEER_FRAMES: "5000000",
  VMEXIT_SCAN_PORTS: "65535",
  VMEXIT_TCP_CONNECTIONS: "1000",
  VMEXIT_TCP_SEQUENCE: "10000",
};

/** For one lab and all the files that it runs, in seconds; scripts/lab-tests.mjs has a limit for each file. */
const LAB_TIMEOUT = 5400;

/** Those of the workspace packages, which are unit tests. */
function packageTests() {
  return readdirSync(join(root, "packages")).flatMap((name) =>
    readdirSync(join(root, "packages", name, "test"))
      .filter((file) => file.endsWith(".test.ts"))
      .map((file) => join("packages", name, "test", file)),
  );
}

/** Files of a tier, relative to the root, that contain one of `texts` (none: all). NAME.long.test.ts only if `long`. */
function testFiles(tier, texts, long) {
  const folder = join(root, "test", tier);
  const files = (existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: "utf8" }) : [])
    .filter((name) => name.endsWith(".test.ts") && (long || !name.endsWith(".long.test.ts")))
    .map((name) => join("test", tier, name));
  if (tier === "unit") files.push("test/architecture.test.ts", ...packageTests());
  return files.filter((file) => texts.length === 0 || texts.some((text) => file.includes(text))).sort();
}

function vitest(tier, files, report, node = process.execPath) {
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const script = join(root, "node_modules/vitest/vitest.mjs");
  return [node, script, "run", "--project", tier, ...reporters, ...files];
}

/** One run of vitest here. Whatever keeps it from reporting is a failure. */
async function runHere(tier, files, results, node) {
  const report = join(results, `${tier}.json`);
  rmSync(report, { force: true });
  const status = await run(vitest(tier, files, report, node));
  if (!existsSync(report)) {
    console.error(`test: ${files.join(" ")}: no report; exit status ${status}`);
    return { ...noTests(), failed: 1 };
  }
  const counts = count(JSON.parse(readFileSync(report, "utf8")));
  if (status !== 0 && counts.failed === 0) {
    console.error(`test: ${files.join(" ")}: exit status ${status} although no test failed`);
    counts.failed++;
  }
  return counts;
}

/** The tests that depend on Node, under each version but this one. `hasKvm`: here, not in the lab. */
async function runOtherNodes(hasKvm, results) {
  const total = noTests();
  for (const version of NODES.filter((each) => `v${each}` !== process.version.split(".")[0])) {
    const node = join(nodeFolder(version), "node");
    for (const [tier, files] of Object.entries(NODE_TESTS)) {
      if (tier === "kvm" && !hasKvm) continue;
      console.error(`\ntest: Node ${version}, of the ${tier} tier`);
      add(total, await runHere(tier, files, results, node));
    }
  }
  return total;
}

function startLab(tier) {
  process.env.VMEXIT_LAB = "1"; // vitest.config.ts allows for the emulator
  const passed = ["CI", "VMEXIT_LAB", ...Object.keys(LONG)].flatMap((name) => ["--env", name]);
  // One word, for the shell: errors among what is printed, where they belong.
  const script = `exec '${process.execPath}' '${join(root, "scripts/lab-tests.mjs")}' ${tier} 2>&1`;
  const [command, ...args] = inLab(["--no-tty", "--timeout", `${LAB_TIMEOUT}`, ...passed], [script]);
  return spawn(command, args, { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
}

async function runTier(tier, files, lab, results) {
  console.error(`\ntest: ${tier} tier, ${files.length} files${lab ? ", in the lab" : ""}`);
  if (!lab) return runHere(tier, files, results);
  // The largest first, since they tend to take longest: the labs then end at about the same time.
  const size = (file) => statSync(join(root, file)).size;
  const bySize = [...files].sort((one, other) => size(other) - size(one));
  return runInLabs(bySize, () => startLab(tier), {
    show: (file, counts, output, { ms, slowness }) => {
      const slow =
        slowness > 1 ? ` in a lab ${slowness.toFixed(1)} times slower than on an idle machine` : "";
      process.stdout.write(
        `\ntest: ${file}: ${inWords(counts)}, ${Math.round(ms / 1000)} s${slow}\n${output}`,
      );
    },
    warn: (message) => console.error(message),
  });
}

await main("test", async (args) => {
  const texts = args.filter((arg) => ![...TIERS, PACKAGE, OTHER_NODES, "--lab", "--long"].includes(arg));
  const named = TIERS.filter((tier) => args.includes(tier));
  const isOther = args.includes(PACKAGE) || args.includes(OTHER_NODES);
  const all = named.length === 0 && texts.length === 0 && !isOther;
  const long = args.includes("--long");
  const withPackage = all || args.includes(PACKAGE);
  const withNodes = all || args.includes(OTHER_NODES);
  const none = named.length === 0 && texts.length === 0 && isOther;
  const tiers = (named.length > 0 || none ? named : TIERS).map((tier) => ({
    tier,
    files: testFiles(tier, texts, long),
  }));
  // With a filter, a tier may well have nothing to run; without, that is a failure.
  const chosen = texts.length > 0 ? tiers.filter(({ files }) => files.length > 0) : tiers;
  if (chosen.length === 0 && !withPackage && !withNodes)
    throw new Error(`no test file's path contains ${texts.join(" or ")}`);

  if (long) process.env = { ...LONG, ...process.env };

  const { opens, hardware } = hostKvm();
  const lab = args.includes("--lab");
  const inLabHere = { unit: false, kvm: lab || !opens, guest: lab || !hardware };
  setUp(["guest", "lab", "image", "test"], ".");
  process.env.VMEXIT_GUEST_DIR ??= guestFolder();
  const runs = (name) => chosen.some(({ files }) => files.some((file) => file.endsWith(`guest/${name}`)));
  if (runs("pc.test.ts") || runs("pc.long.test.ts")) process.env.VMEXIT_PC_DISK ??= pcDisk();
  if (runs("pc-media.long.test.ts")) process.env.VMEXIT_PC_MEDIA ??= pcMedia();

  const results = mkdtempSync(join(tmpdir(), "vmexit-test-"));
  const total = noTests();
  const lines = [];
  try {
    for (const { tier, files } of chosen) {
      const counts = files.length > 0 ? await runTier(tier, files, inLabHere[tier], results) : noTests();
      if (counts.passed + counts.failed === 0) {
        counts.failed++;
        lines.push(`${tier}: ran no test, which counts as a failure`);
      } else {
        lines.push(`${tier}: ${inWords(counts)}${inLabHere[tier] ? " (in the lab)" : ""}`);
      }
      add(total, counts);
    }
    if (withNodes) {
      const counts = await runOtherNodes(!inLabHere.kvm, results);
      lines.push(`other versions of Node: ${inWords(counts)}`);
      add(total, counts);
    }
    if (withPackage) {
      console.error("\ntest: the package");
      const counts = packageTest();
      lines.push(`package: ${inWords(counts)}`);
      add(total, counts);
    }
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
  console.log(`\n${lines.join("\n")}\n${inWords(total)}`);
  return total.failed > 0 ? 1 : 0;
});
