/** Formats that are refused by name, however an image of them is reached, instead of being taken for raw disks. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { probeFormat } from "../../../src/images/open-image.ts";
import { createVm } from "../../../src/index.ts";
import { ours } from "../../support/img-pair.ts";
import { qemuImg } from "../../support/qemu-tools.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-foreign-"));
afterAll(() => rmSync(folder, { recursive: true }));

function make(name: string): string {
  const path = join(folder, name.replaceAll(/\W/g, ""));
  const bytes = Buffer.alloc(65536);
  switch (name) {
    case "QED":
    case "Parallels":
      qemuImg("create", "-q", "-f", name.toLowerCase(), path, "1M");
      return path;
    case "qcow (version 1)":
      qemuImg("create", "-q", "-f", "qcow", path, "1M");
      return path;
    case "LUKS":
      qemuImg(
        "create",
        "-q",
        "--object",
        "secret,id=s,data=x",
        "-o",
        "key-secret=s",
        "-f",
        "luks",
        path,
        "1M",
      );
      return path;
    case "Bochs":
      bytes.write("Bochs Virtual HD Image");
      break;
    case "cloop":
      bytes.write("#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n");
      break;
    case "VMDK (seSparse)":
      bytes.writeUInt32LE(0xcafebabe);
      break;
    case "dmg":
      bytes.write("koly\0\0\0\x04\0\0\x02\0", bytes.length - 512, "latin1");
  }
  writeFileSync(path, bytes);
  return path;
}

describe.each(["QED", "qcow (version 1)", "LUKS", "Parallels", "Bochs", "cloop", "VMDK (seSparse)", "dmg"])(
  "%s",
  (name) => {
    const path = make(name);

    test("is named by img, which reads its bytes if the format raw is said", () => {
      const { stderr, status } = ours(folder, ["info", path]);
      expect(status).toBe(1);
      expect(stderr).toContain(`it is a ${name} image, a format that is not supported`);
      expect(ours(folder, ["convert", "-O", "qcow2", path, "out.qcow2"]).stderr).toContain(`a ${name} image`);
      expect(ours(folder, ["info", "-f", "raw", path]).status).toBe(0);
    });

    test("is not a backing file of a format that nobody named", () => {
      const over = `${path}-over`;
      qemuImg("create", "-q", "-u", "-f", "qcow2", "-b", path, "-F", "raw", over, "1M");
      ours(folder, ["rebase", "-q", "-u", "-f", "qcow2", "-b", path, "-F", "raw", over]);
      qemuImg("rebase", "-u", "-f", "qcow2", "-b", path, "-F", "raw", over);
      expect(ours(folder, ["map", over]).status).toBe(0);
    });

    test("is not a drive unless the format raw is said", async () => {
      const options = { kernel: new Uint8Array([0xf4]), drives: [{ file: path }] };
      await expect(createVm(options)).rejects.toThrow(
        `drives[0].file: "${path}" is a ${name} image, a format that is not supported; convert it with qemu-img, or say format "raw"`,
      );
    });
  },
);

test("an image of qcow2 is one, whatever its version above 1", () => {
  const path = join(folder, "plain.qcow2");
  qemuImg("create", "-q", "-f", "qcow2", "-o", "compat=0.10", path, "1M");
  expect(probeFormat(path)).toBe("qcow2");
});

test("a disk that begins like text or with zeros is raw", () => {
  for (const text of ["", "QE", "#!/bin/sh\necho", "LUKSX", "\0".repeat(4096)]) {
    const path = join(folder, "raw");
    writeFileSync(path, text);
    expect(probeFormat(path)).toBe("raw");
  }
});
