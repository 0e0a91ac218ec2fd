import { expect, test } from "vitest";
import { OptionError } from "../../../../src/base/errors.ts";
import { parseRun } from "../../../../src/cli/run/command-line.ts";
import { checkOptions } from "../../../../src/vm/validate.ts";

/** The drives of a machine that these words describe, with their names. */
function named(...argv: string[]) {
  const command = parseRun(["-kernel", "K", ...argv]);
  if (command.action !== "run") throw new Error(`printed instead: ${command.text}`);
  return command.request.vm.drives ?? [];
}

/** The same without their names. */
function drives(...argv: string[]) {
  return named(...argv).map(({ id: _, ...drive }) => drive);
}

/** What becomes of one -blockdev with node-name=d0 once it is attached. */
function drive(text: string) {
  const [only] = drives("-blockdev", text, "-device", "virtio-blk-device,drive=d0");
  return only;
}

test("an image and its file in one option are the drive that -drive makes of them", () => {
  const node =
    "driver=qcow2,node-name=d0,file.driver=file,file.filename=a,,b.qcow2,file.aio=threads,cache.direct=on,discard=unmap," +
    "detect-zeroes=unmap,read-only=on,other-files=anywhere,l2-cache-size=1M";
  const same =
    "file=a,,b.qcow2,format=qcow2,aio=threads,cache=none,discard=unmap,detect-zeroes=unmap,readonly=on,other-files=anywhere,l2-cache-size=1M";
  expect(drive(node)).toEqual(drives("-drive", same)[0]);
});

test("the file may be a node of its own, named by the image's", () => {
  const file = ["-blockdev", "driver=file,filename=F,node-name=f,aio=threads"];
  const image = ["-blockdev", "driver=qcow2,file=f,node-name=d0"];
  const device = ["-device", "virtio-blk-device,drive=d0"];
  expect(drives(...file, ...image, ...device)).toEqual([
    { file: "F", format: "qcow2", aio: "threads", werror: "enospc" },
  ]);
  expect(drives(...device, ...file, ...image)).toHaveLength(1);
});

test("a node described in place can be named, and attached, too", () => {
  const node = "driver=qcow2,node-name=d0,file.driver=file,file.filename=F,file.node-name=f";
  expect(drives("-blockdev", node, "-device", "virtio-blk-device,drive=f")).toEqual([
    { file: "F", format: "raw", werror: "enospc" },
  ]);
});

test("a file alone, or under raw, is raw: its bytes are never taken for an image", () => {
  const raw = { file: "F", format: "raw", werror: "enospc" };
  expect(drive("driver=file,filename=F,node-name=d0")).toEqual(raw);
  expect(drive("file,filename=F,node-name=d0")).toEqual(raw);
  expect(drive("driver=host_device,filename=F,node-name=d0")).toEqual(raw);
  expect(drive("driver=raw,file.driver=file,file.filename=F,node-name=d0")).toEqual(raw);
});

test("a file's name is that of a file, even if it looks like an NBD export's", () => {
  expect(drive("driver=file,filename=nbd:a:1,node-name=d0").file).toBe("./nbd:a:1");
});

test.each([
  ["server.type=inet,server.host=h,server.port=10809", "nbd://h:10809/"],
  ["server.type=inet,server.host=::1,server.port=1,export=a b?/é", "nbd://[::1]:1/a%20b%3F%2F%C3%A9"],
  ["server.type=unix,server.path=/run/a&b,export=x", "nbd+unix:///x?socket=%2Frun%2Fa%26b"],
])("an NBD server: %s", (server, file) => {
  expect(drive(`driver=nbd,${server},node-name=d0`)).toEqual({ file, werror: "enospc" });
  const under = server.replace(/(^|,)/g, "$1file.");
  expect(drive(`driver=raw,file.driver=nbd,${under},node-name=d0`)).toEqual({ file, werror: "enospc" });
});

test("as JSON, a node says the same", () => {
  const json = {
    driver: "qcow2",
    "node-name": "d0",
    "read-only": true,
    cache: { direct: false, "no-flush": true },
    file: { driver: "file", filename: "a,b.qcow2", "auto-read-only": true, locking: "auto" },
  };
  expect(drive(JSON.stringify(json))).toEqual({
    file: "a,b.qcow2",
    format: "qcow2",
    readOnly: true,
    cache: "unsafe",
    werror: "enospc",
  });
  const nbd = { driver: "nbd", "node-name": "d0", server: { type: "inet", host: "h", port: "1" } };
  expect(drive(JSON.stringify(nbd)).file).toBe("nbd://h:1/");
});

