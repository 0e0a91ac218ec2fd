/**
 * Runs the tests, each tier where it can run, after all the set-up that they need.
 *
 *   npm test                         all tiers
 *   npm test -- [TIER...] [TEXT...]  these tiers (unit, kvm, guest), or the test files
 *                                    whose path contains one of the texts
 *   npm test -- --lab ...            kvm and guest in the lab, even if they can run here
 *
 * unit needs no KVM. kvm (tiny guests) takes any /dev/kvm, guest (Linux kernels) needs
 * hardware KVM; where there is none, they run in the lab, each file in one of its own,
 * two at a time, so that each run of it stays short. A file is run again only if the
 * lab itself died under it.
 *
 * The last line is `N passed, N failed`, with `, N skipped` if any were. Exit status 1 if
 * a test failed, or if a tier ran none: a test that cannot run here is no success.
 */
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guestFolder, hostKvm, inLab, main, root, run, setUp } from "./setup.mjs";
import { add, count, inWords, noTests } from "./test-results.mjs";

const TIERS = ["unit", "kvm", "guest"];

/** For one file in the lab, in seconds; and how often the lab may die under it. */
const LAB_TIMEOUT = 900;
const LAB_RETRIES = 3;
/** Labs at the same time: each has an emulated CPU that is busy and one that mostly waits. */
const LABS = 2;

/** Those of the workspace packages, which are unit tests. */
function packageTests() {
  return readdirSync(join(root, "packages")).flatMap((name) =>
    readdirSync(join(root, "packages", name, "test"))
      .filter((file) => file.endsWith(".test.ts"))
      .map((file) => join("packages", name, "test", file)),
  );
}

/** Files of a tier, relative to the root, that contain one of `texts` (none: all). */
function testFiles(tier, texts) {
  const folder = join(root, "test", tier);
  const files = (existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: "utf8" }) : [])
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => join("test", tier, name));
  if (tier === "unit") files.push("test/architecture.test.ts", ...packageTests());
  return files.filter((file) => texts.length === 0 || texts.some((text) => file.includes(text))).sort();
}

function vitest(tier, files, report) {
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const script = join(root, "node_modules/vitest/vitest.mjs");
  return [process.execPath, script, "run", "--project", tier, ...reporters, ...files];
}

/** One run of vitest, here or in the lab. Whatever keeps it from reporting is a failure. */
async function runFiles(tier, files, lab, results, output = undefined) {
  const name = `${files.length === 1 ? files[0].replaceAll("/", "-") : tier}.json`;
  let command = vitest(tier, files, join(lab ? "/out" : results, name));
  if (lab) {
    process.env.VMEXIT_LAB = "1"; // vitest.config.ts allows for the emulator
    const limits = ["--timeout", `${LAB_TIMEOUT}`, "--retries", `${LAB_RETRIES}`];
    command = inLab(
      ["--no-tty", "-n", ...limits, "--share", results, "--env", "CI", "--env", "VMEXIT_LAB"],
      command,
    );
  }
  const status = await run(command, output);
  const report = join(results, name);
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

async function runTier(tier, files, lab, results) {
  console.error(`\ntest: ${tier} tier, ${files.length} files${lab ? ", in the lab" : ""}`);
  return lab ? runInLabs(tier, files, results) : runFiles(tier, files, false, results);
}

/** Each file in a lab of its own, LABS at a time; what one prints is shown when it has ended. */
async function runInLabs(tier, files, results) {
  const counts = noTests();
  const waiting = [...files];
  const lane = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const log = join(results, `${file.replaceAll("/", "-")}.log`);
      const output = openSync(log, "w");
      const began = Date.now();
      add(counts, await runFiles(tier, [file], true, results, output));
      closeSync(output);
      console.log(`\ntest: ${file}, ${Math.round((Date.now() - began) / 1000)} s`);
      process.stdout.write(readFileSync(log));
    }
  };
  await Promise.all(Array.from({ length: LABS }, lane));
  return counts;
}

await main("test", async (args) => {
  const texts = args.filter((arg) => !TIERS.includes(arg) && arg !== "--lab");
  const named = TIERS.filter((tier) => args.includes(tier));
  const tiers = (named.length > 0 ? named : TIERS).map((tier) => ({ tier, files: testFiles(tier, texts) }));
  // With a filter, a tier may well have nothing to run; without, that is a failure.
  const chosen = texts.length > 0 ? tiers.filter(({ files }) => files.length > 0) : tiers;
  if (chosen.length === 0) throw new Error(`no test file's path contains ${texts.join(" or ")}`);

  const { opens, hardware } = hostKvm();
  const lab = args.includes("--lab");
  const inLabHere = { unit: false, kvm: lab || !opens, guest: lab || !hardware };
  setUp(["guest", "lab", "image", "test"], ".");
  process.env.VMEXIT_GUEST_DIR ??= guestFolder();

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
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
  console.log(`\n${lines.join("\n")}\n${inWords(total)}`);
  return total.failed > 0 ? 1 : 0;
});
