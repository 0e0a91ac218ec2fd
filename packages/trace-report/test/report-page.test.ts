/**
 * The report as its reader has it: made by the command from a file, opened in a
 * browser. Needs the build (dist/), and chromium.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TraceRecord } from "vmexit/trace";
import { launchBrowser, openPage } from "./support/browser.ts";
import { bootTrace, exit, header, tinyTrace, writeTrace } from "./support/sample-trace.ts";

const COMMAND = fileURLToPath(new URL("../../../dist/bundle/main.js", import.meta.url));
const HOSTILE = "</script><img src=x onerror=document.title='broken'>";
const TIMEOUT = 60_000;

let browser: Browser;
let folder: string;

beforeAll(async () => {
  browser = await launchBrowser();
  folder = mkdtempSync(join(tmpdir(), "vmexit-report-"));
}, TIMEOUT);

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

function vmexit(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

/** Makes the report of some records, and opens it. */
async function open(name: string, records: Iterable<TraceRecord>, options?: BrowserContextOptions) {
  const [trace, html] = [join(folder, `${name}.ndjson`), join(folder, `${name}.html`)];
  writeTrace(trace, records);
  expect(vmexit("trace", "report", trace, "-o", html)).toMatchObject({ status: 0, stderr: "" });
  const watched = await openPage(browser, pathToFileURL(html), options);
  await watched.page.locator("#timeline svg path").first().waitFor({ state: "attached" });
  return watched;
}

const range = async (page: Page) => {
  const { from, to } = await page.locator("#timeline-range").evaluate((each) => ({ ...each.dataset }));
  return { from: Number(from), to: Number(to) };
};
const title = (page: Page) => page.locator("#step-title").textContent();
const register = (page: Page, name: string) => page.locator(`tr[data-register=${name}] td`).allTextContents();
const overflow = (page: Page) =>
  page.evaluate<number>("document.documentElement.scrollWidth - document.documentElement.clientWidth");
const background = (page: Page) => page.evaluate<string>("getComputedStyle(document.body).backgroundColor");

test(
  "the report of a boot draws every picture, fetches nothing and complains of nothing",
  async () => {
    await using watched = await open("boot", bootTrace(3000, 2));
    const { page, complaints, requests } = watched;
    for (const id of ["timeline", "histogram", "tree", "memory"]) {
      const marks = await page.locator(`#${id} .chart svg path`).count();
      expect(marks, `shapes in ${id}`).toBeGreaterThan(5);
    }
    expect(await page.locator("#map .range").count()).toBe(7);
    expect(await page.locator("#reasons tbody tr").count()).toBe(3);
    expect(await page.locator("#kernel").textContent()).toContain("never reach user space");
    expect(await page.locator("#step-title").count()).toBe(1);
    expect(await overflow(page)).toBe(0);
    expect(complaints).toEqual([]);
    expect(requests).toEqual([]);
  },
  TIMEOUT,
);

test(
  "dragging, buttons and keys zoom the timeline, down to single exits, and a click there leads to the step",
  async () => {
    await using watched = await open("zoom", bootTrace(3000, 2));
    const { page, complaints } = watched;
    const all = await range(page);
    const chart = page.locator("#timeline .chart");
    const box = await chart.boundingBox();
    if (box === null) throw new Error("the timeline has no place");

    await page.mouse.move(box.x + 300, box.y + 30);
    await page.mouse.down();
    await page.mouse.move(box.x + 340, box.y + 34, { steps: 5 });
    await page.mouse.up();
    const dragged = await range(page);
    expect(dragged.from).toBeGreaterThan(all.from);
    expect(dragged.to).toBeLessThan(all.to / 2);
    expect(await page.locator("#timeline-range").textContent()).toContain("single exits");

    await page.click("#zoom-in");
    const closer = await range(page);
    expect(closer.to - closer.from).toBeCloseTo((dragged.to - dragged.from) / 2, -3);
    await chart.focus();
    await page.keyboard.press("ArrowRight");
    expect((await range(page)).from).toBeGreaterThan(closer.from);

    await page.mouse.click(box.x + 600, box.y + 30);
    const seq = Number((await title(page))?.replace(/\D/g, ""));
    expect(seq).toBeGreaterThan(1);

    await page.click("#zoom-reset");
    expect(await range(page)).toEqual(all);
    expect(complaints).toEqual([]);
  },
  TIMEOUT,
);

