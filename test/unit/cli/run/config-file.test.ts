import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { withConfigFiles } from "../../../../src/cli/run/config-file.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-config-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(text: string): string {
  const path = join(folder, "machine.cfg");
  writeFileSync(path, text);
  return path;
}

test("a section is an option, what is in quotes its id, and each line a key", () => {
  const path = file(`# a machine
[machine]
  type = "microvm"

[memory]
  size = "256M"

[smp-opts]
  cpus = "2"

[drive "d0"]
  file = "a,b.img"
  if = "none"

[device "rng0"]
  driver = "virtio-rng-device"
`);
  expect(withConfigFiles(["-kernel", "K", "-readconfig", path, "-nographic"])).toEqual([
    ...["-kernel", "K"],
    ...["-machine", "type=microvm", "-m", "size=256M", "-smp", "cpus=2"],
    ...["-drive", "id=d0,file=a,,b.img,if=none", "-device", "id=rng0,driver=virtio-rng-device"],
    "-nographic",
  ]);
});

test("a line that is neither is named", () => {
  const path = file('[drive "d0"]\nfile = disk.img\n');
  expect(() => withConfigFiles([`-readconfig=${path}`])).toThrow(
    `-readconfig ${path}: line 2 is neither a section, as in [drive "ID"], nor a key, as in file = "disk.img"`,
  );
});

test("a file that is not there is named", () => {
  expect(() => withConfigFiles(["-readconfig", "/nonexistent"])).toThrow(
    /^-readconfig \/nonexistent: .*ENOENT/,
  );
});
