/** Reads a trace and writes its report. */
import { readFile, writeFile } from "node:fs/promises";
import { type ReadRecord, readTrace } from "vmexit/trace";
import { ReportBuilder } from "./report-builder.ts";
import type { ReportData } from "./report-data.ts";
import { type PageParts, reportHtml } from "./report-html.ts";
import type { StepRange } from "./step-range.ts";

/** The input of a report: records, in a trace's order. */
export async function buildReport(
  records: AsyncIterable<ReadRecord> | Iterable<ReadRecord>,
  range: StepRange,
): Promise<ReportData> {
  const builder = new ReportBuilder(range);
  for await (const record of records) builder.add(record);
  return builder.build();
}

/**
 * Writes the report of the trace at `from` to `to`.
 *
 * @param bundle the folder with the page's built script and style
 * @throws {TraceError} if `from` is not a trace; errors of node:fs for either file
 */
export async function writeReport(
  from: string,
  to: string,
  range: StepRange,
  bundle: URL,
): Promise<ReportData> {
  const data = await buildReport(readTrace(from), range);
  const parts: PageParts = {
    script: await readFile(new URL("report-page.js", bundle), "utf8"),
    style: await readFile(new URL("report-page.css", bundle), "utf8"),
  };
  await writeFile(to, reportHtml(data, parts));
  return data;
}
