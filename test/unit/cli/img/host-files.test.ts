/**
 * Files of the host that are not regular ones, or are not there yet: block devices, symbolic
 * links, FIFOs; as source, target, backing file and under a server. Devices need root and
 * loop devices: without them those tests are left out.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ImageSource } from "../../../../src/image-tools/image-source.ts";
import { openImage } from "../../../../src/images/open-image.ts";
import { ours, theirs } from "../../../support/img-pair.ts";
import { sameForm } from "../../../support/old-qemu.ts";
import { qemuImg } from "../../../support/qemu-tools.ts";

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "vmexit-host-files-"));
const file = (name: string) => join(folder, name);
const devices: string[] = [];
const canLoop = process.getuid?.() === 0 && spawnSync("losetup", ["-f"]).status === 0;

afterAll(() => {
  for (const device of devices) spawnSync("losetup", ["-d", device]);
  rmSync(folder, { recursive: true });
});

/** A block device of so many MiB, with a word in it. */
function device(name: string, mib: number, word = ""): string {
  const bytes = Buffer.alloc(mib * MIB);
  bytes.write(word, 300_000);
  writeFileSync(file(name), bytes);
  const path = execFileSync("losetup", ["-f", "--show", file(name)], { encoding: "utf8" }).trim();
  devices.push(path);
  return path;
}

const ok = { stdout: "", stderr: "", status: 0 };

describe.skipIf(!canLoop)("block devices", () => {
  const source = canLoop ? device("source.raw", 8, "of the device") : "";

  test.each([
    ["info", "-f", "raw"],
    ["info", "-f", "raw", "--output=json"],
    ["map", "-f", "raw"],
    ["map", "-f", "raw", "--output=json"],
    ["measure", "-f", "raw", "-O", "qcow2"],
    ["compare", "-f", "raw", "source.raw"],
  ])("%s is answered as by qemu-img", (...args) => {
    const answers = [ours, theirs].map((run) => sameForm(args, run(folder, [...args, source])));
    expect(answers[0]).toEqual(answers[1]);
  });

  test.each([
    ["raw", "out.raw"],
    ["qcow2", "out.qcow2"],
  ])("convert to %s copies all of one", (format, name) => {
    expect(ours(folder, ["convert", "-f", "raw", "-O", format, source, name])).toEqual(ok);
    expect(qemuImg("compare", "-f", format, "-F", "raw", file(name), source)).toBe("Images are identical.\n");
  });

  test("dd and compressed conversion read one", () => {
    expect(ours(folder, ["dd", "-f", "raw", "bs=4k", "skip=64", `if=${source}`, "of=part.raw"])).toEqual(ok);
    const expected = readFileSync(file("source.raw")).subarray(64 * 4096);
    expect(readFileSync(file("part.raw")).equals(expected)).toBe(true);
    expect(ours(folder, ["convert", "-c", "-f", "raw", "-O", "qcow2", source, "packed.qcow2"])).toEqual(ok);
    expect(qemuImg("compare", "-F", "raw", file("packed.qcow2"), source)).toBe("Images are identical.\n");
  });

  test.each(["raw", "qcow2"])("one that held something else becomes a target: %s", (format) => {
    const target = device(`target.${format}`, 12, "what was there before");
    expect(ours(folder, ["convert", "-f", "raw", "-O", format, source, target])).toEqual(ok);
    const answer = theirs(folder, ["compare", "-f", "raw", "-F", format, source, target]);
    expect(answer.stdout.replace("Warning: Image size mismatch!\n", "")).toBe("Images are identical.\n");
  });

  test("one is a backing file, and a base that an overlay is committed to", () => {
    const base = device("base.raw", 4, "base");
    const made = ours(folder, ["create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", "over.qcow2"]);
    expect(made).toEqual(ok);
    execFileSync("qemu-io", ["-c", "write -P 7 1M 64k", file("over.qcow2")]);
    const compared = ["compare", "-f", "qcow2", "-F", "qcow2", "over.qcow2", "flat.qcow2"];
    qemuImg("convert", "-O", "qcow2", file("over.qcow2"), file("flat.qcow2"));
    expect(ours(folder, [...compared, "--other-files=anywhere"]).stdout).toBe("Images are identical.\n");
    expect(ours(folder, compared).stderr).toContain("say other-files=anywhere to follow it");
    expect(ours(folder, ["map", "--output=json", "--other-files=anywhere", "over.qcow2"])).toEqual(
      theirs(folder, ["map", "--output=json", "over.qcow2"]),
    );
    const committed = ours(folder, ["commit", "-q", "--other-files=anywhere", "over.qcow2"]);
    expect(committed).toEqual(ok);
    expect(qemuImg("compare", "-f", "raw", base, file("flat.qcow2"))).toBe("Images are identical.\n");
  });

  test("a server says of all of one that it is data", () => {
    using image = openImage(source, { format: "raw", readOnly: true });
    const disk = new ImageSource(image);
    expect(disk.extentAt(0, 8 * MIB)).toEqual({ length: 8 * MIB, zero: false, hole: false });
    expect(disk.extentAt(8 * MIB - 512, 512)).toEqual({ length: 512, zero: false, hole: false });
  });

  test("one that is too small is refused, and not changed", () => {
    const small = device("small.raw", 1, "small");
    const before = readFileSync(file("small.raw"));
    expect(ours(folder, ["convert", "-f", "raw", "-O", "raw", source, small])).toMatchObject({ status: 1 });
    expect(readFileSync(file("small.raw")).equals(before)).toBe(true);
  });
});

