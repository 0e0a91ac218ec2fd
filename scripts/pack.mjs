/**
 * Makes all that the package carries, anew: dist/, the prebuilt addon, and dist/licenses.txt. npm pack and
 * npm publish run it.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Packages whose code is in a file of ours, each as its user finds it, and where it is. */
const BUNDLED = [
  { name: "echarts", user: "packages/trace-report", where: "dist/bundle/report-page.js" },
  { name: "zrender", user: "node_modules/echarts", where: "dist/bundle/report-page.js" },
  { name: "tslib", user: "node_modules/echarts", where: "dist/bundle/report-page.js" },
  { name: "node-addon-api", user: ".", where: "prebuilds/linux-x64/vmexit.node" },
];

const FILES = ["LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "CopyrightNotice.txt"];

function licenses() {
  const parts = BUNDLED.map(({ name, user, where }) => {
    const folder = folderOf(name, join(root, user, "package.json"));
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const found = FILES.map((file) => join(folder, file)).filter((file) => existsSync(file));
    if (found.length === 0) throw new Error(`${folder} has no licence file`);
    const texts = found.map((file) => readFileSync(file, "utf8").trim());
    return [`${name} ${version} (${license}), in ${where}`, ...texts].join("\n\n");
  });
  const gcc =
    "libstdc++ and libgcc (GPL-3.0-or-later with the GCC Runtime Library Exception 3.1), in prebuilds/linux-x64/vmexit.node";
  return `Code of others in the files of this package, and its licences.\n\n${[...parts, gcc].join(`\n\n${"-".repeat(78)}\n\n`)}\n`;
}

function folderOf(name, user) {
  const require = createRequire(user);
  const places = require.resolve.paths(name) ?? [];
  const found = places
    .map((place) => join(place, name))
    .find((place) => existsSync(join(place, "package.json")));
  if (found === undefined) throw new Error(`${dirname(user)} has no ${name}`);
  return found;
}

const run = (...command) =>
  execFileSync("npm", ["run", "--silent", ...command], { cwd: root, stdio: ["ignore", 2, 2] });
// What is there may be of another version, and a file that the new one does not make would be carried along.
for (const made of ["dist", "packages/trace-report/dist", "prebuilds"]) {
  rmSync(join(root, made), { recursive: true, force: true });
}
run("build");
run("prebuild");
writeFileSync(join(root, "dist/licenses.txt"), licenses());
