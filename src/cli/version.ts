import { readFileSync } from "node:fs";

/** As package.json says. From here, from the compiled file and from a bundle it is two folders up. */
export function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version }: { version: string } = JSON.parse(text);
  return version;
}
