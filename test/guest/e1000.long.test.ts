/**
 * Linux's e1000 driver on a PC: an address by DHCP, TCP both ways, the link.
 *
 * Kernels for clouds do not have the driver, so the guest's is the lab's.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { UserNet } from "vmexit/network";
import { guestFile, Scratch, ScriptGuest, transcript } from "../support/guest.ts";

const BYTES = 2 * 2 ** 20;
const DRIVER = "kernel/drivers/net/ethernet/intel/e1000/e1000.ko";

/** As lab/kernel.sh has it. */
const cache =
  process.env.VMEXIT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "vmexit");
const kernel = join(cache, "kernel/linux-image-amd64");
const [version = ""] = existsSync(join(kernel, "lib/modules"))
  ? readdirSync(join(kernel, "lib/modules"))
  : [];
const driver = join(kernel, "lib/modules", version, DRIVER);

/** The guest's initramfs with that driver, which it loads in place of those for disks. */
function initramfs(scratch: Scratch): string {
  const folder = scratch.path("more");
  mkdirSync(join(folder, "modules"), { recursive: true });
  cpSync(driver, join(folder, "modules/e1000.ko"));
  writeFileSync(join(folder, "modules/order"), "e1000.ko\n");
  const input = "modules\nmodules/e1000.ko\nmodules/order\n";
  const archive = execFileSync("cpio", ["-o", "-H", "newc", "--quiet"], { cwd: folder, input });
  const file = scratch.path("initrd.img");
  writeFileSync(file, Buffer.concat([readFileSync(guestFile("initrd.img")), archive]));
  return file;
}

const SCRIPT = `
cat >/tmp/lease <<'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev eth0
ip route add default via $router
echo "lease $ip"
EOF
chmod +x /tmp/lease
ip link set eth0 up
udhcpc -i eth0 -n -q -f -s /tmp/lease 2>/dev/null
echo "driver $(basename $(readlink /sys/class/net/eth0/device/driver)) $(cat /sys/class/net/eth0/address)"
ping -c 2 -q 10.0.2.2 | grep received
wget -q -O - http://192.0.2.1/big | md5sum
dd if=/dev/zero bs=1M count=2 2>/dev/null | nc 10.0.2.2 8003
echo "errors $(cat /sys/class/net/eth0/statistics/rx_errors) $(cat /sys/class/net/eth0/statistics/tx_errors)"
echo ready
while [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.2; done
echo "link down"
while [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do sleep 0.2; done
echo "link up"
`;

test.skipIf(!existsSync(driver))(
  "Linux uses an e1000: DHCP, ping, TCP both ways, the link down and up",
  async () => {
    using scratch = new Scratch();
    const content = Buffer.alloc(BYTES, "what the host sends ");
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const hash = createHash("md5");
      socket.on("data", (chunk) => hash.update(chunk));
      socket.on("end", () => socket.end(`${hash.digest("hex")}\n`));
    }).listen(8003, "127.0.0.1");
    const net = new UserNet({
      onConnect: ({ port }) => (port === 80 || port === 8003 ? "allow" : "deny"),
      onHttp: () => new Response(content),
    });
    await using guest = await ScriptGuest.start(SCRIPT, {
      machine: "pc",
      kernel: join(kernel, "boot", `vmlinuz-${version}`),
      initrd: initramfs(scratch),
      network: [{ model: "e1000", connect: net.plug }],
    });
    const printed = transcript(guest.vm);
    await guest.says("ready");
    guest.vm.networks[0].setLink(false);
    await guest.says("link down");
    guest.vm.networks[0].setLink(true);
    await guest.says("link up");
    const { errors, stats } = await guest.end();
    server.close();
    const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");
    expect(errors).toEqual([]);
    expect(printed.text).toContain("lease 10.0.2.15");
    expect(printed.text).toContain("driver e1000 52:54:00:12:34:56");
    expect(printed.text).toContain("2 packets received");
    expect(printed.text).toContain(md5(content));
    expect(printed.text).toContain(md5(Buffer.alloc(BYTES)));
    expect(printed.text).toContain("errors 0 0");
    expect(stats.networks[0].receivedFrames).toBeGreaterThan(1000);
  },
);
