/** A tiny guest on a tap interface, in a network namespace of its own: for a test that may make one. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { buildKernel } from "../support/multiboot-build.ts";

const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));
const PEER = fileURLToPath(new URL("../support/tap-echo.py", import.meta.url));

const mayMakeInterfaces =
  existsSync("/dev/net/tun") &&
  spawnSync("unshare", ["-n", "ip", "tuntap", "add", "dev", "tap0", "mode", "tap"]).status === 0;

describe.skipIf(!mayMakeInterfaces)("a tap interface", () => {
  test.each([
    ["by name", "name", ["-nic", "tap,ifname=tap0,script=no,downscript=no"]],
    ["without headers", "name", ["-nic", "tap,ifname=tap0,script=no,downscript=no,vnet_hdr=off"]],
    [
      "as a descriptor",
      "fd",
      ["-netdev", "tap,id=n0,fd=32,vhost=on", "-device", "virtio-net-device,netdev=n0"],
    ],
  ])("%s carries frames in both directions, and all of them are in the dump", (_title, how, options) => {
    const folder = mkdtempSync(join(tmpdir(), "vmexit-tap-"));
    const dump = join(folder, "frames.pcap");
    try {
      buildKernel("net-kernel.c", join(folder, "kernel.elf"));
      const netdev = options.includes("-netdev") ? "n0" : "d0";
      const named = options.map((word) => (word.startsWith("tap,ifname") ? `${word},id=d0` : word));
      const line = [
        ...[process.execPath, MAIN, "run", "-m", "16", "-nographic", "-kernel", join(folder, "kernel.elf")],
        ...["-object", `filter-dump,id=f0,netdev=${netdev},file=${dump}`],
        ...named,
      ];
      const output = execFileSync("unshare", ["-n", "python3", PEER, "tap0", how, ...line], {
        encoding: "utf8",
        timeout: 60_000,
      });
      expect(output).toBe("hello\n61 True 1\n1515 True 2\nstatus 1\n");
      const frames = execFileSync("python3", ["-c", COUNT_FRAMES, dump], { encoding: "utf8" });
      expect(Number(frames)).toBeGreaterThanOrEqual(7);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** Counts the records of a pcap file that are of type 0x88... */
const COUNT_FRAMES = `
import struct, sys
data = open(sys.argv[1], "rb").read()
at, count = 24, 0
while at < len(data):
    _, _, kept, _ = struct.unpack_from("<IIII", data, at)
    count += data[at + 16 + 12] == 0x88
    at += 16 + kept
print(count)
`;