test(
  "stepping shows each exit with its instruction, its answer and what changed in the registers",
  async () => {
    await using watched = await open("tiny", tinyTrace());
    const { page, complaints } = watched;
    expect(await title(page)).toBe("Exit 1: IO");
    expect(await page.locator(".code .cause .text").textContent()).toBe("out dx, al");
    expect(await page.locator(".story").textContent()).toContain("com1, register THR");
    expect(await register(page, "rip")).toEqual(["0x1005", "0x1006"]);

    await page.click("#step-next");
    expect(await title(page)).toBe("Exit 2: IO");
    expect(await page.locator(".story").textContent()).toContain("answered 0x5a");
    expect(await register(page, "rax")).toEqual(["0x48", "0x5a"]);
    expect(await page.locator("tr[data-register=rax] .changed").count()).toBe(1);
    expect(await register(page, "rdx")).toEqual(["0x3f8", "="]);

    await page.locator(".step-list").focus();
    await page.keyboard.press("ArrowDown");
    expect(await title(page)).toBe("Exit 3: HLT");
    expect(await page.locator(".code .cause .text").textContent()).toBe("hlt");
    expect(await page.locator("tr[data-register=rax] .new").count()).toBe(1);
    await page.keyboard.press("ArrowUp");
    expect(await title(page)).toBe("Exit 2: IO");
    await page.locator("#step-number").fill("1");
    await page.keyboard.press("Enter");
    expect(await title(page)).toBe("Exit 1: IO");
    expect(complaints).toEqual([]);
  },
  TIMEOUT,
);

test(
  "the tree zooms by a click and by keys, and back",
  async () => {
    await using watched = await open("tree", bootTrace(3000, 1));
    const { page, complaints } = watched;
    const path = page.locator("#tree .path button");
    expect(await path.allTextContents()).toEqual(["all exits"]);
    const chart = page.locator("#tree .chart");
    await chart.click({ position: { x: 100, y: 66 } });
    expect(await path.allTextContents()).toEqual(["all exits", "IO"]);
    await chart.focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    expect(await path.allTextContents()).toEqual(["all exits", "IO", "com1"]);
    await path.first().click();
    expect(await path.allTextContents()).toEqual(["all exits"]);
    await page.locator("#tree").getByRole("button", { name: "Time" }).click();
    expect(await page.locator("#tree svg path").count()).toBeGreaterThan(5);
    expect(complaints).toEqual([]);
  },
  TIMEOUT,
);

test(
  "the theme is the system's until someone switches, and charts follow",
  async () => {
    await using watched = await open("dark", bootTrace(1000, 1), { colorScheme: "dark" });
    const { page, complaints } = watched;
    const dark = await background(page);
    const drawn = await page.locator("#timeline svg").innerHTML();
    await page.click("#theme");
    expect(await background(page)).not.toBe(dark);
    expect(await page.locator("#timeline svg").innerHTML()).not.toBe(drawn);
    await page.click("#theme");
    expect(await background(page)).toBe(dark);
    // Its own choice made, the page no longer follows the system.
    await page.emulateMedia({ colorScheme: "light" });
    expect(await background(page)).toBe(dark);
    expect(complaints).toEqual([]);
  },
  TIMEOUT,
);

test(
  "no window is too narrow: nothing sticks out of the page",
  async () => {
    await using watched = await open("narrow", tinyTrace(), { viewport: { width: 390, height: 800 } });
    expect(await overflow(watched.page)).toBe(0);
    await watched.page.setViewportSize({ width: 1920, height: 1000 });
    expect(await overflow(watched.page)).toBe(0);
  },
  TIMEOUT,
);

