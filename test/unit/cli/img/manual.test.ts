/** qemu-img's manual, option by option: what is there does the same, what is not is refused in a sentence. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { lockImage } from "../../../../src/images/file-lock.ts";
import { HostFile } from "../../../../src/sys/file.ts";
import { ImgPair, ours, theirs } from "../../../support/img-pair.ts";
import { sameForm, withoutChildren } from "../../../support/old-qemu.ts";
import { qemuIo } from "../../../support/qemu-tools.ts";

function gallery(folder: string): void {
  const img = (...args: string[]) => execFileSync("qemu-img", args, { cwd: folder });
  img("create", "-q", "-f", "qcow2", "base.qcow2", "4M");
  qemuIo(join(folder, "base.qcow2"), ["write -P 1 0 128k", "write -z 1M 64k"]);
  img("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "over.qcow2");
  img("snapshot", "-c", "one", "over.qcow2");
  img("snapshot", "-c", "1", "over.qcow2");
  img("create", "-q", "-f", "raw", "flat.raw", "3M");
  img("create", "-q", "-f", "qcow2", "bitmaps.qcow2", "4M");
  img("bitmap", "--add", "bitmaps.qcow2", "first");
  img("bitmap", "--add", "-g", "512", "--disable", "bitmaps.qcow2", "second");
  img("convert", "-c", "-O", "qcow2", "base.qcow2", "broken.qcow2");
  const bytes = readFileSync(join(folder, "broken.qcow2"));
  bytes.fill(0xff, 0x50000, 0x50004); // where the first cluster's compressed data begins
  writeFileSync(join(folder, "broken.qcow2"), bytes);
  mkdirSync(join(folder, "folder"));
}

const pair = new ImgPair(gallery);
afterAll(() => pair.close());

function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain);
}

const SAME = [
  "create -f raw -o help",
  "create -f raw -o help x",
  "create -o '?'",
  "convert -o help base.qcow2 x",
  "create -f qcow2 -u -b base.qcow2 x 1M",
  "info bitmaps.qcow2",
  "info ''",
  "info folder",
  "compare -T foo base.qcow2 base.qcow2",
  "compare -p base.qcow2 base.qcow2",
  "compare -p base.qcow2 flat.raw",
  "convert -r foo base.qcow2 x",
  "convert -r 0 base.qcow2 x",
  "convert -C base.qcow2 x",
  "convert -C -S 4k base.qcow2 x",
  "convert -C -c -O qcow2 base.qcow2 x",
  "convert -W -m 16 -t writethrough -T directsync base.qcow2 x",
  "convert -F raw base.qcow2 x",
  "convert --bitmaps base.qcow2 x",
  "convert --skip-broken-bitmaps base.qcow2 x",
  "convert --bitmaps -O qcow2 base.qcow2 x",
  "convert --bitmaps --skip-broken-bitmaps -O qcow2 base.qcow2 x",
  "convert --salvage broken.qcow2 x",
  "convert -q --salvage -O qcow2 broken.qcow2 x",
  "convert --salvage -c -O qcow2 broken.qcow2 x",
  "convert -l nope over.qcow2 x",
  "convert base.qcow2 base.qcow2",
  "convert base.qcow2 folder",
];

test.each(SAME)("%s", (line) => {
  const answers = [ours, theirs].map((run) => sameForm(words(line), run(pair.vmexit, words(line))));
  expect(answers[0]).toEqual(answers[1]);
});

const WRITING = [
  "create -f qcow2 -o nocow=on,extent_size_hint=1M a.qcow2 1M",
  "create -f raw -o extent_size_hint=1M,nocow=off,preallocation=off a.raw 1M",
  "create -f qcow2 -b file:base.qcow2 -F qcow2 b.qcow2",
  "create -f qcow2 -o preallocation=metadata,extended_l2=on -b base.qcow2 -F qcow2 c.qcow2",
  "create -f qcow2 -o preallocation=full,extended_l2=on -b base.qcow2 -F qcow2 d.qcow2 5M",
  "snapshot -a 1 over.qcow2",
  "snapshot -d 2 over.qcow2",
  "snapshot -d 1 over.qcow2",
  "snapshot -d one over.qcow2",
  "convert --salvage -O raw broken.qcow2 e.raw",
];

test.each(WRITING)("%s (each in its own folder)", (line) => {
  const both = pair.run(words(line));
  expect(sameForm(words(line), both.ours)).toEqual(sameForm(words(line), both.theirs));
});

test.each(["a.qcow2", "b.qcow2", "c.qcow2", "d.qcow2", "over.qcow2", "e.raw"])(
  "%s is the same disk, whoever made it",
  (name) => {
    const same = theirs(pair.qemu, ["compare", name, join(pair.vmexit, name)]);
    expect(same).toMatchObject({ stdout: "Images are identical.\n", status: 0 });
    if (!name.endsWith(".raw")) expect(theirs(pair.vmexit, ["check", name]).status).toBe(0);
  },
);

test("what is preallocated over a backing file is used by writes, and hides nothing", () => {
  const path = join(pair.vmexit, "c.qcow2");
  qemuIo(path, ["read -P 1 0 128k", "read -P 0 1M 1M", "write -P 9 2M 10k", "read -P 0 2058k 2k"]);
  expect(theirs(pair.vmexit, ["check", "c.qcow2"]).status).toBe(0);
});

test("bitmaps are listed in JSON, too", () => {
  const line = ["info", "--output=json", "bitmaps.qcow2"];
  const found = JSON.parse(withoutChildren(ours(pair.vmexit, line).stdout));
  expect(found).toEqual(JSON.parse(theirs(pair.vmexit, line).stdout));
});

test.each([
  ["rebase -b base.qcow2 -F qcow2 over.qcow2"],
  ["commit over.qcow2"],
  ["snapshot -c x over.qcow2"],
  ["convert -O qcow2 base.qcow2 over.qcow2"],
  ["resize over.qcow2 5M"],
  ["info over.qcow2"],
  ["dd if=over.qcow2 of=x"],
  ["measure over.qcow2"],
  ["rebase -u -b '' over.qcow2"],
])("%s: an image in use is refused in the same words", (line) => {
  using user = HostFile.open(join(pair.vmexit, "over.qcow2"));
  lockImage(user, "format");
  const found = ours(pair.vmexit, words(line));
  expect(found).toEqual(theirs(pair.vmexit, words(line)));
  expect(found.status).toBe(1);
});

test.each([
  ["info --image-opts driver=qcow2,file.filename=base.qcow2", /--image-opts is not supported/],
  ["check --object secret,id=a base.qcow2", /--object is not supported/],
  ["commit --image-opts x", /--image-opts is not supported/],
  ["rebase --object x y", /--object is not supported/],
  ["convert --target-image-opts -n base.qcow2 x", /--target-image-opts is not supported.*-O/],
  ["convert -r fast base.qcow2 x", /rate limit/],
  ["commit -r -1 over.qcow2", /rate limit/],
  ["create -f qcow2 -o encryption=on x 1M", /cannot encrypt/],
  ["create -f qcow2 -o encrypt.format=luks x 1M", /cannot encrypt/],
  ["-T foo info base.qcow2", /-T is not supported/],
  ["--trace=x info base.qcow2", /no trace events/],
  ["amend -o compat=0.10 base.qcow2", /which qemu-img has, is not supported/],
])("%s is refused, and says so", (line, sentence) => {
  const { stderr, status } = ours(pair.vmexit, words(line));
  expect(stderr).toMatch(sentence);
  expect(status).toBe(1);
});

test("what a disk with subclusters is given by resize --preallocation reads as zeros, whatever is below", () => {
  const { vmexit } = pair;
  const run = (line: string) => expect(ours(vmexit, words(line)).status).toBe(0);
  run("create -q -f qcow2 -o extended_l2=on -b base.qcow2 -F qcow2 f.qcow2 64k");
  run("resize --preallocation=metadata f.qcow2 4M");
  qemuIo(join(vmexit, "f.qcow2"), ["read -P 1 0 64k", "read -P 0 64k 4032k"]);
  expect(theirs(vmexit, ["check", "f.qcow2"]).status).toBe(0);
});

test("--version says which vmexit this is", () => {
  const { version }: { version: string } = JSON.parse(readFileSync("package.json", "utf8"));
  for (const word of ["--version", "-V"]) {
    expect(ours(pair.vmexit, [word])).toMatchObject({ stdout: `qemu-img version ${version}\n`, status: 0 });
  }
});
