/** commit, rebase, dd and measure beside qemu-img's: same output, same status, same disks. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ImgPair, ours, theirs } from "../../../support/img-pair.ts";
import { sameForm } from "../../../support/old-qemu.ts";
import { qemuIo } from "../../../support/qemu-tools.ts";

/** Chains of several kinds; made once, by QEMU. */
function gallery(folder: string): void {
  const create = (...args: string[]) => execFileSync("qemu-img", ["create", "-q", ...args], { cwd: folder });
  const io = (name: string, ...commands: string[]) => qemuIo(join(folder, name), commands);
  const over = (name: string, below: string, format: string, ...more: string[]) =>
    create("-f", "qcow2", "-b", below, "-F", format, name, ...more);
  create("-f", "raw", "flat.raw", "3M");
  qemuIo(join(folder, "flat.raw"), ["write -P 9 2M 64k"], "raw");
  writeFileSync(join(folder, "odd.raw"), Buffer.alloc(10_000, 3));
  create("-f", "qcow2", "base.qcow2", "4M");
  io("base.qcow2", "write -P 1 0 128k", "write -P 4 3M 1M");
  create("-f", "qcow2", "other.qcow2", "5M");
  io("other.qcow2", "write -P 1 0 128k", "write -P 6 2M 64k", "write -P 4 3M 300k", "write -P 7 4M 1M");
  over("over.qcow2", "base.qcow2", "qcow2");
  io("over.qcow2", "write -P 2 1M 128k", "write -z 0 64k");
  over("top.qcow2", "over.qcow2", "qcow2", "6M");
  io("top.qcow2", "write -P 3 5M 128k", "write -z 64k 64k");
  over("onraw.qcow2", "flat.raw", "raw", "4M");
  io("onraw.qcow2", "write -P 5 1M 64k", "write -P 5 3900k 10k", "write -z 2M 64k");
  for (const name of ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]) {
    over(`${name}.qcow2`, "base.qcow2", "qcow2");
    io(`${name}.qcow2`, "write -P 2 1M 128k", "write -z 0 64k", "write -P 8 3M 64k");
  }
  over("old.qcow2", "base.qcow2", "qcow2", "-o", "compat=0.10,cluster_size=4k");
  io("old.qcow2", "write -P 2 1M 128k");
  over("sub.qcow2", "base.qcow2", "qcow2", "-o", "extended_l2=on,cluster_size=128k");
  io("sub.qcow2", "write -P 2 1M 6k", "write -z 4k 8k");
  over("snaps.qcow2", "base.qcow2", "qcow2");
  io("snaps.qcow2", "write -P 2 1M 128k");
  execFileSync("qemu-img", ["snapshot", "-c", "one", "snaps.qcow2"], { cwd: folder });
  io("snaps.qcow2", "write -P 3 1M 64k", "write -P 3 2M 64k");
  create("-f", "qcow2", "alone.qcow2", "5M");
  io("alone.qcow2", "write -P 3 1M 64k");
  over("smaller.qcow2", "base.qcow2", "qcow2", "1M");
  io("smaller.qcow2", "write -P 3 128k 64k");
  create("-f", "qcow2", "-u", "-b", "missing.qcow2", "-F", "qcow2", "orphan.qcow2", "1M");
  create("-f", "qcow2", "-o", "compat=0.10", "version2.qcow2", "1M");
  create("-f", "qcow2", "bitmaps.qcow2", "4M");
  for (const more of [["b0"], ["-g", "512", "a longer name"], ["--disable", "off"]]) {
    const [name, ...options] = [...more].reverse();
    execFileSync("qemu-img", ["bitmap", "--add", ...options.reverse(), "bitmaps.qcow2", name], {
      cwd: folder,
    });
  }
  execFileSync("qemu-img", ["convert", "-c", "-O", "qcow2", "other.qcow2", "packed.qcow2"], { cwd: folder });
}

const pair = new ImgPair(gallery);
afterAll(() => pair.close());

/** Words of a line; quotes keep a word together. */
function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain);
}

const DISKS = ["base", "other", "over", "top", "onraw", "old", "sub", "snaps", "alone", "bitmaps", "packed"]
  .map((name) => `${name}.qcow2`)
  .concat("flat.raw", "odd.raw");

