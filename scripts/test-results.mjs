/**
 * What a test run says of itself (vitest's json report), counted and put in words.
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

/** @param {Counts} counts */
export function inWords({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
