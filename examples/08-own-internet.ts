/**
 * A guest whose internet is a function.
 *
 * Every name that the guest asks for leads to this program, which answers each HTTP request itself, and denies all
 * other connections. In the other direction the program fetches a page of a server in the guest. No privilege is
 * needed, and nothing leaves the process.
 *
 *     npm run example -- 08-own-internet
 */
import { join } from "node:path";
import { createVm } from "vmexit";
import { UserNet } from "vmexit/network";

/** The whole internet. */
function internet(request: Request): Response {
  const { hostname, pathname } = new URL(request.url);
  console.log(`[host] ${request.method} ${hostname}${pathname}`);
  return new Response(`You are at ${hostname}, and this is ${pathname}.\n`);
}

/** Commands that the guest runs as root before it powers off. */
const SCRIPT = `
ip link set eth0 up
printf '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip addr add $ip/$mask dev eth0\nip route add default via $router\necho nameserver $dns >/etc/resolv.conf\n' >/tmp/lease
chmod +x /tmp/lease
udhcpc -i eth0 -n -q -f -s /tmp/lease 2>/dev/null
wget -q -O - http://news.example/today
wget -q -O - http://anything.example/at/all
nc -w 5 news.example 22 || echo "port 22: refused"
mkdir /tmp/www && echo "A page of the guest." >/tmp/www/page && httpd -p 80 -h /tmp/www && echo serving
read line
`;

const folder = process.env.VMEXIT_GUEST_DIR;
if (folder === undefined)
  throw new Error("give the folder of the guest: VMEXIT_GUEST_DIR=$(lab/guest/build)");

const net = new UserNet({
  onDns: ({ type }) => (type === "A" ? ["192.0.2.1"] : []),
  onConnect: ({ port }) => (port === 80 ? "allow" : "deny"),
  onHttp: internet,
});
await using vm = await createVm({
  memory: "256M",
  kernel: join(folder, "vmlinuz"),
  initrd: join(folder, "initrd.img"),
  cmdline: `console=ttyS0 root=/dev/vda quiet vmexit.run=${Buffer.from(SCRIPT).toString("base64")}`,
  drives: [{ file: join(folder, "root.img"), format: "raw", snapshot: true }],
  network: [{ connect: net.plug }],
});
vm.on("error", (error) => console.error(error.message));
vm.serial.pipe(process.stdout);
await vm.start();
await vm.serial.waitFor("serving");
const page = await net.fetch("http://guest/page");
console.log(`[host] the guest's server says: ${await page.text()}`);
vm.serial.write("\n");
const { reason } = await vm.exited;
console.log(`${vm.name}: ${reason}`);
