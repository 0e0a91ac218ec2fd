/**
 * A page of an HTTP server in a guest, fetched from Node.
 *
 * The guest is on a user network, which needs no privilege, and no port of the host is opened: `vm.network.fetch`
 * is a connection to the guest inside this process. All frames are in server.pcapng afterwards, for Wireshark.
 *
 *     npm run example -- 09-server-in-a-guest
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createVm } from "vmexit";

/** Commands that the guest runs as root before it powers off. */
const SCRIPT = `
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
mkdir -p /tmp/www/cgi-bin
echo "A page of the guest." >/tmp/www/page
cat >/tmp/www/cgi-bin/count <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo "This is $(uname -sm), and it got $(wc -c) bytes."
END
chmod +x /tmp/www/cgi-bin/count
httpd -p 80 -h /tmp/www && echo serving
read line
`;

const folder = process.env.VMEXIT_GUEST_DIR;
if (folder === undefined)
  throw new Error("give the folder of the guest: VMEXIT_GUEST_DIR=$(lab/guest/build)");

await using vm = await createVm({
  memory: "256M",
  kernel: join(folder, "vmlinuz"),
  initrd: join(folder, "initrd.img"),
  cmdline: `console=ttyS0 root=/dev/vda quiet vmexit.run=${Buffer.from(SCRIPT).toString("base64")}`,
  drives: [{ file: join(folder, "root.img"), format: "raw", snapshot: true }],
  network: [{ user: {} }],
});
vm.on("error", (error) => console.error(error.message));
const capture = await vm.network.capture(join(tmpdir(), "server.pcapng"));
await vm.start();
await vm.serial.waitFor("serving");

const page = await vm.network.fetch("http://guest/page");
console.log(`GET /page: ${page.status} ${await page.text()}`.trimEnd());
const body = "x".repeat(100_000);
const counted = await vm.network.fetch("http://guest/cgi-bin/count", { method: "POST", body });
console.log(`POST /cgi-bin/count: ${counted.status} ${await counted.text()}`.trimEnd());
const missing = await vm.network.fetch("http://guest/nowhere");
console.log(`GET /nowhere: ${missing.status}`);
await capture.stop();

vm.serial.write("\n");
const { reason } = await vm.exited;
console.log(`${vm.name}: ${reason}`);
