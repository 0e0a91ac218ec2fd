/** The user network, as Linux uses it: an address by DHCP, names, TCP both ways, a program's answers. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { cloudInitDisk } from "vmexit/block";
import { UserNet } from "vmexit/network";
import { Scratch, ScriptGuest } from "../support/guest.ts";

const BYTES = 4 * 2 ** 20;

/** Configures eth0 as a distribution's script would. */
const DHCP = `
ip link set eth0 up
cat >/tmp/lease <<'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev eth0
ip route add default via $router
echo "nameserver $dns" >/etc/resolv.conf
echo "lease $ip $router $dns $hostname"
EOF
chmod +x /tmp/lease
udhcpc -i eth0 -n -q -f -s /tmp/lease 2>/dev/null
`;

test("DHCP, ping, names, downloads, uploads, a function as the internet, and a server in the guest", async () => {
  using scratch = new Scratch();
  const content = Buffer.alloc(BYTES, "what the host sends ");
  const seen: string[] = [];
  // What arrives is answered by its checksum.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash("md5");
    socket.on("data", (chunk) => hash.update(chunk));
    socket.on("end", () => socket.end(`${hash.digest("hex")}\n`));
  }).listen(8001, "127.0.0.1");
  const net = new UserNet({
    hostname: "box",
    onDns: ({ name, type }) => (name === "any.example" && type === "A" ? ["192.0.2.1"] : null),
    onConnect: ({ protocol, host, port }) => {
      seen.push(`${protocol} ${host} ${port}`);
      return host === "any.example" || port === 8001 ? "allow" : "deny";
    },
    onHttp: ({ url }) => new Response(url.endsWith("/big") ? content : `a function answers ${url}\n`),
  });
  const script = `${DHCP}
ping -c 2 -q 10.0.2.2 | grep received
wget -q -O - http://any.example/page
wget -q -O - http://any.example/big | md5sum
wget -q -O - http://192.0.2.2/ 2>&1 | tail -1
dd if=/dev/zero bs=1M count=4 2>/dev/null | nc 10.0.2.2 8001
mkdir /tmp/www && echo "from the guest" >/tmp/www/page && httpd -p 80 -h /tmp/www && echo serving
read line
`;
  await using guest = await ScriptGuest.start(script, {
    cmdline: "root=/dev/vda",
    drives: [{ file: scratch.rootDisk() }],
    network: [{ connect: net.plug }],
  });
  await guest.says("serving");
  const answer = await net.fetch("http://box/page");
  expect(await answer.text()).toBe("from the guest\n");
  const forward = await net.forward(0, 80);
  expect((await fetch(`http://127.0.0.1:${forward.hostPort}/none`)).status).toBe(404);
  guest.goOn();
  const { output, errors } = await guest.end();
  server.close();
  expect(errors).toEqual([]);
  const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");
  expect(output).toContain("lease 10.0.2.15 10.0.2.2 10.0.2.3 box");
  expect(output).toContain("2 packets received");
  expect(output).toContain("a function answers http://any.example/page");
  expect(output).toContain(md5(content));
  expect(output).toContain(md5(Buffer.alloc(BYTES)));
  expect(output).toMatch(/192\.0\.2\.2.*refused/);
  expect(seen).toContain("tcp any.example 80");
  expect(seen).toContain("tcp 192.0.2.2 80");
});

test("Linux mounts a seed of cloud-init, and finds the names as they are", () => {
  using scratch = new Scratch();
  const disk = cloudInitDisk({
    userData: "#!/bin/sh\n",
    metaData: "instance-id: i-9\n",
    networkConfig: "version: 2\n",
  });
  const image = new Uint8Array(disk.size);
  void disk.read(0, [image]);
  writeFileSync(scratch.path("seed.iso"), image);
  mkdirSync(scratch.path("mnt"));
  execFileSync("modprobe", ["-a", "loop", "isofs"]);
  for (const options of ["ro", "ro,norock"]) {
    execFileSync("mount", [
      "-t",
      "iso9660",
      "-o",
      `loop,${options}`,
      scratch.path("seed.iso"),
      scratch.path("mnt"),
    ]);
    try {
      const read = (name: string) => readFileSync(scratch.path(`mnt/${name}`), "utf8");
      expect([read("user-data"), read("meta-data"), read("network-config")]).toEqual([
        "#!/bin/sh\n",
        "instance-id: i-9\n",
        "version: 2\n",
      ]);
    } finally {
      execFileSync("umount", [scratch.path("mnt")]);
    }
  }
});
