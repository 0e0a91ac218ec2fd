/**
 * `vmexit net up` and `down`: a bridge with tap interfaces, as old texts make it with
 * brctl, tunctl and ifconfig. Each change is printed as the line that makes it, and
 * written down with the line that undoes it, so that `down` leaves the host as it was.
 */
import { isUp, type NetHost } from "./net-host.ts";

export interface SetUp {
  readonly bridge: string;
  /** An address and the length of its network, as in 192.168.10.1/24. */
  readonly ip: string | undefined;
  readonly taps: readonly string[];
  readonly user: string;
  readonly dhcp: boolean;
  readonly nat: boolean;
  /** Prints the lines, and changes nothing. */
  readonly dryRun: boolean;
}

/** A change of the host. */
interface Step {
  readonly line: readonly string[];
  /** What undoes it; nothing if that undoes itself with something else. */
  readonly undo: readonly (readonly string[])[];
  /** The line of an old text. */
  readonly old?: string;
}

/** What cannot be done, and what to do. */
export class SetUpError extends Error {
  override readonly name = "SetUpError";
}

const FOLDER = "/run/vmexit";
const FORWARDING = "/proc/sys/net/ipv4/ip_forward";

function journalOf(bridge: string): string {
  return `${FOLDER}/net-${bridge}.json`;
}

/** @param print gets each line @throws {SetUpError}; what was done until then is undone */
export function setUp(host: NetHost, wanted: SetUp, print: (line: string) => void): void {
  const journal = journalOf(wanted.bridge);
  if (host.exists(journal)) {
    throw new SetUpError(`${wanted.bridge} is set up already; vmexit net down ${wanted.bridge} removes it`);
  }
  const steps = plan(host, wanted);
  if (wanted.dryRun) {
    for (const step of steps) print(shown(step));
    return;
  }
  if (!host.isAdmin) {
    throw new SetUpError("this needs CAP_NET_ADMIN: type sudo before it, or see the lines with --dry-run");
  }
  const undo: (readonly string[])[] = [];
  for (const step of steps) {
    print(shown(step));
    const { status, errors } = host.run(step.line);
    if (status !== 0) {
      undoAll(host, undo, print);
      throw new SetUpError(`${step.line.join(" ")}: ${errors || `exit status ${status}`}`);
    }
    undo.unshift(...step.undo);
    host.write(journal, JSON.stringify({ undo }));
  }
}

/** @throws {SetUpError} if nothing is written down, or a line failed */
export function tearDown(host: NetHost, bridge: string, print: (line: string) => void): void {
  const journal = journalOf(bridge);
  const undo = readJournal(host.read(journal));
  if (undo === undefined) {
    throw new SetUpError(`vmexit net up did not make ${bridge}; to remove it: ip link del dev ${bridge}`);
  }
  if (!host.isAdmin) throw new SetUpError("this needs CAP_NET_ADMIN: type sudo before it");
  const failed = undoAll(host, undo, print);
  host.remove(journal);
  if (failed.length > 0) throw new SetUpError(`not all was undone:\n  ${failed.join("\n  ")}`);
}

function readJournal(text: string | undefined): string[][] | undefined {
  if (text === undefined) return undefined;
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null || !("undo" in parsed)) return undefined;
  const { undo } = parsed;
  return Array.isArray(undo) ? undo.map((line: unknown[]) => line.map(String)) : undefined;
}

/** @returns the lines that failed, with their errors */
function undoAll(
  host: NetHost,
  undo: readonly (readonly string[])[],
  print: (line: string) => void,
): string[] {
  return undo.flatMap((line) => {
    print(line.join(" "));
    const { status, errors } = host.run(line);
    return status === 0 ? [] : [`${line.join(" ")}: ${errors}`];
  });
}

function shown({ line, old }: Step): string {
  const text = line.map((word) => (/[\s{};]/.test(word) ? `'${word}'` : word)).join(" ");
  return old === undefined ? text : `${text.padEnd(58)} # ${old}`;
}

function plan(host: NetHost, wanted: SetUp): Step[] {
  const { bridge, ip, taps, user } = wanted;
  const isNew = !host.exists(`/sys/class/net/${bridge}`);
  if (!isNew && !host.exists(`/sys/class/net/${bridge}/bridge`)) {
    throw new SetUpError(`${bridge} is an interface already, and not a bridge`);
  }
  const steps: Step[] = [];
  if (isNew) {
    steps.push({
      line: ["ip", "link", "add", "name", bridge, "type", "bridge"],
      undo: [["ip", "link", "del", "dev", bridge]],
      old: `brctl addbr ${bridge}`,
    });
  }
  if (ip !== undefined && !hasAddress(host, bridge, ip)) {
    steps.push({
      line: ["ip", "addr", "add", ip, "dev", bridge],
      undo: isNew ? [] : [["ip", "addr", "del", ip, "dev", bridge]],
      old: `ifconfig ${bridge} ${ip}`,
    });
  }
  if (isNew || !isUp(host, bridge)) {
    steps.push({
      line: ["ip", "link", "set", "dev", bridge, "up"],
      undo: isNew ? [] : [["ip", "link", "set", "dev", bridge, "down"]],
      old: `ifconfig ${bridge} up`,
    });
  }
  if (taps.length > 0 && !host.exists("/dev/net/tun")) steps.push({ line: ["modprobe", "tun"], undo: [] });
  for (const tap of taps) steps.push(...planTap(host, bridge, tap, user));
  if (wanted.nat) steps.push(...planNat(host, bridge, ip));
  if (wanted.dhcp) steps.push(planDhcp(host, bridge, ip));
  return steps;
}