describe("links", () => {
  test.each([
    [["create", "-q", "-f", "qcow2"], ["1M"]],
    [["create", "-q", "-f", "raw"], ["1M"]],
    [["convert", "-O", "qcow2", "link-source.raw"], []],
    [["dd", "-O", "raw", "if=link-source.raw"], []],
  ])("%j makes the file that a link leads to, and keeps the link", (before, after) => {
    writeFileSync(file("link-source.raw"), Buffer.alloc(MIB, 3));
    rmSync(file("real"), { force: true });
    rmSync(file("link"), { force: true });
    symlinkSync("real", file("link"));
    const name = before[0] === "dd" ? "of=link" : "link";
    expect(ours(folder, [...before, name, ...after])).toEqual(ok);
    expect(lstatSync(file("link")).isSymbolicLink()).toBe(true);
    expect(lstatSync(file("real")).isFile()).toBe(true);
  });

  test("what fails through a link takes the file away, and leaves the link", () => {
    symlinkSync("nowhere/real", file("far"));
    expect(ours(folder, ["create", "-q", "-f", "qcow2", "far", "1M"]).stderr).toContain(
      "Could not create 'far': No such file or directory",
    );
    symlinkSync("made", file("near"));
    writeFileSync(file("cut.qcow2"), cutQcow2());
    expect(ours(folder, ["convert", "-O", "raw", "cut.qcow2", "near"]).status).toBe(1);
    expect(existsSync(file("made"))).toBe(false);
    expect(lstatSync(file("near")).isSymbolicLink()).toBe(true);
  });

  test("a link that leads to itself is an error", () => {
    symlinkSync("loop", file("loop"));
    expect(ours(folder, ["info", "loop"])).toMatchObject({ status: 1, stdout: "" });
    expect(ours(folder, ["create", "-f", "raw", "loop", "1M"]).stderr).toContain("ELOOP");
  });
});

test("a FIFO is named as what it is not, at once", () => {
  execFileSync("mkfifo", [file("fifo")]);
  for (const args of [
    ["info", "fifo"],
    ["create", "-q", "-f", "raw", "fifo", "1M"],
    ["convert", "fifo", "o.raw"],
  ]) {
    const { status, stderr } = ours(folder, args);
    expect(status).toBe(1);
    expect(stderr).toContain("It is neither a regular file nor a block device.");
  }
});

describe("what fails leaves no half of an image", () => {
  test.each([
    [["convert", "-O", "qcow2", "cut.qcow2", "new"]],
    [["convert", "-O", "raw", "cut.qcow2", "new"]],
    [["dd", "-O", "qcow2", "if=cut.qcow2", "of=new"]],
    [["create", "-f", "qcow2", "-o", "cluster_size=512", "new", "1T"]],
    [["create", "-f", "qcow2", "-o", "data_file=new.data,cluster_size=512", "new", "1T"]],
    [["create", "-f", "raw", "-o", "preallocation=falloc", "new", "4P"]],
  ])("%j", (args) => {
    writeFileSync(file("cut.qcow2"), cutQcow2());
    expect(ours(folder, args).status).toBe(1);
    expect(readdirSync(folder).filter((name) => name.startsWith("new"))).toEqual([]);
  });

  test("a file that was there is empty afterwards, or as it was if nothing was begun", () => {
    writeFileSync(file("there"), "something");
    expect(ours(folder, ["create", "-f", "qcow2", "-o", "cluster_size=512", "there", "1T"]).status).toBe(1);
    expect(readFileSync(file("there"), "utf8")).toBe("something");
    writeFileSync(file("cut.qcow2"), cutQcow2());
    expect(ours(folder, ["convert", "-O", "raw", "cut.qcow2", "there"]).status).toBe(1);
    expect(lstatSync(file("there")).size).toBe(0);
  });
});

/** An image whose last data cluster is not there. */
function cutQcow2(): Buffer {
  const path = file("whole.qcow2");
  qemuImg("create", "-q", "-f", "qcow2", path, "4M");
  execFileSync("qemu-io", ["-c", "write -P 1 0 64k", "-c", "write -P 2 1M 64k", path]);
  const bytes = readFileSync(path);
  return bytes.subarray(0, bytes.length - 65536);
}
