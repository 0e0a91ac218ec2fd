/**
 * Makes dist/bundle/ of the compiled modules in dist/, unless it is newer than they are.
 *
 *   node scripts/bundle.mjs
 */
import { chmodSync, existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import builds from "../rolldown.config.js";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const command = join(dist, "bundle/main.js");

function isStale() {
  if (!existsSync(command)) return true;
  const made = statSync(command).mtimeMs;
  const sources = readdirSync(dist, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".js") && !/^(bundle|demos)/.test(name))
    .map((name) => join(dist, name));
  sources.push(fileURLToPath(new URL("../rolldown.config.js", import.meta.url)));
  return sources.some((source) => statSync(source).mtimeMs >= made);
}

if (isStale()) {
  // main.js comes last: it is what the next look compares with.
  for (const { output, ...input } of builds) {
    const build = await rolldown(input);
    await build.write(output);
    await build.close();
  }
  chmodSync(command, 0o755);
}
