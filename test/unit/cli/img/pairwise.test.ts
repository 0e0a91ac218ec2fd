/**
 * Options combined as no test for one of them combines them: tables in which every two
 * choices meet, run by qemu-img and here. Both end in the same way, and what both make
 * holds the same disk and is whole.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { ImgPair } from "../../../support/img-pair.ts";
import { pairwise } from "../../../support/pairwise.ts";
import { qemuIo } from "../../../support/qemu-tools.ts";

function gallery(folder: string): void {
  const at = (name: string) => join(folder, name);
  const create = (...args: string[]) => execFileSync("qemu-img", ["create", "-q", ...args], { cwd: folder });
  const noise = (bytes: number, seed: number) =>
    Buffer.from(Uint32Array.from({ length: bytes / 4 }, (_, i) => Math.imul(i + seed, 2654435761)).buffer);
  writeFileSync(at("a.raw"), noise(2_000_000, 1));
  writeFileSync(at("b.raw"), Buffer.concat([Buffer.alloc(300_000), noise(700_004, 7)]));
  writeFileSync(at("empty.raw"), "");
  create("-f", "qcow2", "base.qcow2", "3M");
  qemuIo(at("base.qcow2"), ["write -P 1 0 200k", "write -P 2 1M 64k", "write -z 2M 64k"]);
  create("-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "over.qcow2", "4M");
  qemuIo(at("over.qcow2"), ["write -P 3 100k 64k", "write -z 1M 32k", "write -P 4 3M 10k"]);
  execFileSync("qemu-img", ["snapshot", "-c", "then", "over.qcow2"], { cwd: folder });
  qemuIo(at("over.qcow2"), ["write -P 5 0 1M"]);
  execFileSync("qemu-img", ["convert", "-O", "vmdk", "base.qcow2", "base.vmdk"], { cwd: folder });
  execFileSync("qemu-img", ["convert", "-c", "-O", "qcow2", "base.qcow2", "packed.qcow2"], { cwd: folder });
  create("-f", "raw", "there.raw", "8M");
  create("-f", "qcow2", "there.qcow2", "8M");
}

vi.setConfig({ testTimeout: 30_000 });
const pair = new ImgPair(gallery);
afterAll(() => pair.close());

/** Runs a command line in both folders, and compares how it ends and the image that it makes. */
function expectSame(args: readonly string[], output: string | undefined): void {
  const { ours, theirs } = pair.run(args);
  expect({ status: ours.status, said: ours.status === 0 ? "" : ours.stderr }, ours.stderr).toMatchObject({
    status: theirs.status,
  });
  if (theirs.status !== 0) expect(ours.stderr).not.toBe("");
  if (output === undefined || theirs.status !== 0) return;
  const [mine, other] = [contents(pair.vmexit, output), contents(pair.qemu, output)];
  expect(mine.equals(other)).toBe(true);
  if (!output.endsWith("qcow2")) return;
  const check = execFileSync("qemu-img", ["check", "-f", "qcow2", output], {
    cwd: pair.vmexit,
    encoding: "utf8",
  });
  expect(check).toContain("No errors were found on the image.");
}

/** In its own folder: QEMU takes the name of a data file from where it runs, and not from where the image is. */
function contents(folder: string, name: string): Buffer {
  if (!name.endsWith("qcow2")) return readFileSync(join(folder, name));
  execFileSync("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", name, "contents.raw"], { cwd: folder });
  return readFileSync(join(folder, "contents.raw"));
}

function table(columns: readonly (readonly string[])[]): string[][] {
  return pairwise(columns.map(({ length }) => length)).map((row) =>
    row.map((choice, column) => columns[column][choice]),
  );
}

const words = (texts: readonly string[]) =>
  texts.flatMap((text) => text.split(" ")).filter((word) => word !== "");

describe("convert", () => {
  const COLUMNS = [
    [
      "a.raw",
      "a.raw b.raw",
      "b.raw a.raw b.raw",
      "base.qcow2",
      "over.qcow2",
      "base.vmdk a.raw",
      "empty.raw",
      "packed.qcow2 b.raw",
    ],
    ["-O raw", "-O qcow2"],
    ["", "-c"],
    ["", "-S 0", "-S 4k", "-S 64k", "-S 1M"],
    [
      "",
      "-o cluster_size=512",
      "-o cluster_size=2M",
      "-o compat=0.10",
      "-o extended_l2=on",
      "-o preallocation=metadata",
      "-o preallocation=falloc",
      "-o lazy_refcounts=on,refcount_bits=64",
      "-o compression_type=zstd",
      "-o data_file=out.data",
      "-o data_file=out.data,data_file_raw=on",
    ],
    ["", "-B base.qcow2 -F qcow2", "-B base.qcow2"],
    ["", "", "-n", "-n --target-is-zero"],
    ["", "-l then"],
    ["", "-p", "-q -U", "-W -m 4", "--salvage", "-r 500M", "-C", "-t none -T writeback"],
  ];

  test.each(table(COLUMNS))("%s %s %s %s %s %s %s %s %s", (...row) => {
    const [sources, target, ...options] = row;
    const existing = row.some((word) => word.startsWith("-n"));
    // QEMU finds out with the first data that it writes, and so not where all is zeros.
    if (existing && target === "-O raw" && options.includes("-c")) return;
    const output = `${existing ? "target" : "out"}.${target === "-O raw" ? "raw" : "qcow2"}`;
    for (const folder of [pair.qemu, pair.vmexit]) {
      for (const name of ["out.raw", "out.qcow2", "out.data"]) rmSync(join(folder, name), { force: true });
      if (existing) copyFileSync(join(folder, output.replace("target", "there")), join(folder, output));
    }
    expectSame(["convert", ...words([target, ...options, sources]), output], output);
  });
});

