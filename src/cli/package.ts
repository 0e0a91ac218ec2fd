/** Files of this package, found from this file: src/cli/package.ts, dist/cli/package.js or a file of dist/bundle/. */
import { readFileSync } from "node:fs";

/** As package.json says. It is two folders above the source, the compiled file and the bundle. */
export function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version }: { version: string } = JSON.parse(text);
  return version;
}

/** A file of dist/. From the source, it does not exist. */
export function built(path: string): URL {
  return new URL(`../${path}`, import.meta.url);
}
