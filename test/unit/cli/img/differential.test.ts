/** Command lines for both tools: same output, same status, same images. */
import { execFileSync } from "node:child_process";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ImgPair, ours, theirs } from "../../../support/img-pair.ts";
import { sameForm } from "../../../support/old-qemu.ts";
import { qemuIo } from "../../../support/qemu-tools.ts";

/** Images of many kinds; made once, by QEMU. */
function gallery(folder: string): void {
  const create = (...args: string[]) => execFileSync("qemu-img", ["create", "-q", ...args], { cwd: folder });
  const io = (name: string, ...commands: string[]) => qemuIo(join(folder, name), commands);
  create("-f", "qcow2", "base.qcow2", "10M");
  io("base.qcow2", "write -P 5 0 1M", "write -z 2M 1M", "write -P 7 3M 64k", "write -z -u 4M 64k");
  create("-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "over.qcow2");
  io("over.qcow2", "write -P 9 1M 64k", "write -z 0 64k");
  create("-f", "qcow2", "-o", "compat=0.10", "old.qcow2", "1G");
  io("old.qcow2", "write -P 3 500M 1M");
  create("-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", "sub.qcow2", "20M");
  io("sub.qcow2", "write -P 1 4k 4k", "write -z 12k 8k", "write -P 2 1M 300k");
  create("-f", "qcow2", "-o", "refcount_bits=1,cluster_size=512,lazy_refcounts=on", "tiny.qcow2", "100k");
  create("-f", "qcow2", "-o", "data_file=ext.data,data_file_raw=on", "ext.qcow2", "1M");
  create("-f", "qcow2", "-o", "preallocation=metadata", "pre.qcow2", "5M");
  io("pre.qcow2", "write -P 8 1M 128k");
  create("-f", "qcow2", "-u", "-b", "missing.qcow2", "-F", "qcow2", "orphan.qcow2", "1M");
  create("-f", "raw", "flat.raw", "6M");
  qemuIo(join(folder, "flat.raw"), ["write -P 6 2M 64k"], "raw");
  create("-f", "qcow2", "-b", "flat.raw", "-F", "raw", "onraw.qcow2", "20M");
  io("onraw.qcow2", "write -P 1 7M 64k");
  create("-f", "raw", "empty.raw", "0");
  writeFileSync(join(folder, "odd.raw"), Buffer.alloc(1000, 1));
  execFileSync("qemu-img", ["convert", "-c", "-O", "qcow2", "base.qcow2", "packed.qcow2"], { cwd: folder });
  const zstd = "convert -c -O qcow2 -o compression_type=zstd base.qcow2 zpacked.qcow2";
  execFileSync("qemu-img", zstd.split(" "), { cwd: folder });
  create("-f", "qcow2", "snaps.qcow2", "3M");
  for (const name of ["one", "two words that are longer than the column"]) {
    execFileSync("qemu-img", ["snapshot", "-c", name, "snaps.qcow2"], { cwd: folder });
    io("snaps.qcow2", "write -P 4 1M 64k");
  }
  execFileSync("sync"); // sizes on disk are final
  execFileSync("cp", ["base.qcow2", "leak.qcow2"], { cwd: folder });
  poke(join(folder, "leak.qcow2"), 0x20000 + 2 * 25, [0, 1]);
  truncateSync(join(folder, "leak.qcow2"), 30 * 65536);
  execFileSync("cp", ["base.qcow2", "bad.qcow2"], { cwd: folder });
  poke(join(folder, "bad.qcow2"), 0x20000 + 2 * 6, [0, 0]);
}

function poke(path: string, at: number, values: readonly number[]): void {
  const bytes = readFileSync(path);
  bytes.set(values, at);
  writeFileSync(path, bytes);
}

const pair = new ImgPair(gallery);
afterAll(() => pair.close());

/** Words of a line; quotes keep a word together. */
function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain);
}

const IMAGES = [
  ...[
    "base",
    "over",
    "old",
    "sub",
    "tiny",
    "ext",
    "pre",
    "orphan",
    "onraw",
    "packed",
    "zpacked",
    "snaps",
    "leak",
    "bad",
  ].map((name) => `${name}.qcow2`),
  "flat.raw",
  "empty.raw",
  "odd.raw",
];