describe("create, then resize", () => {
  const COLUMNS = [
    ["-f raw", "-f qcow2"],
    [
      "",
      "-o cluster_size=512",
      "-o cluster_size=2M",
      "-o compat=0.10",
      "-o extended_l2=on",
      "-o refcount_bits=1",
      "-o refcount_bits=64,lazy_refcounts=on",
      "-o data_file=out.data",
      "-o compression_type=zstd",
    ],
    ["", "-o preallocation=metadata", "-o preallocation=falloc", "-o preallocation=full"],
    ["", "-b base.qcow2 -F qcow2", "-b a.raw -F raw"],
    ["", "1M", "3000000", "1000b", "64M"],
    ["+1M", "-512k", "700k", "5000000", "+513", "--shrink 512k", "--shrink -600000"],
    ["", "--preallocation=metadata", "--preallocation=falloc", "--preallocation=full"],
  ];

  test.each(table(COLUMNS))("%s %s %s %s %s; %s %s", (format, ...row) => {
    const [options, preallocation, backing, size, change, more] = row;
    const output = `out.${format.slice(3)}`;
    for (const folder of [pair.qemu, pair.vmexit]) {
      for (const name of ["out.raw", "out.qcow2", "out.data"]) rmSync(join(folder, name), { force: true });
    }
    const made = [format, options, preallocation, backing];
    expectSame(["create", "-q", ...words(made), output, ...words([size])], output);
    if (!existsSync(join(pair.qemu, output))) return;
    const [shrink, ...rest] = words([change]).toReversed();
    expectSame(["resize", "-q", ...words([format, more]), ...rest, output, shrink], output);
  });
});

describe("dd", () => {
  const COLUMNS = [
    ["if=a.raw -f raw", "if=base.qcow2", "if=over.qcow2 -f qcow2", "if=base.vmdk", "if=empty.raw -f raw"],
    ["-O raw", "-O qcow2", ""],
    ["", "bs=700", "bs=4k", "bs=1000", "bs=1M"],
    ["", "count=1", "count=700"],
    ["", "-U"],
  ];

  test.each(table(COLUMNS))("%s %s %s %s %s", (...row) => {
    const output = `dd.${row[1] === "-O qcow2" ? "qcow2" : "raw"}`;
    for (const folder of [pair.qemu, pair.vmexit]) rmSync(join(folder, output), { force: true });
    expectSame(["dd", ...words(row), `of=${output}`], output);
  });
});

describe("what only says something", () => {
  const COLUMNS = [
    ["base.qcow2", "over.qcow2", "base.vmdk", "a.raw", "empty.raw", "packed.qcow2"],
    ["", "--output=json"],
    ["measure -O qcow2", "measure -O raw", "map", "check"],
    ["", "-U"],
  ];

  test.each(table(COLUMNS))("%s %s %s %s", (image, output, command, more) => {
    const args = [...words([command, output, more]), image];
    const { ours, theirs } = pair.run(args);
    expect(ours.status, ours.stderr).toBe(theirs.status);
    // `map` shows the last sector of a raw file as a whole one: docs/img.md.
    if (theirs.status === 0 && !(command === "map" && image === "a.raw"))
      expect(ours.stdout).toBe(theirs.stdout);
  });

  const COMPARED = [
    ["a.raw", "base.qcow2", "over.qcow2", "base.vmdk"],
    ["base.qcow2", "b.raw", "packed.qcow2", "empty.raw"],
    ["", "-s"],
    ["", "-q", "-p"],
    ["", "-U"],
  ];

  test.each(table(COMPARED))("compare %s %s %s %s %s", (one, other, ...options) => {
    const { ours, theirs } = pair.run(["compare", ...words(options), one, other]);
    expect(ours.status, ours.stderr).toBe(theirs.status);
    if (!options.includes("-p")) expect(ours.stdout).toBe(theirs.stdout);
  });
});
