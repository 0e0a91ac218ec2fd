import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { reportHtml } from "../src/report-html.ts";
import { buildReport } from "../src/write-report.ts";
import { exit, header } from "./support/sample-trace.ts";

const HOSTILE = "</script><img src=x onerror=alert(1)>";

async function html(script = "draw()"): Promise<string> {
  const map = [{ space: "port", name: HOSTILE, address: 0x3f8, length: 8, what: "device" }] as const;
  const records = [
    header({ name: HOSTILE, startedAt: HOSTILE, map }),
    exit(1, 1000, { device: HOSTILE, reason: HOSTILE }),
    { kind: "cut", message: HOSTILE, line: 2, offset: 10 } as const,
  ];
  return reportHtml(await buildReport(records, { from: 1, count: 10 }), { script, style: "a > b {}" });
}

test("no name in a trace becomes markup", async () => {
  const text = await html();
  expect(text).not.toContain("<img");
  expect(text.match(/<\/script/gi)).toHaveLength(2);
  const [, json] = /<script id="report-data"[^>]*>(.*?)<\/script>/s.exec(text) ?? [];
  expect(JSON.parse(json)).toMatchObject({ name: HOSTILE, cut: HOSTILE });
});

test("the policy lets only the page's own script run, and nothing be fetched", async () => {
  const text = await html();
  const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(text) ?? [];
  const hash = createHash("sha256").update("draw()").digest("base64");
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain(`script-src 'sha256-${hash}'`);
  expect(policy).not.toMatch(/https?:|\*/);
});

test("a script with the end of a script in a string keeps its meaning and stays whole", async () => {
  const text = await html('globalThis.seen = "</script><!--<SCRIPT>"');
  const [, code] = /<script>(.*?)<\/script>/s.exec(text) ?? [];
  expect(code).not.toMatch(/<(\/script|!--|script)/i);
  const [, literal] = /= (".*")$/.exec(code.replaceAll("\\x3c", "\\u003c")) ?? [];
  expect(JSON.parse(literal)).toBe("</script><!--<SCRIPT>");
});
