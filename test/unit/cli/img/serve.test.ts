/** `vmexit img serve` as qemu-nbd's users know it. */
import { mkdirSync, readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { afterAll, expect, test } from "vitest";
import { imgCommand } from "../../../../src/cli/img/img.ts";
import { client, makeCertificates, NbdPeers } from "../../../support/nbd-peers.ts";
import { qemuImg, qemuIo } from "../../../support/qemu-tools.ts";

const peers = new NbdPeers();
afterAll(() => peers.close());

const image = peers.file("disk.qcow2");
qemuImg("create", "-f", "qcow2", image, "16M");
const raw = peers.file("disk.raw");
qemuImg("create", "-f", "raw", raw, "1M");

interface Running {
  /** What it calls the export. */
  readonly uri: string;
  /** The exit status. */
  readonly status: number | Promise<number>;
  stop(): void;
}

/** Starts the command and waits until it listens, or has failed. */
async function serve(...args: string[]): Promise<Running & { readonly stderr: () => string }> {
  const [stdout, stderr] = [new PassThrough({ encoding: "utf8" }), new PassThrough({ encoding: "utf8" })];
  let stop = () => {};
  const status = imgCommand(["serve", ...args], stdout, stderr, (listener) => {
    stop = listener;
  });
  const line = await new Promise<string>((resolve) => {
    stdout.once("data", resolve);
    void Promise.resolve(status).then(() => resolve(""));
  });
  const uri = line.trim().split(": ").at(-1) ?? "";
  return { uri, status, stop: () => stop(), stderr: () => stderr.read() ?? "" };
}

test("a disk is served on a socket until its last client has left, with all that it wrote", async () => {
  const { uri, status } = await serve("-f", "qcow2", "-k", peers.socket(), "-x", "disk", image);
  expect(uri).toMatch(/^nbd\+unix:\/\/\/disk\?socket=/);
  expect((await client("qemu-io", "-f", "raw", "-c", "write -P 7 1M 64k", uri)).status).toBe(0);
  expect(await status).toBe(0);
  qemuIo(image, ["read -P 7 1M 64k"]);
});

test("a persistent server on TCP serves one client after the other, and ends when told to", async () => {
  const { uri, status, stop } = await serve("-t", "-r", "-f", "qcow2", "-p", "0", image);
  expect(uri).toMatch(/^nbd:\/\/(127\.0\.0\.1|\[::1\]):\d+\/$/);
  for (let n = 0; n < 2; n++) {
    expect((await client("qemu-io", "-r", "-f", "raw", "-c", "read -P 7 1M 64k", uri)).output).not.toMatch(
      /fail/i,
    );
  }
  stop();
  expect(await status).toBe(0);
});

test("an image that is served cannot be opened for writing by anybody else", async () => {
  const { stop, status } = await serve("-t", "-f", "qcow2", "-k", peers.socket(), image);
  expect((await client("qemu-io", "-f", "qcow2", "-c", "write 0 512", image)).output).toMatch(/lock/);
  stop();
  await status;
});

test("one client at a time, unless more are allowed", async () => {
  const one = await serve("-t", "-f", "qcow2", "-k", peers.socket(), image);
  expect((await client("nbdinfo", "--can", "multi-conn", one.uri)).status).toBe(2);
  one.stop();
  await one.status;
  const four = await serve("-t", "-e", "4", "-f", "qcow2", "-k", peers.socket(), image);
  expect((await client("nbdinfo", "--can", "multi-conn", four.uri)).status).toBe(0);
  four.stop();
  await four.status;
});

test("with certificates a client needs TLS, and with --tls-verify-peer one of its own", async () => {
  const folder = peers.file("pki");
  mkdirSync(folder);
  makeCertificates(folder);
  const tls = [`--tls-certificates=${folder}`, "--tls-verify-peer"];
  const { uri, status, stop } = await serve("-t", "-r", "-f", "raw", "-k", peers.socket(), ...tls, raw);
  expect(uri).toMatch(/^nbds\+unix:/);
  expect((await client("nbdcopy", `${uri}&tls-certificates=${folder}`, peers.file("copy"))).output).toBe("");
  expect(readFileSync(peers.file("copy")).length).toBe(2 ** 20);
  const object = `tls-creds-x509,id=t,endpoint=client,dir=${folder}`;
  const name = `driver=nbd,server.type=unix,server.path=${uri.split("=")[1]},tls-creds=t,tls-hostname=localhost`;
  const qemu = await client("qemu-img", "info", "--object", object, "--image-opts", name);
  expect(qemu.output).toContain("virtual size: 1 MiB");
  stop();
  await status;
});

test.each<[string, string[], RegExp]>([
  ["a raw disk whose format nobody gave", ["-k", "s", raw], /Say -f raw \(or -r\)/],
  ["a socket with a port", ["-k", "s", "-p", "1", image], /-k is a unix socket/],
  ["no port", ["-p", "70000", image], /Invalid port '70000'/],
  ["clients' certificates without one's own", ["--tls-verify-peer", image], /needs --tls-certificates/],
  ["certificates that are not there", ["--tls-certificates=/nowhere", image], /has no server-cert\.pem/],
  ["a socket in a folder that is not there", ["-k", "/nowhere/s", image], /Could not serve .*\/nowhere\/s/],
  ["an image that is not there", ["-k", "s", "/nowhere"], /No such file/],
  ["two images", [image, raw], /Expecting one image file name/],
])("%s: refused with a sentence", async (_what, args, why) => {
  const { status, stderr } = await serve(...args);
  expect(await status).toBe(1);
  expect(stderr()).toMatch(why);
});
