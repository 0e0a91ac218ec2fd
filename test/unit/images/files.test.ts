import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type DriveImage, describeDrive } from "../../../src/images/drive.ts";
import { attachFiles, KeptFiles } from "../../../src/images/files.ts";
import { openImage } from "../../../src/images/open-image.ts";
import { createQcow2 } from "../../../src/images/qcow2/create.ts";
import { openQcow2 } from "../../../src/images/qcow2/open.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-files-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

const drive = (file: string, format: DriveImage["format"], more: Partial<DriveImage> = {}) => ({
  ...({ file, format, readOnly: false, otherFiles: "folder", cacheBytes: undefined } as const),
  ...({
    cache: "writeback",
    aio: "threads",
    discard: "unmap",
    detectZeroes: "off",
    overlay: undefined,
  } as const),
  ...more,
});

test("a chain is opened again from the files that were kept, though their names are gone", () => {
  writeFileSync(path("base.raw"), "base".padEnd(65536, "."));
  createQcow2(path("top.qcow2"), { size: 65536, backingFile: "base.raw", backingFormat: "raw" });
  const files = new KeptFiles();
  describeDrive(drive(path("top.qcow2"), "qcow2"), files);
  renameSync(path("base.raw"), path("elsewhere.raw"));
  renameSync(path("top.qcow2"), path("elsewhere.qcow2"));
  const attached = attachFiles(structuredClone(files.found));
  const image = openQcow2(path("top.qcow2"), { files: attached });
  try {
    expect([image.size, image.readOnly, image.backing?.readOnly]).toEqual([65536, false, true]);
  } finally {
    image.close();
    files.close();
  }
});

test("a file that the machine did not open cannot be opened later", () => {
  writeFileSync(path("one.raw"), "1".repeat(512));
  writeFileSync(path("two.raw"), "2".repeat(512));
  using files = {
    kept: new KeptFiles(),
    [Symbol.dispose]() {
      this.kept.close();
    },
  };
  describeDrive(drive(path("one.raw"), "raw"), files.kept);
  const attached = attachFiles(files.kept.found);
  openImage(path("one.raw"), { format: "raw", files: attached }).close();
  expect(() => openImage(path("two.raw"), { format: "raw", files: attached })).toThrow(
    "two.raw was not among the files",
  );
  expect(() => openImage(path("one.raw"), { format: "raw", readOnly: true, files: attached })).toThrow(
    "one.raw",
  );
});

test("what describes a drive changes nothing in its image: a dirty one stays dirty until it is used", () => {
  const file = path("dirty.qcow2");
  createQcow2(file, { size: 2 ** 20, lazyRefcounts: true });
  // As a program that ended in the middle leaves it: open, written, not closed.
  const image = openQcow2(file);
  image.metadata.setDirty(true);
  image.metadata.file.flush();
  const isDirty = () => {
    const opened = openQcow2(file, { readOnly: true, lock: false });
    const { isDirtyImage } = opened.metadata;
    opened.close();
    return isDirtyImage;
  };
  expect(isDirty()).toBe(true);
  image.metadata.file.close();
  const files = new KeptFiles();
  describeDrive(drive(file, "qcow2"), files);
  expect(isDirty()).toBe(true);
  openImage(file, { format: "qcow2", files: attachFiles(files.found) }).close();
  expect(isDirty()).toBe(false);
  files.close();
});