const MEASURES = [
  ...DISKS.flatMap((disk) => [
    `measure ${disk}`,
    `measure -O qcow2 ${disk}`,
    `measure -O qcow2 --output=json -o cluster_size=4k ${disk}`,
    `measure -O qcow2 -o compat=0.10,cluster_size=512 ${disk}`,
    `measure -O qcow2 -o extended_l2=on ${disk}`,
    `measure -O qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 ${disk}`,
    `measure -O qcow2 -o preallocation=metadata ${disk}`,
    `measure -O qcow2 -o preallocation=falloc ${disk}`,
  ]),
  ...["0", "100", "512", "1M", "1G", "1.5T", "64T", "4P"].flatMap((size) => [
    `measure --size ${size}`,
    `measure --output=json -O qcow2 --size=${size}`,
    `measure -O qcow2 -o refcount_bits=1 --size ${size}`,
    `measure -O qcow2 -o refcount_bits=64,cluster_size=2M --size ${size}`,
    `measure -O qcow2 -o cluster_size=512 --size ${size}`,
    `measure -O qcow2 -o data_file=x,data_file_raw=on,backing_file=y --size ${size}`,
  ]),
  "measure -l one -O qcow2 snaps.qcow2",
  "measure -l snapshot.name=one -O qcow2 snaps.qcow2",
  "measure -l nope snaps.qcow2",
  "measure -l one flat.raw",
  "measure -U base.qcow2",
  "measure -O qcow2 -f raw base.qcow2",
  "measure -O qcow2 -o lazy_refcounts=on --size 1G",
  "measure",
  "measure a b",
  "measure nope",
  "measure orphan.qcow2",
  "measure --size foo",
  "measure --size -1",
  "measure --size 1G base.qcow2",
  "measure -l one --size 3",
  "measure -f raw --size 1M",
  "measure -O foo --size 1G",
  "measure -f foo base.qcow2",
  "measure --output=xml base.qcow2",
  "measure -O qcow2 -o foo=1 --size 1G",
  "measure -O qcow2 -o cluster_size=1000 --size 1M",
  "measure -O qcow2 -o extended_l2=on,cluster_size=8k --size 1M",
  "measure -O qcow2 -o refcount_bits=3 --size 1M",
];

test.each(MEASURES)("%s", (line) => {
  const expected = sameForm(words(line), theirs(pair.qemu, words(line)));
  const found = sameForm(words(line), ours(pair.qemu, words(line)));
  expect(found).toEqual(expected);
});