function planTap(host: NetHost, bridge: string, tap: string, user: string): Step[] {
  const isNew = !host.exists(`/sys/class/net/${tap}`);
  if (!isNew && !host.exists(`/sys/class/net/${tap}/tun_flags`)) {
    throw new SetUpError(`${tap} is an interface already, and not a tap interface`);
  }
  const steps: Step[] = [];
  if (isNew) {
    steps.push({
      line: ["ip", "tuntap", "add", "dev", tap, "mode", "tap", "user", user],
      undo: [["ip", "tuntap", "del", "dev", tap, "mode", "tap"]],
      old: `tunctl -b -t ${tap} -u ${user}`,
    });
  }
  const joins: Step = {
    line: ["ip", "link", "set", "dev", tap, "master", bridge],
    undo: isNew ? [] : [["ip", "link", "set", "dev", tap, ...masterOf(host, tap)]],
    old: `brctl addif ${bridge} ${tap}`,
  };
  const up: Step = {
    line: ["ip", "link", "set", "dev", tap, "up"],
    undo: isNew ? [] : [["ip", "link", "set", "dev", tap, "down"]],
    old: `ifconfig ${tap} up`,
  };
  return [...steps, joins, ...(isNew || !isUp(host, tap) ? [up] : [])];
}

/** The words that give an interface the bridge back that it has now. */
function masterOf(host: NetHost, name: string): string[] {
  const found = /\bmaster (\S+)/.exec(host.run(["ip", "-o", "link", "show", "dev", name]).output);
  return found === null ? ["nomaster"] : ["master", found[1]];
}

function planNat(host: NetHost, bridge: string, ip: string | undefined): Step[] {
  if (ip === undefined) throw new SetUpError("--nat needs the network of the guests: --ip 192.168.10.1/24");
  const before = host.read(FORWARDING)?.trim() ?? "0";
  const steps: Step[] = [];
  if (before !== "1") {
    steps.push({
      line: ["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"],
      undo: [["sysctl", "-q", "-w", `net.ipv4.ip_forward=${before}`]],
    });
  }
  const table = `vmexit_${bridge.replaceAll(/\W/g, "_")}`;
  if (host.run(["nft", "--version"]).status === 0) {
    const rules = `table ip ${table} { chain post { type nat hook postrouting priority 100; ip saddr ${networkOf(ip)} oifname != "${bridge}" masquerade; }; }`;
    return [...steps, { line: ["nft", rules], undo: [["nft", "delete", "table", "ip", table]] }];
  }
  if (host.run(["iptables", "--version"]).status !== 0) {
    throw new SetUpError("--nat needs nft or iptables: apt-get install nftables");
  }
  const rule = ["POSTROUTING", "-s", networkOf(ip), "!", "-o", bridge, "-j", "MASQUERADE"];
  return [
    ...steps,
    {
      line: ["iptables", "-t", "nat", "-A", ...rule],
      undo: [["iptables", "-t", "nat", "-D", ...rule]],
    },
  ];
}

function planDhcp(host: NetHost, bridge: string, ip: string | undefined): Step {
  if (ip === undefined) throw new SetUpError("--dhcp needs the network of the guests: --ip 192.168.10.1/24");
  if (host.run(["dnsmasq", "--version"]).status !== 0) {
    throw new SetUpError("--dhcp needs dnsmasq: apt-get install dnsmasq-base");
  }
  const pid = `${FOLDER}/dnsmasq-${bridge}.pid`;
  const [from, to] = rangeOf(ip);
  return {
    line: [
      "dnsmasq",
      `--interface=${bridge}`,
      "--bind-interfaces",
      "--except-interface=lo",
      "--conf-file=",
      `--pid-file=${pid}`,
      `--dhcp-leasefile=${FOLDER}/dnsmasq-${bridge}.leases`,
      `--dhcp-range=${from},${to},12h`,
    ],
    undo: [["sh", "-c", `kill $(cat ${pid}); rm -f ${pid} ${FOLDER}/dnsmasq-${bridge}.leases`]],
  };
}

function hasAddress(host: NetHost, name: string, ip: string): boolean {
  return host.run(["ip", "-o", "addr", "show", "dev", name]).output.includes(` ${ip} `);
}

function numberOf(address: string): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

function addressOf(number: number): string {
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff).join(".");
}

function networkOf(ip: string): string {
  const [address, length] = ip.split("/");
  const size = 2 ** (32 - Number(length));
  return `${addressOf(Math.floor(numberOf(address) / size) * size)}/${length}`;
}

/** Addresses for guests: the network's second half, without the bridge's own and the broadcast address. */
function rangeOf(ip: string): [string, string] {
  const [address, length] = ip.split("/");
  const size = 2 ** (32 - Number(length));
  if (size < 8) throw new SetUpError(`--dhcp: ${ip} has no room for guests; use a network of /29 or larger`);
  const own = numberOf(address);
  const base = Math.floor(own / size) * size;
  const half = base + size / 2;
  const last = base + size - 2;
  return [addressOf(own === half ? half + 1 : half), addressOf(own === last ? last - 1 : last)];
}
