/** What qemu-img 11.1.3 prints, where 7.2 (the one that other tests run) prints something else; observed on Debian sid. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ours } from "../../../support/img-pair.ts";
import { qemuImg } from "../../../support/qemu-tools.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-texts-"));
afterAll(() => rmSync(folder, { recursive: true }));
const run = (line: string) => ours(folder, line.split(" "));

beforeAll(() => {
  qemuImg("create", "-q", "-f", "qcow2", join(folder, "a"), "1G");
  qemuImg("create", "-q", "-f", "qcow2", "-u", "-b", "a", "-F", "qcow2", join(folder, "over"), "1G");
  qemuImg("snapshot", "-c", "s1", join(folder, "over"));
  writeFileSync(join(folder, "raw"), Buffer.alloc(1000, 1));
  execFileSync("sync");
});

const stored = (name: string) => statSync(join(folder, name)).blocks * 512;

describe("info", () => {
  test("tells of the file under the format, its length in whole sectors", () => {
    expect(run("info a").stdout).toBe(`image: a
file format: qcow2
virtual size: 1 GiB (1073741824 bytes)
disk size: ${stored("a") / 1024} KiB
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: ${stored("a") / 1024} KiB
`);
  });

  test("in JSON, with QEMU's order of keys and its empty objects", () => {
    expect(run("info --output=json raw").stdout).toBe(`{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 1024,
                "filename": "raw",
                "format": "file",
                "actual-size": ${stored("raw")},
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1024,
    "filename": "raw",
    "format": "raw",
    "actual-size": ${stored("raw")},
    "dirty-flag": false
}
`);
  });
});

describe("snapshot", () => {
  test("lists if nothing else is asked for", () => {
    const { stdout } = run("snapshot over");
    const [title, header, row] = stdout.split("\n");
    expect(title).toBe("Snapshot list:");
    expect(header).toBe("ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT");
    expect(row).toMatch(/^1 {7}s1 {20}0 B \d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}0000:00:00\.000 {10}0$/);
    expect(run("snapshot --list over").stdout).toBe(stdout);
    expect(run("snapshot a")).toEqual({ stdout: "", stderr: "", status: 0 });
  });

  test("a snapshot of savevm, whose instructions nobody counted, has -- there", () => {
    const bytes = readFileSync(join(folder, "over"));
    const table = Number(bytes.readBigUInt64BE(64));
    bytes.fill(0xff, table + 56, table + 64);
    writeFileSync(join(folder, "savevm"), bytes);
    expect(run("snapshot savevm").stdout).toMatch(/0000:00:00\.000 {9}--\n$/);
  });
});

describe("long names", () => {
  test.each([
    "create --format qcow2 --options cluster_size=4k --quiet n1 1M",
    "create --format=qcow2 --backing=a --backing-format=qcow2 --quiet n2",
    "create -f qcow2 -b a -B qcow2 -q n2",
    "create -f qcow2 -b a -F qcow2 -q n2",
    "create --format=qcow2 --backing-unsafe --backing=gone --backing-format=qcow2 --quiet n3 1M",
    "convert --source-format qcow2 --source-cache=none --target-format qcow2 --target-format-options compat=0.10 --target-cache none a n4",
    "convert --snapshot s1 --target-format=raw --sparse-size=64k --force-share over n5",
    "convert --target-format qcow2 --backing a --backing-format qcow2 over n6",
    "convert -O qcow2 -b a -F qcow2 over n6",
    "convert -O qcow2 -B a -F qcow2 over n6",
    "convert --no-create --target-is-zero --target-format qcow2 a n1024",
    "convert --compress --target-format qcow2 --parallel 4 --oob-writes --rate-limit 1G raw n7",
    "convert --copy-range-offloading --quiet raw n8",
    "resize --format qcow2 --quiet n1 2M",
    "snapshot --create s2 n1",
    "snapshot --format qcow2 --apply s2 --quiet n1",
    "snapshot --delete s2 n1",
    "check --format qcow2 --cache none --quiet --force-share a",
    "commit --base a --drop --quiet --cache none --rate-limit 1G over",
    "rebase --backing-unsafe --backing a --backing-format qcow2 --cache none --backing-cache none --quiet n6",
    "compare --a-format qcow2 --b-format qcow2 --strict --cache none --quiet a a",
    "map --start-offset 0 --max-length 1M a",
    "measure --size 1G --target-format qcow2",
    "measure --snapshot s1 over",
    "info --cache none a",
    "bitmap --add --granularity 4k n1 b",
    "bitmap --add --merge b --source-file n1 --source-format qcow2 n9 c",
  ])("%s", (line) => {
    qemuImg("create", "-q", "-f", "qcow2", join(folder, "n1024"), "1G");
    qemuImg("create", "-q", "-f", "qcow2", join(folder, "n9"), "2M");
    const { stderr, status } = run(line);
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });
});

test.each([
  [
    "create --frob x 1",
    "qemu-img create: unrecognized option '--frob'\nTry 'qemu-img create --help' for more information",
  ],
  [
    "create -6 x 1",
    "qemu-img create: invalid option -- '6'\nTry 'qemu-img create --help' for more information",
  ],
  ["create", "qemu-img: Expecting image file name\nTry 'qemu-img create --help' for more information"],
  ["create x 1X", "qemu-img: Invalid image size specified: '1X'"],
  ["create x", "qemu-img: x: Image creation needs a size parameter"],
  [
    "resize x",
    "qemu-img: Expecting image file name and size\nTry 'qemu-img resize --help' for more information",
  ],
  [
    "info --output=foo a",
    "qemu-img: --output expects 'human' or 'json', not 'foo'\nTry 'qemu-img info --help' for more information",
  ],
  [
    "check -r foo a",
    "qemu-img: --repair (-r) expects 'leaks' or 'all', not 'foo'\nTry 'qemu-img check --help' for more information",
  ],
  [
    "info --fo raw a",
    "qemu-img info: option '--fo' is ambiguous; possibilities: '--format' '--force-share'\nTry 'qemu-img info --help' for more information",
  ],
  ["convert -m 0 a b", "qemu-img: Invalid number of coroutines specified. Must be between 1 and 16."],
  ["convert --bitmaps a a x", "qemu-img: Copying bitmaps only possible with single source"],
  ["convert --bitmaps -O qcow2 raw x", "qemu-img: Source lacks bitmap support"],
  [
    "bitmap a b",
    "qemu-img: Need at least one of --add, --remove, --remove-all, --clear, --enable, --disable, or --merge",
  ],
  [
    "bitmap --remove a nope",
    "qemu-img: Operation remove on bitmap nope failed: Dirty bitmap 'nope' not found",
  ],
  [
    "bitmap --add -g 3 a b",
    "qemu-img: Operation add on bitmap b failed: Granularity must be power of 2 and at least 512",
  ],
  ["bitmap --clear -g 4k a b", "qemu-img: granularity only supported with --add"],
  ["bitmap --add -b a a b", "qemu-img: Merge bitmap source file only supported with --merge"],
])("%s is refused in these words", (line, message) => {
  expect(run(line)).toEqual({ stdout: "", stderr: `${message}\n`, status: 1 });
});

describe("help", () => {
  const NAMES = /^ {2}(\w+) - /gm;

  test("every command has a usage, a sentence and its options", () => {
    const names = [...run("--help").stdout.matchAll(NAMES)].map(([, name]) => name);
    expect(names).toEqual(names.toSorted());
    for (const name of names) {
      const { stdout, status } = run(`${name} --help`);
      expect(stdout).toMatch(
        new RegExp(
          `^Usage:\n  qemu-img ${name} .*\n\n[A-Z].*\\.\n\nArguments:\n  -h, --help\n     print this help and exit\n`,
        ),
      );
      expect(status).toBe(0);
      expect(run(`${name} -q -h`).stdout === stdout || !stdout.includes("--quiet")).toBe(true);
    }
  });
});

describe("convert --bitmaps", () => {
  test("copies those that are consistent, and says which are not", () => {
    qemuImg("create", "-q", "-f", "qcow2", join(folder, "bits"), "4M");
    expect(run("bitmap --add -g 4k bits one").status).toBe(0);
    expect(run("bitmap --add --disable bits two").status).toBe(0);
    expect(run("convert --bitmaps -O qcow2 bits copy")).toEqual({ stdout: "", stderr: "", status: 0 });
    const flags = (name: string) =>
      JSON.parse(qemuImg("info", "--output=json", join(folder, name)))["format-specific"].data.bitmaps;
    expect(flags("copy")).toEqual([
      { flags: ["auto"], name: "one", granularity: 4096 },
      { flags: [], name: "two", granularity: 65536 },
    ]);
    const bytes = readFileSync(join(folder, "bits"));
    const at = bytes.indexOf("one") - 24;
    bytes.writeUInt32BE(3, at + 12); // in use, auto
    writeFileSync(join(folder, "bits"), bytes);
    expect(run("convert --bitmaps -O qcow2 bits copy2")).toEqual({
      stdout: "",
      stderr:
        "qemu-img: Cannot copy inconsistent bitmap 'one'\nTry --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n",
      status: 1,
    });
    expect(run("convert --bitmaps --skip-broken-bitmaps -O qcow2 bits copy2")).toEqual({
      stdout: "",
      stderr: "qemu-img: warning: Skipping inconsistent bitmap 'one'\n",
      status: 0,
    });
    expect(flags("copy2")).toEqual([{ flags: [], name: "two", granularity: 65536 }]);
    expect(qemuImg("check", join(folder, "copy2"))).toContain("No errors");
    expect(run("bitmap --remove-all bits").status).toBe(0);
    expect(flags("bits")).toBeUndefined();
  });
});
