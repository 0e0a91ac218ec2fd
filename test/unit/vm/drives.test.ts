import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { specOf } from "../../../src/vm/drives.ts";
import { checkOptions } from "../../../src/vm/validate.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-drives-"));
afterAll(() => rmSync(folder, { recursive: true }));

function image(name: string, head: string | Uint8Array, size = 4096): string {
  const file = join(folder, name);
  const bytes = new Uint8Array(size);
  bytes.set(typeof head === "string" ? new TextEncoder().encode(head) : head);
  writeFileSync(file, bytes);
  return file;
}

test("a raw image's size is the disk's, rounded up to whole sectors", () => {
  const file = image("odd.img", "", 1000);
  const { drives } = specOf(checkOptions({ kernel: "k", drives: [{ file }] }));
  expect(drives).toMatchObject([{ size: 1024, readOnly: false, queues: 1, writeCache: true }]);
});

test.each([
  ["qcow2", Uint8Array.of(0x51, 0x46, 0x49, 0xfb)],
  ["VMDK", "KDMV"],
  ["VHDX", "vhdxfile"],
])("a %s image is not given to a guest as raw bytes unless format says so", (format, head) => {
  const file = image(`${format}.img`, head);
  expect(() => specOf(checkOptions({ kernel: "k", drives: [{ file }] }))).toThrow(
    `drives[0].file: "${file}" is a ${format} image; make a raw one of it (qemu-img convert -O raw)`,
  );
  expect(specOf(checkOptions({ kernel: "k", drives: [{ file, format: "raw" }] })).drives).toHaveLength(1);
});

test("a drive whose file is not there is named", () => {
  const file = join(folder, "none.img");
  expect(() => specOf(checkOptions({ kernel: "k", drives: [{ file }] }))).toThrow(
    expect.objectContaining({ code: "ENOENT", message: expect.stringContaining(file) }),
  );
});
