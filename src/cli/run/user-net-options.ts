/** `-netdev user`: QEMU's keys of the user network. Source: QEMU 7.2, qemu-options.hx. */
import type { NetworkOptions } from "../../config/devices/virtio-net.ts";
import { type KeyValue, keysOf, readKeys } from "../../config/keys.ts";
import { table } from "../../config/schema.ts";
import { flag, type Kind, refused, text } from "../../config/value.ts";
import type { Complain } from "../key-values.ts";
import { readMetadata } from "./metadata-file.ts";

const noIpv6: Kind<never> = refused("the guest's IPv6 network is fec0::/64");
const noSmb: Kind<never> = refused("there is no SMB server; use hostfwd, or tftp");

const USER = table({
  net: { type: text("NET/BITS"), help: "the guest's network (default: 10.0.2.0/24)" },
  host: {
    type: text("ADDRESS"),
    help: "the gateway, which leads to the host's loopback (default: 10.0.2.2)",
  },
  dns: { type: text("ADDRESS"), help: "the name server (default: 10.0.2.3)" },
  dhcpstart: { type: text("ADDRESS"), help: "the first of 16 addresses for guests (default: 10.0.2.15)" },
  hostname: { type: text("NAME"), help: "the guest's name, by DHCP" },
  domainname: { type: text("NAME"), help: "its domain, by DHCP" },
  dnssearch: { type: text("DOMAIN"), help: "a domain in which names are looked up; may be repeated" },
  restrict: { type: flag, help: "whether the guest reaches nothing but what hostfwd and guestfwd name" },
  hostfwd: {
    type: text("tcp|udp:[HOST]:PORT-[GUEST]:PORT"),
    help: "a port of the host (default: of 127.0.0.1) that leads to the guest; may be repeated",
  },
  guestfwd: {
    type: text("tcp:ADDRESS:PORT-TARGET"),
    help: "an address of the guest's network that leads to TARGET: cmd:COMMAND, tcp:HOST:PORT or unix:PATH; may be repeated",
  },
  tftp: { type: text("FOLDER"), help: "files that the guest reads by TFTP" },
  bootfile: { type: text("NAME"), help: "the file that DHCP names for network boot" },
  "tftp-server-name": { type: text("NAME"), help: "the TFTP server that DHCP names" },
  metadata: {
    type: text("FILE"),
    help: "a JSON file with what a cloud image finds at http://169.254.169.254; {} is enough",
  },
  ipv4: { type: flag, help: "accepted; IPv4 is always on" },
  ipv6: { type: flag, help: "whether the guest has IPv6 too (default: on)" },
  "ipv6-net": { type: noIpv6, help: "" },
  "ipv6-prefix": { type: noIpv6, help: "" },
  "ipv6-prefixlen": { type: noIpv6, help: "" },
  "ipv6-host": { type: noIpv6, help: "" },
  "ipv6-dns": { type: noIpv6, help: "" },
  smb: { type: noSmb, help: "" },
  smbserver: { type: noSmb, help: "" },
});

export const USER_KEYS = keysOf(USER);

/** Keys of which each one counts, not the last. */
const REPEATED = ["hostfwd", "guestfwd", "dnssearch"];

export function userNetwork(pairs: readonly KeyValue[], complain: Complain): NetworkOptions {
  const single = pairs.filter(({ key }) => !REPEATED.includes(key));
  const all = (wanted: string) => pairs.filter(({ key }) => key === wanted).map(({ value }) => value);
  const said = readKeys(single, USER_KEYS, complain);
  const { net, host, dns, dhcpstart, hostname, domainname, restrict, tftp, bootfile, ipv4, ipv6 } = said;
  if (ipv4 === false) throw complain("ipv4=off: a user network without IPv4 is not possible");
  const metadata = said.metadata === undefined ? undefined : readMetadata(said.metadata, complain);
  const tftpServerName = said["tftp-server-name"];
  const [hostfwd, guestfwd, dnssearch] = REPEATED.map(all);
  const own = {
    net,
    host,
    dns,
    dhcpstart,
    hostname,
    domainname,
    restrict,
    tftp,
    bootfile,
    ipv6,
    tftpServerName,
    metadata,
  };
  return { user: { ...own, hostfwd, guestfwd, dnssearch } };
}
