/**
 * Two guests on a virtual switch, which is an object of this program: one serves a page, the other one reads it.
 * No interface of the host is involved, and no privilege is needed.
 *
 *     npm run example -- 10-two-guests
 */
import { join } from "node:path";
import { createVm } from "vmexit";
import { NetworkSwitch } from "vmexit/network";

const folder = process.env.VMEXIT_GUEST_DIR;
if (folder === undefined)
  throw new Error("give the folder of the guest: VMEXIT_GUEST_DIR=$(lab/guest/build)");
const guest = (name: string) => join(folder, name);

const ethernet = new NetworkSwitch();

/** A guest with an address on the switch, which runs commands as root before it powers off. */
function machine(name: string, address: string, mac: string, commands: string) {
  const script = `ip link set eth0 up\nip addr add ${address}/24 dev eth0\n${commands}`;
  return createVm({
    name,
    memory: "192M",
    kernel: guest("vmlinuz"),
    initrd: guest("initrd.img"),
    cmdline: `console=ttyS0 root=/dev/vda quiet vmexit.run=${Buffer.from(script).toString("base64")}`,
    drives: [{ file: guest("root.img"), format: "raw", snapshot: true }],
    network: [{ mac, connect: ethernet.plug }],
  });
}

const SERVE = `
mkdir /tmp/www && echo "A page of the server." >/tmp/www/page && httpd -p 80 -h /tmp/www && echo serving
read line
`;
const READ = `
ping -c 3 -q 192.168.7.1 | grep received
wget -q -O - http://192.168.7.1/page
`;

await using server = await machine("server", "192.168.7.1", "52:54:00:00:07:01", SERVE);
await using client = await machine("client", "192.168.7.2", "52:54:00:00:07:02", READ);
client.serial.on("data", (chunk: Buffer) => process.stdout.write(chunk));
await Promise.all([server.start(), server.serial.waitFor("serving")]);
await client.start();
console.log(`client: ${(await client.exited).reason}`);
server.serial.write("\n");
console.log(`server: ${(await server.exited).reason}`);