test("of two nodes that say different things, that counts which lets the guest do less", () => {
  const image = (keys: string) => `driver=qcow2,node-name=d0,file.driver=file,file.filename=F,${keys}`;
  expect(drive(image("read-only=off,file.read-only=on"))).toMatchObject({ readOnly: true });
  expect(drive(image("discard=ignore,file.discard=unmap"))).toMatchObject({ discard: "ignore" });
  expect(drive(image("discard=unmap,file.discard=ignore"))).toMatchObject({ discard: "ignore" });
  expect(drive(image("cache.direct=off,file.cache.direct=on"))).toMatchObject({ cache: "none" });
  expect(drive(image("cache.direct=off,cache.no-flush=off"))).not.toHaveProperty("cache");
  expect(drive(image("detect-zeroes=on,file.detect-zeroes=off"))).toMatchObject({ detectZeroes: "on" });
});

test("what concerns the device is said at the device, and auto leaves it as it is", () => {
  const device = "virtio-blk-device,drive=d0,serial=S,num-queues=2,write-cache=off,rerror=stop,werror=report";
  const node = ["-blockdev", "driver=file,filename=F,node-name=d0"];
  const attached = { file: "F", format: "raw", serial: "S", queues: 2, writeCache: false, rerror: "stop" };
  expect(drives(...node, "-device", `${device},bootindex=1`)).toEqual([
    { ...attached, werror: "report", bootindex: 1 },
  ]);
  const auto = "virtio-blk-device,drive=d0,write-cache=auto,rerror=auto,werror=auto";
  expect(drives("-drive", "file=F,id=d0,if=none,rerror=stop", "-device", auto)).toEqual([
    { file: "F", rerror: "stop", werror: "enospc" },
  ]);
});

test("drives and nodes can be mixed, and -snapshot means all of them", () => {
  const node = ["-blockdev", "driver=file,filename=F,node-name=d0", "-device", "virtio-blk-device,drive=d0"];
  expect(drives(...node, "-drive", "file=a", "-snapshot")).toMatchObject([
    { file: "a", snapshot: true },
    { file: "F", snapshot: true },
  ]);
});

test("a disk has the id of its -device, or else the name of its node or drive", () => {
  const node = ["-blockdev", "driver=file,filename=F,node-name=d0"];
  const drive = ["-drive", "file=F,id=d0,if=none"];
  for (const disk of [node, drive]) {
    expect(named(...disk, "-device", "virtio-blk-device,drive=d0")).toMatchObject([{ id: "d0" }]);
    expect(named(...disk, "-device", "virtio-blk-device,drive=d0,id=root")).toMatchObject([{ id: "root" }]);
  }
});

test("a node that no -device attaches is not in the machine", () => {
  expect(drives("-blockdev", "driver=file,filename=F,node-name=d0")).toEqual([]);
});

test("what comes of a node is accepted by createVm", () => {
  const file = "driver=qcow2,node-name=d0,file.driver=file,file.filename=F,cache.direct=on,file.aio=io_uring";
  const checked = (text: string) => checkOptions({ kernel: "K", drives: [drive(text)] }).drives[0];
  expect(checked(file)).toMatchObject({ cache: "none", aio: "io_uring" });
  const nbd = "driver=nbd,server.type=unix,server.path=S,node-name=d0,read-only=on,discard=ignore";
  expect(checked(nbd)).toMatchObject({ readOnly: true, discard: "ignore" });
});

