/**
 * Makes dist/library/ and dist/bundle/ of the compiled modules in dist/, unless they are newer.
 *
 *   node scripts/bundle.mjs
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import builds from "../rolldown.config.js";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const traceReport = fileURLToPath(new URL("../packages/trace-report/dist/", import.meta.url));
const command = join(dist, "bundle/main.js");
/** The style of a trace's report, whose script is one of the bundles. Later sheets may change what earlier ones say. */
const sheets = ["page", "controls", "parts", "tables", "steps", "address-map", "narrow"].map((name) =>
  fileURLToPath(new URL(`../packages/trace-report/page/style/${name}.css`, import.meta.url)),
);

function isStale() {
  if (!existsSync(command)) return true;
  const made = statSync(command).mtimeMs;
  const sources = [dist, traceReport].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".js") && !/^(library|bundle|demos)/.test(name))
      .map((name) => join(folder, name)),
  );
  sources.push(fileURLToPath(new URL("../rolldown.config.js", import.meta.url)), ...sheets);
  return sources.some((source) => statSync(source).mtimeMs >= made);
}

if (isStale()) {
  mkdirSync(join(dist, "bundle"), { recursive: true });
  const style = sheets.map((sheet) => readFileSync(sheet, "utf8")).join("\n");
  writeFileSync(join(dist, "bundle/report-page.css"), style);
  writeFileSync(join(dist, "bundle/package.json"), '{ "type": "commonjs" }\n');
  const cachedRequire = 'require("./code-cache.js").cachedRequire(__dirname, require)';
  writeFileSync(join(dist, "bundle/thread.js"), `${cachedRequire}("./thread-role.js");\n`);
  // main.js comes last: its time decides whether the next run bundles again.
  for (const { output, ...input } of builds) {
    const build = await rolldown(input);
    await build.write(output);
    await build.close();
  }
  chmodSync(command, 0o755);
}
