/** Files that the owner of a PC gives its guest. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ownerFiles, readUserFiles } from "../../../src/vm/user-files.ts";
import { checkOptions } from "../../../src/vm/validate.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-user-files-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "file");
writeFileSync(file, "in it");

test("files are read once; texts of SMBIOS type 11 keep their order", () => {
  const checked = checkOptions({
    machine: "pc",
    fwCfg: [{ name: "opt/a", file }],
    smbios: [{ type: 11, path: file, value: ["one", "two"] }],
  });
  const read = readUserFiles(checked);
  writeFileSync(file, "changed");
  const { userFiles, smbios } = ownerFiles({ ...checked, ...read });
  expect(Buffer.from(userFiles.get("opt/a") ?? []).toString()).toBe("in it");
  expect(smbios.oemStrings).toEqual(["in it", "one", "two"]);
});

test("a file that is not there is named, with its option", () => {
  const checked = checkOptions({ machine: "pc", fwCfg: [{ name: "opt/a", file: join(folder, "missing") }] });
  expect(() => readUserFiles(checked)).toThrow(/^fwCfg\[0\]\.file: .*missing/);
});
