/**
 * Runs test files in a lab, one after another, by one vitest: scripts/test.mjs starts it there.
 *
 *   node scripts/lab-tests.mjs TIER
 *
 * Reads the files' paths from standard input, a line each, and prints what vitest prints. A line that
 * begins with MARK is for test.mjs: `ready`, and `ended` with the counts after each file. A file that
 * takes too long ends the process: what it had begun would disturb the next.
 */
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createVitest } from "vitest/node";
import { patience, slowness } from "../lab/patience.mjs";
import { root } from "./setup.mjs";
import { countModules, MARK } from "./test-results.mjs";

/** For one file on an idle machine; a hang has shorter limits of its own. */
const FILE_MS = 900_000;

const [tier] = process.argv.slice(2);
const report = (message) => process.stdout.write(`${MARK}${JSON.stringify(message)}\n`);

const vitest = await createVitest("test", { root, project: tier, watch: false, reporters: ["default"] });
await vitest.standalone();
const project = vitest.projects.find(({ name }) => name === tier);
if (project === undefined) throw new Error(`vitest.config.ts has no project ${tier}`);

report({ kind: "ready" });
for await (const file of createInterface({ input: process.stdin })) {
  const limit = setTimeout(() => {
    console.error(`${file} took longer than ${Math.round(patience(FILE_MS) / 1000)} s`);
    process.exit(1);
  }, patience(FILE_MS));
  const run = await vitest.runTestSpecifications([project.createSpecification(join(root, file))], false);
  clearTimeout(limit);
  // A vitest that continues remembers the files before this one.
  const modules = run.testModules.filter(({ moduleId }) => moduleId === join(root, file));
  const counts = countModules(modules, run.unhandledErrors);
  if (modules.length === 0) counts.failed++;
  report({ kind: "ended", file, counts, slowness: slowness() });
}
await vitest.close();
process.exit(0);