test(
  "hostile names are text wherever they appear",
  async () => {
    const map = [{ space: "port", name: HOSTILE, address: 0x3f8, length: 8, what: "device" }] as const;
    const records: TraceRecord[] = [
      header({ name: HOSTILE, startedAt: HOSTILE, map }),
      exit(1, 50_000, { device: HOSTILE, reason: HOSTILE, inside: 40_000, outside: 40_000 }),
      { kind: "frame", t: 60_000, card: HOSTILE, direction: "out", length: 60, text: HOSTILE },
      { kind: "connection", t: 61_000, card: "n", protocol: "tcp", target: HOSTILE, verdict: "denied" },
      { kind: "kernel", t: 90_000, cycle: 0, vm: { [HOSTILE]: 1 }, vcpus: [{ [HOSTILE]: 1 }] },
      { kind: "end", t: 95_000, exits: 1, dropped: 0 },
    ];
    await using watched = await open("hostile", records);
    const { page, complaints, requests } = watched;
    expect(await page.locator("h1").textContent()).toBe(HOSTILE);
    expect(await page.locator("#network tbody tr").allTextContents()).toEqual([
      expect.stringContaining(HOSTILE),
      `tcp ${HOSTILE}denied1`,
      expect.stringContaining(`guest: ${HOSTILE}`),
      expect.stringContaining(`decision: tcp ${HOSTILE}: denied`),
    ]);
    // Tooltips are made when asked for.
    for (const [id, y] of [
      ["tree", 110],
      ["timeline", 30],
      ["histogram", 150],
    ] as const) {
      await page.locator(`#${id} .chart`).hover({ position: { x: 300, y } });
    }
    expect(await page.locator("img").count()).toBe(0);
    expect(await page.title()).toBe(`${HOSTILE} · vmexit`);
    expect(await overflow(page)).toBe(0);
    expect(complaints).toEqual([]);
    expect(requests).toEqual([]);
  },
  TIMEOUT,
);

test(
  "an empty trace has empty states, and they say how to fill them",
  async () => {
    const trace = join(folder, "empty.ndjson");
    const html = join(folder, "empty.html");
    writeTrace(trace, [header({ map: [] }), { kind: "end", t: 0, exits: 0, dropped: 0 }]);
    expect(vmexit("trace", "report", trace, "-o", html).status).toBe(0);
    await using watched = await openPage(browser, pathToFileURL(html));
    const { page, complaints } = watched;
    await page.locator("#timeline svg").waitFor();
    expect(await page.locator("#steps .empty").textContent()).toContain("no exit");
    expect(await page.locator("#memory .empty").textContent()).toContain("memory=on");
    expect(await page.locator("#map .empty").count()).toBe(1);
    expect(complaints).toEqual([]);
  },
  TIMEOUT,
);

test(
  "a trace cut short makes a report of what is whole, and both the page and the command say so",
  async () => {
    const [trace, html] = [join(folder, "cut.ndjson"), join(folder, "cut.html")];
    const whole = [...bootTrace(100, 1)].slice(0, 60);
    const exits = whole.filter(({ kind }) => kind === "exit").length;
    writeTrace(trace, whole);
    const { status, stdout, stderr } = vmexit("trace", "report", trace, "-o", html);
    expect({ status, stdout }).toEqual({ status: 0, stdout: `${html}: ${exits} exits\n` });
    expect(stderr).toContain("cut short");
    await using watched = await openPage(browser, pathToFileURL(html));
    expect(await watched.page.locator(".notice").textContent()).toContain("cut short");
  },
  TIMEOUT,
);

test(
  "words that cannot be used, and files that cannot be read, are answered with one sentence",
  () => {
    const trace = join(folder, "some.ndjson");
    writeTrace(trace, tinyTrace());
    const complaint = (...args: string[]) => {
      const { status, stderr } = vmexit("trace", "report", ...args);
      expect(stderr.trim().split("\n")).toHaveLength(1);
      return `${status} ${stderr.trim().replaceAll(folder, "")}`;
    };
    const out = join(folder, "never.html");
    expect(complaint()).toMatch(/^2 .*the trace is missing, as in .*-o report\.html/);
    expect(complaint(trace)).toMatch(/^2 .*name is missing, as in .*-o report\.html/);
    expect(complaint(trace, "-o")).toMatch(/^2 .*-o: needs a value/);
    expect(complaint(trace, "-o", out, "-step", "5")).toMatch(/^2 .*did you mean "-steps"/);
    expect(complaint(trace, "-o", out, "-steps", "1e9")).toMatch(/^2 .*-steps 1e9: not a number from 0/);
    expect(complaint(trace, "-o", out, "-from=x")).toMatch(/^2 .*-from x/);
    expect(complaint(join(folder, "none"), "-o", out)).toMatch(/^1 .*ENOENT.*\/none/);
    expect(complaint(COMMAND, "-o", out)).toMatch(/^1 .*not a vmexit trace/);
    expect(complaint(trace, "-o", join(folder, "no/such/report.html"))).toMatch(/^1 .*ENOENT/);
    expect(() => readFileSync(out)).toThrow("ENOENT");
    expect(vmexit("trace", "report", "--help").stdout).toContain("-o REPORT");
  },
  TIMEOUT,
);
