/**
 * Takes the pictures in docs/images/ of a trace's report.
 *
 *   node scripts/screenshots.mjs REPORT.html
 *
 * Needs Debian's chromium, and for the usual look the fonts Inter and JetBrains
 * Mono (packages fonts-inter and fonts-jetbrains-mono).
 */
import { mkdirSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { main } from "./setup.mjs";

/** An exit somewhere in the middle of a boot. */
const STEP = "600";
const images = fileURLToPath(new URL("../docs/images/", import.meta.url));

await main("screenshots", async ([report]) => {
  if (report === undefined)
    throw new Error("no report given; usage: node scripts/screenshots.mjs REPORT.html");
  mkdirSync(images, { recursive: true });
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    for (const [colorScheme, name] of [
      ["light", "trace-report"],
      ["dark", "trace-report-dark"],
    ]) {
      const page = await browser.newPage({ colorScheme, viewport: { width: 1280, height: 800 } });
      await page.goto(pathToFileURL(report).href);
      await page.locator("#timeline svg").waitFor();
      await page.screenshot({ path: `${images}${name}.png` });
      if (colorScheme === "dark") continue;
      await page.locator("#step-number").fill(STEP);
      await page.keyboard.press("Enter");
      await page.locator("#steps").screenshot({ path: `${images}${name}-steps.png` });
    }
  } finally {
    await browser.close();
  }
});
