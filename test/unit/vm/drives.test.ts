import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { DriveOptions } from "../../../src/config/devices/virtio-blk.ts";
import { createQcow2 } from "../../../src/images/qcow2/create.ts";
import { openQcow2 } from "../../../src/images/qcow2/open.ts";
import { Drives } from "../../../src/vm/drives.ts";
import { checkOptions } from "../../../src/vm/validate.ts";
import { qemuImg } from "../../support/qemu-tools.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-drives-"));
afterAll(() => rmSync(folder, { recursive: true }));

function image(name: string, head: string | Uint8Array, size = 4096): string {
  const file = join(folder, name);
  const bytes = new Uint8Array(size);
  bytes.set(typeof head === "string" ? new TextEncoder().encode(head) : head);
  writeFileSync(file, bytes);
  return file;
}

/** What a guest would find. */
async function disksOf(...drives: DriveOptions[]) {
  const opened = await Drives.open(checkOptions({ kernel: "k", drives }).drives);
  try {
    return opened.devices.map(({ config }) => config);
  } finally {
    opened.close();
  }
}

test("a raw image's size is the disk's, rounded up to whole sectors", async () => {
  const file = image("odd.img", "", 1000);
  const drives = await disksOf({ file });
  expect(drives).toMatchObject([{ size: 1024, readOnly: false, queues: 1, writeCache: true }]);
});

test.each([
  ["qcow2", Uint8Array.of(0x51, 0x46, 0x49, 0xfb)],
  ["vmdk", "KDMV"],
  ["vmdk", "# Disk DescriptorFile\nversion=1\n"],
  ["vpc", "conectix"],
  ["vhdx", "vhdxfile"],
])("a %s image is not given to a guest as raw bytes unless format says so", async (format, head) => {
  const file = image(`${format}.img`, head);
  await expect(disksOf({ file })).rejects.toThrow(
    `drives[0].file: "${file}" is a ${format} image; say format "${format}" ${format === "qcow2" ? "" : "and read-only "}to use it`,
  );
  expect(await disksOf({ file, format: "raw" })).toHaveLength(1);
});

test("a qcow2 image's disk is as large as the image says, not as its file", async () => {
  const file = join(folder, "disk.qcow2");
  createQcow2(file, { size: 5 * 2 ** 30 });
  const drives = await disksOf({ file, format: "qcow2" });
  expect(drives).toMatchObject([{ size: 5 * 2 ** 30, blockSize: 4096 }]);
});

test("a VDI image is a guest's drive if the guest may not write to it", async () => {
  const file = join(folder, "disk.vdi");
  qemuImg("create", "-q", "-f", "vdi", file, "3M");
  const drive = { file, format: "vdi" } as const;
  const drives = await disksOf({ ...drive, readOnly: true });
  expect(drives).toMatchObject([{ size: 3 * 2 ** 20, readOnly: true }]);
  await expect(disksOf(drive)).rejects.toThrow("images of the format vdi are only read");
});

test.each(["raw", "qcow2"] as const)(
  "a %s image that another program writes to is refused at once",
  async (format) => {
    const file = join(folder, `used.${format}`);
    createQcow2(file, { size: 2 ** 20 });
    using _ = openQcow2(file);
    await expect(disksOf({ file, format })).rejects.toThrow("another program is using it");
  },
);

test("a drive whose file is not there is named", async () => {
  const file = join(folder, "none.img");
  await expect(disksOf({ file })).rejects.toThrow(
    expect.objectContaining({ code: "ENOENT", message: expect.stringContaining(file) }),
  );
});

test("a drive on IDE is a part of the controller, at its place; one without a file is empty", async () => {
  const file = join(folder, "ide.qcow2");
  createQcow2(file, { size: 3 * 2 ** 20 });
  const options = checkOptions({
    machine: "pc",
    drives: [
      { interface: "ide", file, format: "auto" },
      { interface: "ide", media: "cdrom", index: 2 },
    ],
  });
  const drives = await Drives.open(options.drives);
  try {
    expect(drives.devices).toMatchObject([
      { kind: "ide-hd", name: "ide0-hd0", config: { size: 3 * 2 ** 20 }, place: { bus: "ide.0", unit: 0 } },
      {
        kind: "ide-cd",
        name: "ide1-cd0",
        config: { size: 0, readOnly: true },
        place: { bus: "ide.1", unit: 0 },
      },
    ]);
  } finally {
    drives.close();
  }
});
