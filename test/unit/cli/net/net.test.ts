import { expect, test } from "vitest";
import { netCommand } from "../../../../src/cli/net/net.ts";
import type { NetHost } from "../../../../src/cli/net/net-host.ts";

/** A host with these interfaces: bridges, and tap interfaces with the bridge of each. */
class FakeHost implements NetHost {
  readonly user = "ada";
  isAdmin = true;
  readonly ran: string[] = [];
  readonly files = new Map<string, string>([["/dev/net/tun", ""]]);
  readonly outputs = new Map<string, string>();
  readonly programs = new Set(["ip", "sysctl"]);
  fails = "";

  run(words: readonly string[]) {
    const line = words.join(" ");
    if (!this.programs.has(words[0])) return { status: -1, output: "", errors: "ENOENT" };
    if (/ (add|set|del|-w) |masquerade|--dhcp-range/.test(line)) this.ran.push(line);
    const failed = this.fails !== "" && line.includes(this.fails);
    return { status: failed ? 1 : 0, output: this.outputs.get(line) ?? "", errors: failed ? "no" : "" };
  }
  read(path: string) {
    return this.files.get(path);
  }
  write(path: string, text: string) {
    this.files.set(path, text);
  }
  remove(path: string) {
    this.files.delete(path);
  }
  exists(path: string) {
    return [...this.files.keys()].some((each) => each === path || each.startsWith(`${path}/`));
  }
  list(path: string) {
    const inside = [...this.files.keys()].filter((each) => each.startsWith(`${path}/`));
    return inside.map((each) => each.slice(path.length + 1).split("/")[0]);
  }
}

function type(host: FakeHost, line: string) {
  const written: string[] = [];
  const out = { write: (more: string) => written.push(more) };
  const status = netCommand(line.split(" "), host, out, out);
  return { status, text: written.join(""), ran: host.ran.splice(0) };
}

const UP = "up br0 --ip 192.168.10.1/24 --tap tap0";

test("up prints each line with that of old texts, and down undoes it in reverse", () => {
  const host = new FakeHost();
  const up = type(host, UP);
  expect(up.status).toBe(0);
  expect(up.ran).toEqual([
    "ip link add name br0 type bridge",
    "ip addr add 192.168.10.1/24 dev br0",
    "ip link set dev br0 up",
    "ip tuntap add dev tap0 mode tap user ada",
    "ip link set dev tap0 master br0",
    "ip link set dev tap0 up",
  ]);
  expect(up.text).toContain("# brctl addif br0 tap0");
  expect(type(host, UP).text).toContain("is set up already");
  expect(type(host, "down br0").ran).toEqual(["ip tuntap del dev tap0 mode tap", "ip link del dev br0"]);
  expect(type(host, "down br0").status).toBe(1);
});

test("what was there before stays, and gets its state back", () => {
  const host = new FakeHost();
  host.files.set("/sys/class/net/br0/bridge", "").set("/sys/class/net/br0/flags", "0x1003");
  host.files.set("/sys/class/net/tap0/tun_flags", "").set("/sys/class/net/tap0/flags", "0x1002");
  host.outputs.set("ip -o link show dev tap0", "3: tap0: <> master br7 state");
  expect(type(host, UP).ran.slice(1)).toEqual(["ip link set dev tap0 master br0", "ip link set dev tap0 up"]);
  expect(type(host, "down br0").ran).toEqual([
    "ip link set dev tap0 down",
    "ip link set dev tap0 master br7",
    "ip addr del 192.168.10.1/24 dev br0",
  ]);
});

test("a line that fails ends it, and nothing is left", () => {
  const host = new FakeHost();
  host.fails = "tuntap add";
  const { status, ran, text } = type(host, UP);
  expect(status).toBe(1);
  expect(text).toContain("ip tuntap add dev tap0 mode tap user ada: no");
  expect(ran.at(-1)).toBe("ip link del dev br0");
});

test("--nat and --dhcp say what they need, and use the network of the address", () => {
  const host = new FakeHost();
  host.files.set("/proc/sys/net/ipv4/ip_forward", "0\n");
  expect(type(host, `${UP} --nat`).text).toContain("needs nft or iptables");
  expect(type(host, `${UP} --dhcp`).text).toContain("needs dnsmasq");
  host.programs.add("iptables").add("dnsmasq");
  const { ran } = type(host, `${UP} --nat --dhcp`);
  expect(ran).toContain("sysctl -q -w net.ipv4.ip_forward=1");
  expect(ran.join("\n")).toContain("--dhcp-range=192.168.10.128,192.168.10.254,12h");
  expect(type(host, "down br0").ran).toContain("sysctl -q -w net.ipv4.ip_forward=0");
});

test("without privilege nothing is tried, and --dry-run shows the lines", () => {
  const host = new FakeHost();
  host.isAdmin = false;
  expect(type(host, UP)).toMatchObject({ status: 1, ran: [] });
  const dry = type(host, `${UP} --dry-run`);
  expect([dry.status, dry.ran, dry.text.split("\n").length]).toEqual([0, [], 7]);
});

test("the doctor says why the old recipe leaves a guest without a network", () => {
  const host = new FakeHost();
  expect(type(host, "doctor br0").text).toContain("there is no bridge br0");
  host.files.set("/sys/class/net/br0/bridge", "").set("/sys/class/net/br0/flags", "0x1003");
  host.files.set("/sys/class/net/br0/brif/tap0", "");
  host.files.set("/sys/class/net/tap0/tun_flags", "").set("/sys/class/net/tap0/flags", "0x1002");
  const { status, text } = type(host, "doctor br0");
  expect(status).toBe(1);
  expect(text).toContain("br0 has no address");
  expect(text).toContain("tap0 is down");
  expect(text).toContain("no DHCP server answers on br0");
  expect(text).toContain("does not forward packets");
});

test.each(["up", "up br0 --ip 1.2.3", "up br0 --tab tap0", "up br/0", "dwon br0", "down br0 now"])(
  "%s is refused as a mistake of typing",
  (line) => {
    expect(type(new FakeHost(), line).status).toBe(2);
  },
);
