/** Names of disks by QEMU's grammar, and names that are not UTF-8: on the command line, in images, and what is printed. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOfText } from "../../../../src/base/byte-text.ts";
import { exactArguments } from "../../../../src/cli/exact-arguments.ts";
import { createImage } from "../../../../src/image-tools/create-image.ts";
import { openImage } from "../../../../src/images/open-image.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { createSnapshot, deleteSnapshot } from "../../../../src/images/qcow2/snapshots.ts";
import { ours, theirs } from "../../../support/img-pair.ts";
import { qemuImg } from "../../../support/qemu-tools.ts";

const COMMAND = fileURLToPath(new URL("../../../../dist/bundle/main.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "vmexit-names-"));
afterAll(() => rmSync(folder, { recursive: true }));

beforeAll(() => {
  for (const name of ["plain.qcow2", "./a:b", "./file:c", "./nbd:d"]) {
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", name, "1M"], { cwd: folder });
  }
  mkdirSync(join(folder, "sub"));
});

describe("on the command line", () => {
  test.each([
    "plain.qcow2",
    "./plain.qcow2",
    "file:plain.qcow2",
    "file:./plain.qcow2",
    "sub/../a:b",
    "./a:b",
    "file:a:b",
    "file:./a:b",
    "file:file:c",
    "./file:c",
    "file:nbd:d",
    "./nbd:d",
    "a:b",
    ":b",
    "c:\\disk",
    "FILE:plain.qcow2",
    "raw:plain.qcow2",
    "file:missing",
    "file:",
    "",
    "host_device:plain.qcow2",
    "json:{",
    "nbd:x",
  ])("%s is what it is to QEMU", (name) => {
    const args = ["info", "-f", "qcow2", name];
    const [mine, other] = [ours(folder, args), theirs(folder, args)];
    expect(mine.status, mine.stderr).toBe(other.status);
    expect(mine.stdout.split("\n")[0]).toBe(other.stdout.split("\n")[0]);
  });

  test.each([
    ["a:b", "Unknown protocol 'a'; a file of that name is './a:b'"],
    ["http://x/y", "names of the form http: are not supported; only files and NBD servers (nbd://…) are"],
    ["json:{}", "names of the form json: are not supported"],
    ["rbd:pool/x", "names of the form rbd: are not supported"],
    ["host_device:plain.qcow2", "requires 'plain.qcow2' to be a block device"],
    ["file:", "The 'file' block driver requires a file name"],
  ])("%s is refused in words", (name, why) => {
    expect(ours(folder, ["info", name]).stderr).toContain(why);
    expect(ours(folder, ["convert", name, "never.raw"]).stderr).toContain(why);
  });

  test.each([
    [["create", "-q", "-f", "qcow2", "file:new:1", "1M"], "new:1"],
    [["convert", "-O", "raw", "file:a:b", "file:new:2"], "new:2"],
    [["dd", "if=file:a:b", "of=file:new:3"], "new:3"],
    [["create", "-q", "-f", "raw", "./new:4", "1M"], "new:4"],
  ])("%j makes %s", (args, made) => {
    expect(ours(folder, args)).toEqual({ stdout: "", stderr: "", status: 0 });
    expect(readdirSync(folder)).toContain(made);
  });

  test("a name that cannot be opened is not made", () => {
    expect(ours(folder, ["create", "-f", "raw", "x:y", "1M"])).toMatchObject({ status: 1 });
    expect(ours(folder, ["create", "-f", "qcow2", "json:x", "1M"])).toMatchObject({ status: 1 });
    expect(readdirSync(folder).filter((name) => /^(x:y|json:x)$/.test(name))).toEqual([]);
  });
});

describe("of backing files", () => {
  test.each([
    ["plain.qcow2", 0],
    ["file:plain.qcow2", 0],
    ["file:a:b", 0],
    ["./a:b", 0],
    ["a:b", 1],
    ["json:{}", 1],
    ["http://x/y", 1],
    ["file:missing", 1],
  ])("create, map, compare and rebase agree on %s", (backing, status) => {
    const create = ["create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", "over.qcow2"];
    expect(ours(folder, create).status).toBe(status);
    expect(theirs(folder, [...create.slice(0, -1), "theirs.qcow2"]).status).toBe(
      backing === "json:{}" ? 1 : status,
    );
    const unsafe = ["create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", "over.qcow2", "1M"];
    expect(ours(folder, unsafe).status).toBe(0);
    expect(ours(folder, ["map", "over.qcow2"]).status).toBe(status);
    expect(ours(folder, ["info", "--backing-chain", "over.qcow2"]).status).toBe(status);
    expect(ours(folder, ["compare", "over.qcow2", "over.qcow2"]).status).toBe(status === 0 ? 0 : 2);
    expect(ours(folder, ["create", "-q", "-f", "qcow2", "alone.qcow2", "1M"]).status).toBe(0);
    expect(ours(folder, ["rebase", "-q", "-b", backing, "-F", "qcow2", "alone.qcow2"]).status).toBe(status);
  });

  test("a relative name behind file: counts from where the program runs, as with QEMU", () => {
    const over = [
      "create",
      "-q",
      "-u",
      "-f",
      "qcow2",
      "-b",
      "file:../plain.qcow2",
      "-F",
      "qcow2",
      "deep.qcow2",
      "1M",
    ];
    expect(ours(folder, over).status).toBe(0);
    const inside = join(folder, "sub");
    const args = ["map", "--other-files=anywhere", "../deep.qcow2"];
    expect(ours(inside, args).status).toBe(0);
    expect(theirs(inside, ["map", "../deep.qcow2"]).status).toBe(0);
    expect(ours(folder, ["map", "--other-files=anywhere", "deep.qcow2"]).status).toBe(1);
    expect(theirs(folder, ["map", "deep.qcow2"]).status).toBe(1);
  });
});

describe("that are not UTF-8", () => {
  const BYTES = "b\udcf6";
  const entries = () => readdirSync(folder, { encoding: "buffer" }).map((name) => name.toString("latin1"));

  test("files are made, read, converted, compared, resized and snapshotted under the bytes that were said", () => {
    const ok = { stdout: "", stderr: "", status: 0 };
    expect(ours(folder, ["create", "-q", "-f", "raw", `${BYTES}.raw`, "1M"])).toEqual(ok);
    expect(ours(folder, ["convert", "-O", "qcow2", `${BYTES}.raw`, `${BYTES}.qcow2`])).toEqual(ok);
    expect(ours(folder, ["resize", "-q", `${BYTES}.qcow2`, "2M"])).toEqual(ok);
    expect(ours(folder, ["snapshot", "-c", "s", `${BYTES}.qcow2`])).toEqual(ok);
    expect(ours(folder, ["check", "-q", `${BYTES}.qcow2`])).toEqual(ok);
    expect(ours(folder, ["dd", `if=${BYTES}.qcow2`, `of=${BYTES}.dd`])).toEqual(ok);
    expect(ours(folder, ["measure", "-O", "qcow2", `${BYTES}.raw`]).status).toBe(0);
    expect(entries().filter((name) => name.startsWith("b\xf6"))).toEqual(
      expect.arrayContaining(["b\xf6.raw", "b\xf6.qcow2", "b\xf6.dd"]),
    );
    expect(entries().join()).not.toContain("\xef\xbf\xbd");
  });

  test("an image names one as its backing file, and keeps the bytes when its header is written anew", () => {
    symlinkSync("plain.qcow2", Buffer.concat([Buffer.from(`${folder}/`), bytesOfText(`${BYTES}.base`)]));
    const make = ["create", "-q", "-f", "qcow2", "-b", `${BYTES}.base`, "-F", "qcow2", "overbytes.qcow2"];
    expect(ours(folder, make).status).toBe(0);
    expect(ours(folder, ["map", "overbytes.qcow2"]).status).toBe(0);
    const path = join(folder, "overbytes.qcow2");
    {
      using image = openQcow2(path);
      image.metadata.setBackingFile(image.header.backingFile, image.header.backingFormat);
    }
    const { stdout } = spawnSync("qemu-img", ["info", path], { encoding: "latin1" });
    expect(stdout).toContain("backing file: b\xf6.base");
  });

  test("names of snapshots survive that others are taken and deleted", () => {
    const path = join(folder, "snapshots.qcow2");
    createImage(path, { format: "qcow2", size: 2 ** 20 });
    {
      using image = openQcow2(path);
      createSnapshot(image, BYTES);
      createSnapshot(image, "other");
      deleteSnapshot(image, "other");
    }
    const { stdout } = spawnSync("qemu-img", ["snapshot", "-l", path], { encoding: "latin1" });
    expect(stdout).toMatch(/^1 +b\xf6 /m);
  });

  test("half a character is refused, and no other name is made of it", () => {
    expect(() => openImage(join(folder, "x\ud800"))).toThrow("half a character");
    expect(() => createImage(join(folder, "x\ud800"), { format: "raw", size: 512 })).toThrow(
      "half a character",
    );
    expect(entries().filter((name) => name.startsWith("x"))).toEqual([]);
  });

  test("the command line's own bytes are found", () => {
    const line = Buffer.from("node\0main.js\0img\0info\0b\xf6\0\0", "latin1");
    expect(exactArguments(["img", "info", "b\ufffd", ""], () => line)).toEqual(["img", "info", BYTES, ""]);
    const replaced = Buffer.from("node\0main.js\0b\ufffd\0");
    expect(exactArguments(["b\ufffd"], () => replaced)).toEqual(["b\ufffd"]);
    for (const other of [Buffer.alloc(0), Buffer.from("node\0c\0"), line]) {
      expect(() => exactArguments(["b\ufffd.raw"], () => other)).toThrow("its bytes cannot be read");
    }
  });

  test("the command itself takes and prints them; run refuses them", () => {
    const shell = (line: string) => spawnSync("bash", ["-c", line], { cwd: folder, encoding: "latin1" });
    const command = `"${process.execPath}" "${COMMAND}"`;
    expect(shell(`${command} img create -f raw $'c\\xf6.raw' 1M`).stdout).toBe(
      "Formatting 'c\xf6.raw', fmt=raw size=1048576\n",
    );
    expect(shell(`${command} img info $'c\\xf6.raw'`).stdout).toContain("image: c\xf6.raw\n");
    expect(entries()).toContain("c\xf6.raw");
    const { status, stderr } = shell(`${command} run -kernel $'c\\xf6.raw'`);
    expect(status).toBe(2);
    expect(stderr).toContain("is not UTF-8; only vmexit img takes such names");
  });
});

test("the file system's own kinds of names do no harm", () => {
  writeFileSync(join(folder, "-f"), Buffer.alloc(512));
  expect(ours(folder, ["info", "--", "-f"]).status).toBe(0);
  expect(qemuImg("info", join(folder, "plain.qcow2"))).toContain("qcow2");
});
