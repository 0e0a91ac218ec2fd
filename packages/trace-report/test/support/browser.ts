/**
 * Debian's chromium, headless, for tests of pages. A machine without it fails these
 * tests; it does not skip them.
 */
import { existsSync } from "node:fs";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const EXECUTABLE = "/usr/bin/chromium";

export async function launchBrowser(): Promise<Browser> {
  if (!existsSync(EXECUTABLE)) throw new Error("chromium is missing: sudo apt-get install chromium");
  // Its sandbox does not work for root; only our own page runs here.
  return chromium.launch({ executablePath: EXECUTABLE, args: ["--no-sandbox"] });
}

/** A page, and the errors on it. */
export interface WatchedPage extends AsyncDisposable {
  readonly page: Page;
  /** Errors and warnings of its console, uncaught exceptions, violations of its content security policy. */
  readonly complaints: string[];
  /** Requests besides the document itself. */
  readonly requests: string[];
}

export async function openPage(
  browser: Browser,
  url: URL,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(`${error}`));
  page.on("request", (request) => {
    if (request.url() !== url.href) requests.push(request.url());
  });
  await page.goto(url.href);
  return { page, complaints, requests, [Symbol.asyncDispose]: () => context.close() };
}
