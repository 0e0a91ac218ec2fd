/** `vmexit net doctor`: why guests on a bridge have no network, and the line that mends it. */
import { isUp, type NetHost } from "./net-host.ts";

export interface Finding {
  readonly isGood: boolean;
  readonly text: string;
  /** The line that mends it. */
  readonly mend?: string;
}

/** Port 67 of UDP, as /proc/net/udp has it. */
const DHCP_PORT = /^\s*\d+: [0-9A-F]{8}:0043 /m;

export function examine(host: NetHost, bridge: string): Finding[] {
  const folder = `/sys/class/net/${bridge}`;
  const findings: Finding[] = [...examineHost(host)];
  const bad = (text: string, mend?: string) => {
    findings.push({ isGood: false, text, ...(mend === undefined ? {} : { mend }) });
  };
  const good = (text: string) => void findings.push({ isGood: true, text });

  if (!host.exists(folder)) {
    bad(`there is no bridge ${bridge}`, `vmexit net up ${bridge} --ip 192.168.10.1/24 --tap tap0`);
    return findings;
  }
  if (!host.exists(`${folder}/bridge`)) {
    bad(`${bridge} is an interface, and not a bridge`);
    return findings;
  }
  if (isUp(host, bridge)) good(`${bridge} is a bridge, and up`);
  else bad(`${bridge} is down`, `ip link set dev ${bridge} up`);

  const addresses = host.run(["ip", "-o", "-4", "addr", "show", "dev", bridge]).output;
  const address = /inet (\S+)/.exec(addresses)?.[1];
  if (address === undefined) {
    bad(
      `${bridge} has no address: the host itself cannot be reached by guests`,
      `ip addr add 192.168.10.1/24 dev ${bridge}`,
    );
  } else good(`${bridge} has the address ${address}`);

  const ports = host.list(`${folder}/brif`);
  const taps = ports.filter((name) => host.exists(`/sys/class/net/${name}/tun_flags`));
  if (taps.length === 0) {
    bad(
      `no tap interface is a port of ${bridge}`,
      `ip tuntap add dev tap0 mode tap user ${host.user}; ip link set dev tap0 master ${bridge} up`,
    );
  }
  for (const tap of taps) {
    if (isUp(host, tap)) good(`${tap} is a port of it, and up`);
    else bad(`${tap} is down`, `ip link set dev ${tap} up`);
    if (host.read(`/sys/class/net/${tap}/carrier`)?.trim() !== "1") {
      findings.push({ isGood: true, text: `${tap}: no machine has it open now` });
    }
  }

  const others = ports.filter((name) => !taps.includes(name));
  if (others.length > 0) good(`${others.join(", ")} connects it to another network`);
  if (DHCP_PORT.test(host.read("/proc/net/udp") ?? "")) good("a DHCP server listens on this host");
  else if (others.length === 0) {
    bad(
      `no DHCP server answers on ${bridge}: a guest has no address unless it is given one by hand`,
      address === undefined
        ? `vmexit net down ${bridge}; vmexit net up ${bridge} --ip 192.168.10.1/24 --dhcp`
        : `ip addr add ${guestAddress(address)} dev eth0 (in the guest), or vmexit net up with --dhcp`,
    );
  }
  if (others.length === 0) findings.push(...examineForwarding(host, bridge));
  return findings;
}

function examineHost(host: NetHost): Finding[] {
  const findings: Finding[] = [];
  if (host.exists("/dev/net/tun")) findings.push({ isGood: true, text: "/dev/net/tun is there" });
  else findings.push({ isGood: false, text: "there is no /dev/net/tun", mend: "modprobe tun" });
  if (!host.isAdmin) {
    findings.push({
      isGood: true,
      text: `this user has no CAP_NET_ADMIN: interfaces have to be made beforehand, for user ${host.user}`,
    });
  }
  return findings;
}

/** What keeps guests from reaching other hosts. */
function examineForwarding(host: NetHost, bridge: string): Finding[] {
  const findings: Finding[] = [];
  if (host.read("/proc/sys/net/ipv4/ip_forward")?.trim() === "1") {
    findings.push({ isGood: true, text: "the host forwards packets" });
  } else {
    findings.push({
      isGood: false,
      text: "the host does not forward packets: guests reach the host, and nothing beyond it",
      mend: "sysctl -w net.ipv4.ip_forward=1, or vmexit net up with --nat",
    });
  }
  if (!host.isAdmin) return findings;
  const rules = `${host.run(["nft", "list", "ruleset"]).output}\n${host.run(["iptables", "-t", "nat", "-S"]).output}`;
  if (/masquerade/i.test(rules)) findings.push({ isGood: true, text: "a rule translates addresses (NAT)" });
  else {
    findings.push({
      isGood: false,
      text: "no rule translates the guests' addresses (NAT): nobody beyond the host can answer them",
      mend: "vmexit net up with --nat",
    });
  }
  const drops = /^-P FORWARD DROP/m.test(host.run(["iptables", "-S", "FORWARD"]).output);
  const isFiltered = host.read("/proc/sys/net/bridge/bridge-nf-call-iptables")?.trim() === "1";
  if (drops) {
    const also = isFiltered ? ", also between two guests (bridge-nf-call-iptables is on)" : "";
    findings.push({
      isGood: false,
      text: `the firewall drops what is forwarded${also}`,
      mend: `iptables -I FORWARD -i ${bridge} -j ACCEPT; iptables -I FORWARD -o ${bridge} -j ACCEPT`,
    });
  }
  return findings;
}

/** An address that a guest may have beside that of the host. */
function guestAddress(address: string): string {
  const [host, length] = address.split("/");
  const parts = host.split(".").map(Number);
  parts[3] = parts[3] === 254 ? 2 : parts[3] + 1;
  return `${parts.join(".")}/${length}`;
}
