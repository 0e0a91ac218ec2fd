/** Which images and which other files are opened, and what is said about those that are not. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { bitmapsOf } from "../../../../src/images/qcow2/change-bitmaps.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { qemuCheck, qemuImg, qemuIo } from "../../../support/qemu-tools.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-qcow2-open-"));
afterAll(() => rmSync(folder, { recursive: true }));

const MIB = 2 ** 20;
let files = 0;

function freshPath(name = "image.qcow2"): string {
  const own = join(folder, String(files++));
  mkdirSync(own);
  return join(own, name);
}

/** Changes bytes of an image. */
function patch(path: string, change: (view: DataView, bytes: Buffer) => void): void {
  const bytes = readFileSync(path);
  change(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), bytes);
  writeFileSync(path, bytes);
}

/** An image that names `backing`, without asking whether it is there. */
function overlay(backing: string, format?: string, path = freshPath()): string {
  const named = format === undefined ? [] : ["-F", format];
  qemuImg("create", "-q", "-f", "qcow2", "-u", ...named, "-b", backing, path, "1M");
  return path;
}

test("a backing file in the image's folder is followed by its relative name", () => {
  const path = freshPath();
  writeFileSync(join(path, "..", "base.raw"), Buffer.alloc(MIB, 7));
  using image = openQcow2(overlay("base.raw", "raw", path));
  const bytes = new Uint8Array(512);
  readDisk(image, bytes, 4096);
  expect(bytes.every((byte) => byte === 7)).toBe(true);
});

test("a backing file outside the image's folder needs a word from the user, behind a symbolic link too", () => {
  const outside = freshPath("base.raw");
  writeFileSync(outside, Buffer.alloc(MIB, 7));
  const path = freshPath();
  symlinkSync(outside, join(path, "..", "link.raw"));
  for (const name of [outside, "link.raw"]) {
    const image = overlay(name, "raw", freshPath());
    if (name === "link.raw") symlinkSync(outside, join(image, "..", "link.raw"));
    expect(() => openQcow2(image)).toThrow("other-files=anywhere");
    openQcow2(image, { otherFiles: "anywhere" }).close();
  }
});

test.each(['json:{"driver":"null-co"}', "nbd://localhost/x", "fat:/etc"])(
  "the backing file %s is never followed",
  (name) => {
    const path = freshPath();
    createQcow2(path, { size: MIB });
    patch(path, (view, bytes) => {
      view.setUint32(12, 60000);
      view.setUint32(16, name.length);
      bytes.write(name, 60000);
    });
    expect(() => openQcow2(path, { otherFiles: "anywhere" })).toThrow("is not a plain path");
  },
);

test("a chain that leads back to itself is refused", () => {
  const path = freshPath("a.qcow2");
  overlay("b.qcow2", "qcow2", path);
  overlay("a.qcow2", "qcow2", join(path, "..", "b.qcow2"));
  expect(() => openQcow2(path)).toThrow("leads back to");
});

test("a backing file of unsaid format may be qcow2, but not name further files", () => {
  const path = freshPath("base.qcow2");
  createQcow2(path, { size: MIB });
  const top = join(path, "..", "top.qcow2");
  createQcow2(top, { size: MIB, backingFile: "base.qcow2", backingFormat: "qcow2" });
  const unsaid = (image: string) =>
    patch(image, (view) => {
      view.setUint32(112, 0x12345678); // the extension that names the format, now an unknown one
    });
  unsaid(top);
  openQcow2(top).close();
  const middle = join(path, "..", "middle.qcow2");
  createQcow2(middle, { size: MIB, backingFile: "base.qcow2", backingFormat: "qcow2" });
  createQcow2(top, { size: MIB, backingFile: "middle.qcow2", backingFormat: "qcow2", overwrite: true });
  unsaid(top);
  expect(() => openQcow2(top)).toThrow("it names a further file");
});