const READING = [
  ...IMAGES.flatMap((image) => [`info ${image}`, `info --output=json ${image}`, `info -f raw ${image}`]),
  // QEMU looks for the backing file, too, which has nothing that is checked.
  ...IMAGES.filter((image) => image !== "orphan.qcow2").flatMap((image) => [
    `check ${image}`,
    `check --output json ${image}`,
    `check -q ${image}`,
  ]),
  ...IMAGES.filter((image) => image !== "orphan.qcow2").flatMap((image) => [
    `compare ${image} base.qcow2`,
    `compare -s ${image} base.qcow2`,
    `compare -q base.qcow2 ${image}`,
    `snapshot -l ${image}`,
    `snapshot ${image}`,
  ]),
  // QEMU also shows the place of subclusters that hold nothing, and cuts the last sector of a file in two.
  ...IMAGES.filter((image) => !/orphan|sub|odd/.test(image)).flatMap((image) => [
    `map ${image}`,
    `map --output=json ${image}`,
    `map --out=json -s 60k -l 3M ${image}`,
  ]),
  "map sub.qcow2",
  "info --backing-chain over.qcow2",
  "info --backing-chain --output=json over.qcow2",
  "info --backing-chain onraw.qcow2",
  "info --output=json --backing-chain base.qcow2",
  "map --output=json --start-offset=100 --max-length=200 over.qcow2",
  "map -s 100M base.qcow2",
  "map --output=json -s 100M base.qcow2",
  "compare -f qcow2 -F raw -s base.qcow2 flat.raw",
  "compare -F raw -f qcow2 base.qcow2 base.qcow2",
  // What cannot be done.
  "info",
  "info nope",
  "info base.qcow2 over.qcow2",
  "info --output=xml base.qcow2",
  "info -f exotic base.qcow2",
  "info -f qcow2 flat.raw",
  "info --bogus base.qcow2",
  "info -Z base.qcow2",
  "info -f",
  "check",
  "check nope",
  "check -r some base.qcow2",
  "compare base.qcow2",
  "compare nope base.qcow2",
  "compare base.qcow2 nope",
  "map",
  "map -s x base.qcow2",
  "map -l x base.qcow2",
  "map nope",
  "snapshot",
  "snapshot -c a -d b base.qcow2",
  "snapshot -U -c a base.qcow2",
  "snapshot -a nope snaps.qcow2",
  "snapshot -d nope snaps.qcow2",
  "convert",
  "convert base.qcow2",
  "convert -O foo base.qcow2 o",
  "convert -f foo base.qcow2 o",
  "convert -O qcow2 nope o",
  "convert -c -O raw base.qcow2 o",
  "convert -O qcow2 -o foo=1 base.qcow2 o",
  "convert -O qcow2 -B base.qcow2 over.qcow2 o",
  "convert -O raw -B base.qcow2 -F qcow2 over.qcow2 o",
  "convert -n -O raw base.qcow2 nope",
  "convert -n -O qcow2 base.qcow2 tiny.qcow2",
  "convert --target-is-zero -O qcow2 base.qcow2 o",
  "convert -S foo base.qcow2 o",
  "convert -S 1000 base.qcow2 o",
  "convert -n -o compat=0.10 -O qcow2 base.qcow2 over.qcow2",
  "convert -m 99 base.qcow2 o",
  "convert -t foo base.qcow2 o",
  "convert -O qcow2 base.qcow2 nodir/o",
  "convert -c -O qcow2 -o preallocation=metadata base.qcow2 o",
  "convert -l nope flat.raw o",
  "resize",
  "resize base.qcow2",
  "resize nope 1M",
  "resize base.qcow2 foo",
  "resize base.qcow2 1M",
  "resize base.qcow2 -512k",
  "resize --shrink base.qcow2 -100M",
  "resize --shrink base.qcow2 1000",
  "resize --preallocation=foo base.qcow2 40M",
  "resize --shrink --preallocation=full base.qcow2 1M",
  "resize flat.raw 5M",
  "",
  "bogus",
];

/** Lines of both tools on the same files. JSON objects have no order. */
test.each(READING)("%s", (line) => {
  const args = words(line);
  // 7.2 prints nothing where 11.1 lists.
  const asked = args[0] === "snapshot" && args.length === 2 ? ["snapshot", "-l", args[1]] : args;
  const expected = sameForm(args, theirs(pair.qemu, asked));
  const found = sameForm(args, ours(pair.qemu, args));
  if (line.startsWith("info") || line.startsWith("check")) {
    expect(parsed(found.stdout)).toEqual(parsed(expected.stdout));
  } else {
    expect(found.stdout).toBe(expected.stdout);
  }
  expect(found.stderr).toBe(expected.stderr);
  expect(found.status).toBe(expected.status);
});

