/**
 * A report as one HTML file that needs nothing else: the page's script and style,
 * and its data, in one text.
 *
 * Names and values in the data come from a guest or a file, so they are hostile. They
 * reach the page as JSON without a "<", and the page sets them as text only. If one
 * became markup all the same, the content security policy allows only this script, by
 * its hash, and no requests.
 */
import { createHash } from "node:crypto";
import type { ReportData } from "./report-data.ts";

/** The built parts of the page. */
export interface PageParts {
  readonly script: string;
  readonly style: string;
}

export function reportHtml(data: ReportData, { script, style }: PageParts): string {
  const safeScript = forScriptElement(script);
  const hash = createHash("sha256").update(safeScript).digest("base64");
  const policy = [
    "default-src 'none'",
    `script-src 'sha256-${hash}'`,
    // The chart library sets styles of its own; without a network they cannot leak anything.
    "style-src 'unsafe-inline'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="vmexit">
<title>${escapeHtml(data.name || "A trace")} · vmexit</title>
<style>${style.replaceAll("<", "\\3c ")}</style>
</head>
<body>
<noscript><p class="notice">This report is drawn by a script that it contains; scripts are switched off here.</p></noscript>
<script id="report-data" type="application/json">${jsonForHtml(data)}</script>
<script>${safeScript}</script>
</body>
</html>
`;
}

/** JSON that cannot end its element, whatever its strings are. */
export function jsonForHtml(value: object): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Our own code; in its strings, text that would end the element or begin a comment is escaped. */
function forScriptElement(script: string): string {
  return script.replace(/<(?=\/script|script|!--)/gi, "\\x3c");
}
