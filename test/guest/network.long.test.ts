/** Bridges as old texts make them, and what vmexit net says of them. */
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { guestFile, runScript } from "../support/guest.ts";

const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));
/** What follows the card. */
const ROOT = { cmdline: "root=/dev/vda ro", drives: [{ file: guestFile("root.img"), readOnly: true }] };

const ip = (...words: string[]) => execFileSync("ip", words, { encoding: "utf8" });
const net = (...words: string[]) =>
  execFileSync(process.execPath, [MAIN, "net", ...words], { encoding: "utf8" });

/** What a set-up of the network changes. */
function hostState(): string {
  const forward = readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8");
  return `${ip("-br", "link")}${ip("-br", "addr")}${ip("route")}${forward}`;
}

/** The usual recipe for a bridge, with the old programs as BusyBox has them: without -b and address lengths. */
const OLD_RECIPE = `
busybox brctl addbr br0
ip link set br0 up
busybox ifconfig br0 192.168.10.1 netmask 255.255.255.0
busybox tunctl -t tap0
ip link set tap0 up
busybox brctl addif br0 tap0
`;

let before = "";

beforeAll(() => {
  execFileSync("modprobe", ["-a", "tun", "bridge"]);
  before = hostState();
});

afterAll(() => {
  for (const name of ["br0", "tap0"]) ip("link", "del", name);
  expect(hostState()).toBe(before);
});

test("its guest has no address, the doctor says why, and the line of the doctor mends it", async () => {
  execFileSync("sh", ["-ec", OLD_RECIPE]);
  const doctor = spawnSync(process.execPath, [MAIN, "net", "doctor", "br0"], { encoding: "utf8" });
  expect(doctor.status).toBe(1);
  expect(doctor.stdout).toContain(
    "ok   br0 has the address 192.168.10.1/24\nok   tap0 is a port of it, and up",
  );
  const [, mend] =
    /no {3}no DHCP server answers on br0: .*\n {7}(ip addr add \S+ dev eth0) \(in the guest\)/.exec(
      doctor.stdout,
    ) ?? [];
  expect(mend).toBe("ip addr add 192.168.10.2/24 dev eth0");
  expect(doctor.stdout).toMatch(
    /no {3}the host does not forward packets: .*\n {7}sysctl -w net.ipv4.ip_forward=1/,
  );
  const script = `
ip link set eth0 up
udhcpc -i eth0 -n -q -f -t 2 -T 1 -s /bin/true 2>/dev/null || echo no lease
${mend}
ping -c 3 -W 20 192.168.10.1`;
  const { output } = await runScript(script, { ...ROOT, network: [{ tap: "tap0" }] });
  expect(output).toContain("no lease");
  expect(output).toContain(" 0% packet loss");
});

test("up adds to what is there, and down takes that away alone", () => {
  const there = hostState();
  net("up", "br0", "--tap", "tap1");
  expect(net("show", "br0")).toMatch(/tap0[\s\S]*tap1/);
  expect(hostState()).not.toBe(there);
  net("down", "br0");
  expect(hostState()).toBe(there);
});