function parsed(text: string): unknown {
  return /^[[{]/.test(text) ? JSON.parse(text) : text;
}

/** Lines that make or change images, in order; then what qemu-img says of the results. */
const WRITING = [
  "create -f qcow2 a.qcow2 10M",
  "create a.raw 10M",
  "create -f qcow2 -o size=5G,preallocation=metadata p.qcow2",
  "create -f qcow2 -o compat=0.10 old2.qcow2 1G",
  "create -f qcow2 -b base.qcow2 -F qcow2 b.qcow2",
  "create -f qcow2 -F qcow2 -b base.qcow2 -o compat=v3 c.qcow2 20M",
  "create -f qcow2 -o backing_file=flat.raw,backing_fmt=raw,compat=0.10 d.qcow2",
  "create -u -f qcow2 -b missing.qcow2 -F qcow2 e.qcow2 1M",
  "create -q -f qcow2 f.qcow2 1M",
  "create -f qcow2 -o lazy_refcounts=on,refcount_bits=8,cluster_size=4k -o extended_l2=off g.qcow2 1M",
  "create -f qcow2 -o extended_l2=on,cluster_size=128k,compression_type=zlib h.qcow2 1.5G",
  "create -f qcow2 -o compression_type=zstd,preallocation=off hz.qcow2 1M",
  "create -f qcow2 -o data_file=i.data,data_file_raw=on i.qcow2 1M",
  "create -f qcow2 -o data_file=i2.data i2.qcow2 1M",
  "create -f qcow2 -o preallocation=falloc j.qcow2 3M",
  "create -f qcow2 -o preallocation=full k.qcow2 3M",
  "create -f raw -o preallocation=full l.raw 1M",
  "create -f raw -o preallocation=falloc m.raw 1M",
  "create -f raw n.raw 0",
  "create -f qcow2 o.qcow2 1000",
  "create -f qcow2 o2.qcow2 1.3k",
  "create -f qcow2 o3.qcow2 0x100000",
  "create -f qcow2 'com,ma' 1M",
  "create -f qcow2 a.qcow2 2M",
  "convert -O qcow2 base.qcow2 ca.qcow2",
  "convert -O raw over.qcow2 cb.raw",
  "convert -f raw -O qcow2 flat.raw cc.qcow2",
  "convert -c -O qcow2 over.qcow2 cd.qcow2",
  "convert -c -O qcow2 -o compression_type=zstd over.qcow2 cz.qcow2",
  "convert -O qcow2 zpacked.qcow2 czz.qcow2",
  "convert -c -O qcow2 -o cluster_size=4k,compat=0.10 sub.qcow2 ce.qcow2",
  "convert -O qcow2 -B base.qcow2 -F qcow2 over.qcow2 cf.qcow2",
  "convert -O qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 over.qcow2 cg.qcow2",
  "convert -S 0 -O qcow2 base.qcow2 ch.qcow2",
  "convert -O qcow2 base.qcow2 flat.raw ci.qcow2",
  "convert -l one -O raw snaps.qcow2 cj.raw",
  "convert -l snapshot.name=one -O qcow2 snaps.qcow2 ck.qcow2",
  "convert -O qcow2 -o preallocation=metadata base.qcow2 cl.qcow2",
  "convert -n -O qcow2 over.qcow2 ca.qcow2",
  "convert -n --target-is-zero -O qcow2 base.qcow2 c.qcow2",
  "convert -n -O raw base.qcow2 a.raw",
  "convert -n -B base.qcow2 -F qcow2 -O qcow2 over.qcow2 b.qcow2",
  "convert -S 64k -t none -T none -W -m 4 packed.qcow2 cm.raw",
  "convert pre.qcow2 cn.raw",
  "convert odd.raw co.raw",
  "resize ca.qcow2 20M",
  "resize ca.qcow2 +1M",
  "resize --shrink ca.qcow2 1M",
  "resize --shrink -q ca.qcow2 -512k",
  "resize -f raw --shrink a.raw 5M",
  "resize a.raw 6M",
  "resize -f raw --preallocation=full a.raw 7M",
  "resize --preallocation=metadata g.qcow2 40M",
  "resize ca.qcow2 +0",
  "resize onraw.qcow2 30M",
  "snapshot -c 'the first' base.qcow2",
  "snapshot -c second base.qcow2",
  "snapshot -d 'the first' base.qcow2",
  "snapshot -a one snaps.qcow2",
  "snapshot -c x flat.raw",
  "check -r leaks leak.qcow2",
  // What cannot be done.
  "create -f qcow2 -b base.qcow2 -F foo z",
  "create -f qcow2 -b missing.qcow2 -F qcow2 z",
  "create -f qcow2 -b missing.qcow2 -F qcow2 z 1M",
  "create -u -f qcow2 -b missing.qcow2 -F qcow2 z",
  "create -f qcow2 -b flat.raw -F qcow2 z",
  "create -f raw -b flat.raw -F raw z",
  "create -f qcow2 -F raw z 1M",
  "create -f qcow2 -b '' z 1M",
  "create -f qcow2 -b z -F raw z 1M",
  "create -f qcow2 -o preallocation=full -b base.qcow2 -F qcow2 z",
  "create -f qcow2 -o data_file_raw=on z 1M",
  "create -f raw -o preallocation=metadata z 1M",
  "create -f raw -o foo=1 z 1M",
  "create -f qcow2 -o foo=1 z 1M",
  "create -f qcow2 -o lazy_refcounts=7 z 1M",
  "create -f qcow2 -o cluster_size=1000 z 1M",
  "create -f qcow2 -o cluster_size=4M z 1M",
  "create -f qcow2 -o refcount_bits=3 z 1M",
  "create -f qcow2 -o compat=0.10,refcount_bits=8 z 1M",
  "create -f qcow2 -o compat=0.11 z 1M",
  "create -f qcow2 -o preallocation=foo z 1M",
  "create -f qcow2 -o compat=0.10,lazy_refcounts=on z 1M",
  "create -f qcow2 -o compat=0.10,extended_l2=on z 1M",
  "create -f qcow2 -o compat=0.10,compression_type=zstd z 1M",
  "create -f qcow2 -o extended_l2=on,cluster_size=8k z 1M",
  "create -f qcow2 z",
  "create -f qcow2",
  "create",
  "create -f foo z 1M",
  "create -f qcow2 z 1M 2M",
  "create -f qcow2 z 1X",
  "create -f qcow2 z -- -1",
  "create -f qcow2 -o size=1M z 2M",
  "create -f qcow2 nodir/z 2M",
  "create --foo z 1M",
  "create -Z z 1M",
  "create -f",
];

test.each(WRITING)("%s (each in its own folder)", (line) => {
  const answers = pair.run(words(line));
  const [ours, theirs] = [answers.ours, answers.theirs].map((answer) => sameForm(words(line), answer));
  expect(ours.stdout).toBe(theirs.stdout);
  if (!line.includes(" -r ")) expect(ours.stderr).toBe(theirs.stderr);
  expect(ours.status).toBe(theirs.status);
});

const RESULTS = [
  ...["a", "old2", "b", "c", "d", "e", "f", "g", "h", "i", "i2", "j", "k", "o", "o2", "o3"].map(
    (name) => `${name}.qcow2`,
  ),
  ...["ca", "cc", "cd", "ce", "cf", "cg", "ch", "ci", "ck", "cl", "onraw", "base", "snaps", "leak"].map(
    (name) => `${name}.qcow2`,
  ),
  ...["a", "l", "m", "n", "cb", "cj", "cm", "cn", "co"].map((name) => `${name}.raw`),
  "com,ma",
];

test.each(RESULTS)("%s is the same image, whoever made it", (name) => {
  const both = (...args: string[]) =>
    [pair.qemu, pair.vmexit].map((folder) => theirs(folder, [...args, name]));
  const [info, mine] = both("info", "--output=json").map(({ stdout }) => withoutHost(stdout));
  expect(mine).toEqual(info);
  if (name === "e.qcow2") return; // depends on nothing
  if (name.includes("qcow2")) {
    const [check, found] = both("check", "--output=json").map(({ stdout }) => withoutHost(stdout));
    expect(found).toMatchObject({ "check-errors": 0 });
    expect(found).not.toHaveProperty("leaks");
    expect(check).toMatchObject({ "check-errors": 0 });
  }
  const same = theirs(pair.qemu, ["compare", name, join(pair.vmexit, name)]);
  expect(same.stdout).toBe("Images are identical.\n");
});

/** What depends on the host's file system, and when snapshots were taken. */
function withoutHost(json: string): unknown {
  return JSON.parse(json, (key, value) => (/^(actual-size|date-n?sec)$/.test(key) ? 0 : value));
}
