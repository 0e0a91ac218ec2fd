/** Which version of vmexit this is. */
import { readFileSync } from "node:fs";

/** As package.json says. It is two folders above the source, the compiled file and the bundle. */
export function productVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version }: { version: string } = JSON.parse(text);
  return version;
}
