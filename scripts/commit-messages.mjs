/**
 * Checks the commits after FIRST: `area: what changes for the reader` in at most 72 columns, a body
 * where code changes, and no bare merge.
 *
 *   node scripts/commit-messages.mjs [REPOSITORY]
 *
 * In a shallow clone the commits that are there are checked. A commit whose parent is not there is
 * checked without its changes.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { main, root } from "./setup.mjs";

/** The rule holds from here on. */
const FIRST = "048ab2339c01a0fd9591e5991b171572f7dc01f4";
const COLUMNS = 72;

/** Files that are code, by what begins a comment in them. */
const SLASHES = [".c", ".cc", ".h", ".js", ".mjs", ".mts", ".ts", ".S"];
const HASHES = [".sh", ".yml", ".gyp"];

/**
 * The code of a file: without comments, and without what a formatter decides. Sentences in quotes are
 * wording, as comments are; a word in quotes is code. An empty text for what is not code.
 *
 * @param {string} path
 * @param {string} text
 */
export function codeOf(path, text) {
  const extension = extname(path);
  const script = HASHES.includes(extension) || text.startsWith("#!");
  if (SLASHES.includes(extension)) {
    // Strings come first, since what looks like a comment may be in one.
    const parts = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
    const code = text.replace(parts, (_whole, string = "") => (string.includes(" ") ? '"…"' : string));
    return code.replace(/\s+/g, "").replace(/,(?=[)\]}])/g, "");
  }
  if (script) return text.replace(/(^|\s)#[^\n]*/g, "").replace(/\s+/g, "");
  return extension === ".json" ? text.replace(/\s+/g, "") : "";
}

/**
 * What is wrong with a commit's message, in words.
 *
 * @param {{ subject: string, body: string, changesCode: boolean }} commit
 */
export function faultsOf({ subject, body, changesCode }) {
  const faults = [];
  const columns = [...subject].length;
  if (columns > COLUMNS) faults.push(`its subject has ${columns} columns, and may have ${COLUMNS}`);
  if (/^Merge (branch|branches|pull request|remote-tracking|commit|tag)\b/.test(subject)) {
    faults.push("it is a bare merge: rebase, or say what changes");
  } else if (!/^[^\s:][^:]*: \S/.test(subject)) {
    faults.push('its subject is not of the form "area: what changes for the reader"');
  }
  if (changesCode && body.trim() === "") faults.push("it changes code, and has no body that says why");
  return faults;
}

/** @param {string} repository */
function checker(repository) {
  const git = (...args) => {
    const options = { cwd: repository, encoding: "utf8", maxBuffer: 2 ** 28 };
    const { status, stdout } = spawnSync("git", args, options);
    return status === 0 ? stdout : undefined;
  };
  const text = (revision, path) => git("show", `${revision}:${path}`) ?? "";

  const changesCode = (commit) => {
    const paths = git("diff-tree", "-r", "--no-commit-id", "--name-only", "-z", "--no-renames", commit) ?? "";
    return paths
      .split("\0")
      .filter((path) => path !== "")
      .some((path) => codeOf(path, text(`${commit}^`, path)) !== codeOf(path, text(commit, path)));
  };

  /** The commits to check; undefined if this is not a repository. */
  const commits = () => {
    if (git("rev-parse", "--git-dir") === undefined) return undefined;
    const known = git("merge-base", "--is-ancestor", FIRST, "HEAD") !== undefined;
    // In a shallow clone FIRST may be beyond its edge: then all that is there is newer.
    return (git("rev-list", "HEAD", ...(known ? ["--not", FIRST] : [])) ?? "").split("\n").filter(Boolean);
  };
  return { git, changesCode, commits };
}

/**
 * The faults of a repository's commits, a sentence each.
 *
 * @param {string} repository
 */
export function check(repository) {
  const { git, changesCode, commits } = checker(repository);
  const list = commits();
  if (list === undefined) return { checked: 0, faults: [] };
  const shallow = join(repository, (git("rev-parse", "--git-path", "shallow") ?? "").trim());
  const edges = existsSync(shallow) ? readFileSync(shallow, "utf8").split("\n") : [];
  const faults = list.flatMap((commit) => {
    const [subject = "", body = "", parents = ""] = (
      git("log", "-1", "--format=%s%x00%b%x00%P", commit) ?? ""
    ).split("\0");
    const one = parents.trim().split(" ").length === 1 && !edges.includes(commit);
    return faultsOf({ subject, body, changesCode: one && body.trim() === "" && changesCode(commit) }).map(
      (fault) => `${commit.slice(0, 9)} ${subject}\n    ${fault}`,
    );
  });
  return { checked: list.length, faults };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main("commit-messages", ([repository = root]) => {
    const { checked, faults } = check(resolve(repository));
    for (const fault of faults) console.error(fault);
    console.error(`commit-messages: ${checked} commits, ${faults.length} faults`);
    return faults.length > 0 ? 1 : 0;
  });
}