test.each<[string, string]>([
  ["node-name=d0", "the driver is missing: driver=NAME, one of file, host_device, nbd, raw, qcow2"],
  ["driver=qcow", 'unknown driver "qcow" (did you mean "qcow2"?)'],
  ["driver=throttle,file=f,throttle-group=g", "give the limits to a -drive with if=none"],
  ["driver=file,filename=F", "the node has no name: node-name=NODE"],
  ["driver=file,node-name=d0", "the file is missing: filename=PATH"],
  ["driver=file,node-name=d0,filenam=F", 'unknown key "filenam" (did you mean "filename"?)'],
  ["driver=file,node-name=d0,filename=F,locking=off", "images are always locked"],
  ["driver=file,node-name=d0,filename=F,file.driver=file", 'unknown key "file.driver"'],
  ["driver=file,node-name=d0,filename=F,aio=posix", 'aio="posix" is not known'],
  ["driver=file,node-name=d0,filename=F,cache.direct=on,cache.no-flush=on", "contradict each other"],
  ["driver=qcow2,node-name=d0", "the node under it is missing: file=NODE"],
  ["driver=qcow2,node-name=d0,file=f", 'file="f": there is no such node'],
  ["driver=qcow2,node-name=d0,file=d0", 'file="d0": there is no such node'],
  ["driver=qcow2,node-name=d0,file=f,file.driver=file", "give either file=NODE or file.driver=…"],
  ["driver=qcow2,node-name=d0,file.filename=F", "file: the driver is missing"],
  ["driver=qcow2,node-name=d0,file.driver=file,file.filenam=F", 'file: unknown key "filenam"'],
  [
    "driver=qcow2,node-name=d0,file.driver=file,file.filename=F,backing=b",
    "backing file is the one that it names itself",
  ],
  [
    "driver=qcow2,node-name=d0,file.driver=file,file.filename=F,backing.driver=file",
    "backing file is the one that it names itself",
  ],
  [
    "driver=qcow2,node-name=d0,file.driver=file,file.filename=F,data-file.filename=F",
    "one that it names itself",
  ],
  [
    "driver=raw,node-name=d0,file.driver=file,file.filename=F,offset=512",
    "a part of a file cannot be a disk",
  ],
  [
    "driver=qcow2,node-name=d0,file.driver=qcow2,file.file.driver=file,file.file.filename=F",
    "the node under it is an image already",
  ],
  [
    "driver=qcow2,node-name=d0,file.driver=nbd,file.server.type=unix,file.server.path=S",
    "opened by the server (vmexit img serve -f qcow2)",
  ],
  [`driver=raw,node-name=d0,${"file.".repeat(10_000)}driver=raw`, "the driver is missing"],
  [
    `driver=raw,node-name=d0,${Array.from({ length: 9 }, (_, n) => `${"file.".repeat(n + 1)}driver=raw`).join(",")}`,
    "more than 4 nodes",
  ],
  ["driver=nbd,node-name=d0", "the server is missing: server.type=inet or unix"],
  ["driver=nbd,node-name=d0,server.type=fd", 'server.type="fd" is not known; use inet or unix'],
  ["driver=nbd,node-name=d0,server.type=inet,server.host=h", "server.host=HOST,server.port=PORT"],
  [
    "driver=nbd,node-name=d0,server.type=inet,server.port=0",
    "server.port=0 is out of range; give a whole number from 1 to 65535",
  ],
  [
    "driver=nbd,node-name=d0,server.type=inet,server.port=1,server.host=a/b",
    "is neither a name nor an address",
  ],
  ["driver=nbd,node-name=d0,server.type=unix", "the socket's name is missing: server.path=PATH"],
  ["driver=nbd,node-name=d0,tls-creds=t", "for TLS write -drive file=nbds://"],
  ["{", "this is not JSON"],
  ['{"driver":["file"]}', '"driver" can be neither null nor a list'],
  ['{"driver":"qcow2","node-name":"d0","backing":null}', '"backing" can be neither null nor a list'],
  [`${'{"a":'.repeat(5000)}1${"}".repeat(5000)}`, "too many objects inside each other"],
  ['{"driver":"nbd","server":{"type":"unix","path":"\\ud800"},"node-name":"d0"}', "a name that is not text"],
])("-blockdev %s is refused with a sentence", (text, sentence) => {
  const attempt = () => parseRun(["-kernel", "K", "-blockdev", text]);
  expect(attempt).toThrow(OptionError);
  expect(attempt).toThrow(sentence);
});

const FILE = ["-blockdev", "driver=file,filename=F,node-name=d0"];
const DEVICE = ["-device", "virtio-blk-device,drive=d0"];

test.each<[string, string[], string]>([
  ["a name that two nodes have", [...FILE, ...FILE], 'another drive has the id "d0"'],
  ["a name that a drive has", [...FILE, "-drive", "file=a,id=d0,if=none"], 'another drive has the id "d0"'],
  ["a node attached twice", [...FILE, ...DEVICE, ...DEVICE], 'the drive "d0" is attached already'],
  [
    "a drive attached twice",
    ["-drive", "file=a,id=d0,if=none", ...DEVICE, ...DEVICE],
    'the drive "d0" is attached already',
  ],
  ["a drive that is not there", DEVICE, "there is no -drive with id=d0, nor a -blockdev with node-name=d0"],
  [
    "a boot index that is none",
    [...FILE, "-device", "virtio-blk,drive=d0,bootindex=a"],
    "is not a whole number",
  ],
])("%s is refused with a sentence", (_what, argv, sentence) => {
  expect(() => drives(...argv)).toThrow(sentence);
});