test("an unknown incompatible feature is refused by the name that the image gives it", () => {
  const path = freshPath();
  createQcow2(path, { size: MIB });
  patch(path, (view, bytes) => {
    view.setBigUint64(72, 1n << 40n);
    const at = bytes.indexOf("lazy refcounts");
    bytes.set([0, 40], at - 2);
    bytes.write("quantum clusters\0", at);
  });
  expect(() => openQcow2(path)).toThrow('features that this version does not know: "quantum clusters"');
});

test("an encrypted image is refused with a sentence", () => {
  const path = freshPath();
  qemuImg(
    "create",
    "-q",
    "-f",
    "qcow2",
    "--object",
    "secret,id=s,data=x",
    "-o",
    "encrypt.format=aes,encrypt.key-secret=s",
    path,
    "1M",
  );
  expect(() => openQcow2(path)).toThrow("it is encrypted, which is not supported");
});

test("an image that was not closed after lazy refcounts is counted anew", () => {
  const path = freshPath();
  createQcow2(path, { size: MIB, lazyRefcounts: true });
  const lost = openQcow2(path, { lock: false, readOnly: true }); // somebody who never closes
  lost.close();
  const image = openQcow2(path);
  writeDisk(image, new Uint8Array(65536).fill(5), 0);
  image.flush();
  const copy = freshPath();
  writeFileSync(copy, readFileSync(path)); // as a crash would leave it
  image.close();
  expect(readFileSync(copy)[79] & 1).toBe(1);
  const again = openQcow2(copy);
  expect(again.metadata.isDirtyImage).toBe(false);
  expect(checkQcow2(again)).toMatchObject({ corruptions: 0, leaks: 0 });
  again.close();
  expect(qemuCheck(copy)).toMatchObject({ corruptions: 0, leaks: 0 });
  expect(qemuIo(copy, ["read -P 5 0 65536"])).toContain("read 65536/65536");
});

test("an image that we have open is refused by QEMU, and one that QEMU has open by us", async () => {
  const path = freshPath();
  createQcow2(path, { size: MIB });
  const image = openQcow2(path);
  expect(() => qemuIo(path, ["write 0 512"])).toThrow("lock");
  image.close();
  qemuIo(path, ["write 0 512"]);

  const qemu = spawn("qemu-io", ["-f", "qcow2", path], { stdio: ["pipe", "pipe", "ignore"] });
  const ended = new Promise((resolve) => qemu.once("exit", resolve));
  await new Promise((resolve) => qemu.stdout.once("data", resolve)); // its prompt: the image is open
  expect(() => openQcow2(path)).toThrow("another program is using it");
  expect(() => openQcow2(path, { readOnly: true })).toThrow("another program is using it");
  openQcow2(path, { readOnly: true, lock: false }).close();
  qemu.stdin.end("quit\n");
  await ended;
  openQcow2(path).close();
});

test("several programs may read an image at once", () => {
  const path = freshPath();
  createQcow2(path, { size: MIB });
  using _ = openQcow2(path, { readOnly: true });
  openQcow2(path, { readOnly: true }).close();
  expect(() => openQcow2(path)).toThrow("another program is using it");
});

test("dirty bitmaps are in use from the first write until the image is closed; reading leaves them alone", () => {
  const path = freshPath();
  createQcow2(path, { size: MIB });
  qemuImg("bitmap", "--add", path, "b0");
  const flags = () => {
    using image = openQcow2(path, { readOnly: true, lock: false });
    return bitmapsOf(image).map(({ inUse }) => inUse);
  };
  const read = openQcow2(path);
  expect(checkQcow2(read)).toMatchObject({ corruptions: 0, leaks: 0 });
  readDisk(read, new Uint8Array(512), 0);
  read.close();
  expect(flags()).toEqual([false]);
  const written = openQcow2(path);
  writeDisk(written, new Uint8Array(512), 0);
  expect(flags()).toEqual([true]);
  written.close();
  expect(flags()).toEqual([false]);
  expect(qemuCheck(path).corruptions).toBe(0);
});