/** In order, each tool in its own folder. */
const WRITING = [
  // What cannot be done, while the images are as they were.
  "commit",
  "commit a b",
  "commit nope",
  "commit alone.qcow2",
  "commit -b x alone.qcow2",
  "commit -b nope top.qcow2",
  "commit -b top.qcow2 top.qcow2",
  "commit -t foo top.qcow2",
  "commit -r foo top.qcow2",
  "commit -f raw base.qcow2",
  "commit -f foo base.qcow2",
  "commit flat.raw",
  "commit -T none top.qcow2",
  "commit orphan.qcow2",
  "rebase",
  "rebase a b",
  "rebase over.qcow2",
  "rebase -b flat.raw -F raw nope",
  "rebase -b base.qcow2 over.qcow2",
  "rebase -u -b base.qcow2 over.qcow2",
  "rebase -b nope -F qcow2 over.qcow2",
  "rebase -b base.qcow2 -F foo over.qcow2",
  "rebase -u -b base.qcow2 -F foo over.qcow2",
  "rebase -b flat.raw -F qcow2 over.qcow2",
  "rebase -b base.qcow2 -F qcow2 flat.raw",
  "rebase -u -f raw -b base.qcow2 -F qcow2 flat.raw",
  "rebase -f raw -b '' flat.raw",
  "rebase -t foo -b base.qcow2 -F qcow2 over.qcow2",
  "rebase -T foo -b base.qcow2 -F qcow2 over.qcow2",
  "rebase -b base.qcow2 -F qcow2 orphan.qcow2",
  "dd",
  "dd if=odd.raw",
  "dd of=z",
  "dd if=nope of=z",
  "dd if=odd.raw of=z bs=0",
  "dd if=odd.raw of=z bs=foo",
  "dd if=odd.raw of=z bs=4G",
  "dd if=odd.raw of=z bs=-1",
  "dd if=odd.raw of=z count=foo",
  "dd if=odd.raw of=z skip=foo",
  "dd if=odd.raw of=z seek=1",
  "dd if=odd.raw of=z conv=notrunc",
  "dd if=odd.raw of=z foo",
  "dd -f foo if=odd.raw of=z",
  "dd -f qcow2 if=odd.raw of=z",
  "dd -n if=odd.raw of=z",
  "dd -O foo if=odd.raw of=z",
  "dd if=odd.raw of=nodir/z",
  // What can.
  "dd if=odd.raw of=dd1.raw",
  "dd if=odd.raw of=dd2.qcow2 -O qcow2 bs=1000",
  "dd if=odd.raw of=dd3.raw bs=1000 count=2",
  "dd if=top.qcow2 of=dd4.raw bs=1M skip=1",
  "dd -f qcow2 -O qcow2 if=top.qcow2 of=dd5.qcow2 bs=1M count=99",
  "dd -U if=base.qcow2 of=dd6.raw bs=1M count=0",
  "dd if=odd.raw if=base.qcow2 of=dd7.raw bs=1.5k",
  "dd if=odd.raw of=dd8.raw bs=1000 skip=30",
  "dd if=packed.qcow2 of=dd9.raw bs=4M",
  "dd if=snaps.qcow2 of=dd9.raw",
  "commit onraw.qcow2",
  "commit one.qcow2",
  "commit -q two.qcow2",
  "commit -d three.qcow2",
  "commit -t none -r 0 -f qcow2 smaller.qcow2",
  "commit snaps.qcow2",
  "commit old.qcow2",
  "commit sub.qcow2",
  "commit -b base.qcow2 top.qcow2",
  "commit -q -b base.qcow2 top.qcow2",
  "rebase -b other.qcow2 -F qcow2 four.qcow2",
  "rebase -b '' five.qcow2",
  "rebase -b '' -F qcow2 -q six.qcow2",
  "rebase -b flat.raw -F raw seven.qcow2",
  "rebase -b flat.raw -F raw alone.qcow2",
  "rebase -u -b nope -F raw eight.qcow2",
  "rebase -b base.qcow2 -F qcow2 eight.qcow2",
  "rebase -u -b other.qcow2 -F qcow2 eight.qcow2",
  "rebase -u -b '' nine.qcow2",
  "rebase -U -T none -t writeback -b base.qcow2 -F qcow2 nine.qcow2",
  "rebase -u nine.qcow2",
  "rebase -u -F qcow2 nine.qcow2",
  "rebase -b other.qcow2 -F qcow2 old.qcow2",
  "rebase -b other.qcow2 -F qcow2 sub.qcow2",
  "rebase -b other.qcow2 -F qcow2 snaps.qcow2",
];

test.each(WRITING)("%s (each in its own folder)", (line) => {
  const { ours, theirs } = pair.run(words(line));
  expect(sameForm(words(line), ours)).toEqual(sameForm(words(line), theirs));
});

const RESULTS = [
  ...["base", "over", "top", "onraw", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
  ...["old", "sub", "snaps", "alone", "smaller", "dd2", "dd5"],
]
  .map((name) => `${name}.qcow2`)
  .concat(
    [1, 3, 4, 6, 7, 8, 9].map((n) => `dd${n}.raw`),
    "flat.raw",
  );

test.each(RESULTS)("%s is the same disk afterwards, whoever did it", (name) => {
  const [info, mine] = [pair.qemu, pair.vmexit].map((folder) =>
    withoutHost(theirs(folder, ["info", "--output=json", name]).stdout),
  );
  expect(mine).toEqual(info);
  if (name.includes("qcow2")) {
    const check = JSON.parse(theirs(pair.vmexit, ["check", "--output=json", name]).stdout);
    expect(check).toMatchObject({ "check-errors": 0 });
    expect(check).not.toHaveProperty("corruptions");
    expect(check).not.toHaveProperty("leaks");
  }
  const same = theirs(pair.qemu, ["compare", name, join(pair.vmexit, name)]);
  expect(same.stdout).toBe("Images are identical.\n");
});

/** What depends on the host's file system, and when snapshots were taken. */
function withoutHost(json: string): unknown {
  return JSON.parse(json, (key, value) => (/^(actual-size|date-n?sec)$/.test(key) ? 0 : value));
}
