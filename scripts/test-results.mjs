/**
 * The results of test runs, counted and put in words.
 *
 * @typedef {{ passed: number, failed: number, skipped: number }} Counts
 */

/** @returns {Counts} */
export function noTests() {
  return { passed: 0, failed: 0, skipped: 0 };
}

/** Adds `more` to `counts`. */
export function add(counts, more) {
  counts.passed += more.passed;
  counts.failed += more.failed;
  counts.skipped += more.skipped;
}

/**
 * Counts a report. A file whose tests could not even begin is one failure, as is
 * anything that failed outside of a test.
 *
 * @param {unknown} report vitest's json report, parsed
 * @returns {Counts}
 */
export function count(report) {
  const counts = noTests();
  for (const file of report.testResults) {
    const before = counts.failed;
    for (const { status } of file.assertionResults) {
      if (status === "passed") counts.passed++;
      else if (status === "failed") counts.failed++;
      else counts.skipped++;
    }
    if (file.status === "failed" && counts.failed === before) counts.failed++;
  }
  if (!report.success && counts.failed === 0) counts.failed++;
  return counts;
}

/**
 * Counts the test files of one run, as vitest's own objects.
 *
 * @param {Iterable<{ ok(): boolean, children: { allTests(): Iterable<{ result(): { state: string } }> } }>} modules
 * @param {readonly unknown[]} unhandledErrors what failed outside of a test
 * @returns {Counts}
 */
export function countModules(modules, unhandledErrors) {
  const counts = noTests();
  for (const module of modules) {
    const before = counts.failed;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed" || state === "failed") counts[state]++;
      else counts.skipped++;
    }
    if (!module.ok() && counts.failed === before) counts.failed++;
  }
  if (unhandledErrors.length > 0 && counts.failed === 0) counts.failed++;
  return counts;
}

/** Begins a line of scripts/lab-tests.mjs that is not vitest's. */
export const MARK = "\u001evmexit-tests ";

/** @param {Counts} counts */
export function inWords({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
