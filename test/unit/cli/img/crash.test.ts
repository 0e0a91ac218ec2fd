/**
 * commit and rebase, killed before each of their writes: whatever is left, the
 * disk reads as before, no image is damaged, and the command can be given again.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { qemuCheck, qemuContents, qemuIo } from "../../../support/qemu-tools.ts";

const KILLED = fileURLToPath(new URL("../../../support/killed-img.mjs", import.meta.url));
/** Crashes of each command, spread over its writes. VMEXIT_IMG_CRASHES asks for more. */
const CRASHES = Number(process.env.VMEXIT_IMG_CRASHES ?? 6);

const root = mkdtempSync(join(tmpdir(), "vmexit-img-crash-"));
afterAll(() => rmSync(root, { recursive: true }));
const start = join(root, "start");
mkdirSync(start);
const create = (...args: string[]) => execFileSync("qemu-img", ["create", "-q", ...args], { cwd: start });
create("-f", "qcow2", "-o", "cluster_size=4k", "base.qcow2", "1M");
qemuIo(join(start, "base.qcow2"), ["write -P 1 0 128k", "write -P 2 512k 128k"]);
create("-f", "qcow2", "-o", "cluster_size=4k", "other.qcow2", "1M");
qemuIo(join(start, "other.qcow2"), ["write -P 1 0 64k", "write -P 3 600k 8k", "write -P 4 900k 64k"]);
for (const [name, compat] of [
  ["over.qcow2", "1.1"],
  ["old.qcow2", "0.10"],
]) {
  create(
    "-f",
    "qcow2",
    "-o",
    `cluster_size=512,compat=${compat}`,
    "-b",
    "base.qcow2",
    "-F",
    "qcow2",
    name,
    "1200k",
  );
  qemuIo(join(start, name), ["write -P 5 60k 10k", "write -z 520k 20k", "write -P 6 1100k 20k"]);
}

/** Runs a command in a fresh folder, and kills it before a write; or lets it say how many there are. */
function crash(words: readonly string[], write: number | "count") {
  const folder = join(root, "run");
  rmSync(folder, { recursive: true, force: true });
  cpSync(start, folder, { recursive: true });
  return { folder, ...run(folder, words, write) };
}

function run(folder: string, words: readonly string[], write: number | "count") {
  const { signal, status, stdout, stderr } = spawnSync(process.execPath, [KILLED, String(write), ...words], {
    cwd: folder,
    encoding: "utf8",
  });
  if (signal === null && status !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
  return { signal, stdout };
}

test.each([
  ["commit", "-q", "over.qcow2"],
  ["commit", "-q", "old.qcow2"],
  ["commit", "-q", "-d", "over.qcow2"],
  ["rebase", "-b", "other.qcow2", "-F", "qcow2", "over.qcow2"],
  ["rebase", "-b", "other.qcow2", "-F", "qcow2", "old.qcow2"],
  ["rebase", "-b", "", "over.qcow2"],
])("%s %s %s %s %s %s: a crash damages nothing", { timeout: 300_000 }, (...words) => {
  const name = words[words.length - 1];
  const before = qemuContents(join(start, name));
  const writes = Number(crash(words, "count").stdout);
  expect(writes).toBeGreaterThan(3);
  for (let i = 0; i < Math.min(CRASHES, writes); i++) {
    // The last ones, where tables and headers change, each; the others now and then.
    const at = i < CRASHES / 2 ? writes - 1 - i : Math.floor((i / CRASHES) * writes * 0.9);
    const { folder, signal } = crash(words, at);
    expect(signal).toBe("SIGKILL");
    for (const image of [name, "base.qcow2", "other.qcow2"]) {
      expect(qemuCheck(join(folder, image)), `${image} before write ${at}`).toMatchObject({
        corruptions: 0,
        errors: 0,
      });
    }
    expect(Buffer.compare(qemuContents(join(folder, name)), before), `before write ${at}`).toBe(0);
    run(folder, words, "count");
    expect(Buffer.compare(qemuContents(join(folder, name)), before), `again, after write ${at}`).toBe(0);
  }
});
