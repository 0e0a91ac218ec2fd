/**
 * Linux with network cards, on tap interfaces and bridges that the test makes. The lab
 * has no network of its own: nothing leaves it.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { VirtualMachine } from "vmexit";
import { bootMs, guestFile, logIn, type } from "../support/guest.ts";

const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));
const MAC = "52:54:00:12:34:77";

const ip = (...words: string[]) => execFileSync("ip", words, { encoding: "utf8" });
const net = (...words: string[]) =>
  execFileSync(process.execPath, [MAIN, "net", ...words], { encoding: "utf8" });

/** Opens the tap interface of the first word as descriptor 32, and becomes the program of the others. */
const OPEN_TAP = `
import fcntl, os, struct, sys
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack("16sH22x", sys.argv[1].encode(), 0x5002))
os.dup2(tap, 32, inheritable=True)
os.execv(sys.argv[2], sys.argv[2:])
`;

/** What follows the card, on a root disk that several guests read. */
const ROOT = { cmdline: "root=/dev/vda ro", drives: [{ file: guestFile("root.img"), readOnly: true }] };

async function configure(vm: VirtualMachine, address: string): Promise<void> {
  await type(vm, "modprobe virtio_net; ip link set eth0 up");
  await type(vm, `ip addr add ${address}/24 dev eth0; sleep 1`);
}

async function pings(vm: VirtualMachine, address: string): Promise<string> {
  return await type(vm, `ping -c 3 -W 20 ${address}`);
}

/** Sends 4 MiB from the guest to a server here, and back; returns what the guest says they are. */
async function exchange(vm: VirtualMachine, host: string): Promise<{ up: number; down: string }> {
  const payload = Buffer.alloc(4 << 20, "vmexit");
  let up = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("data", (chunk) => {
      up += chunk.length;
    });
    socket.on("end", () => socket.end(payload));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = Object(server.address());
  const down = await type(vm, `head -c 4194304 /dev/zero | nc -w 60 ${host} ${port} | md5sum`);
  server.close();
  return { up, down };
}

describe("tap interfaces", () => {
  let vm: VirtualMachine;

  beforeAll(async () => {
    execFileSync("modprobe", ["-a", "tun", "bridge"]);
    net("up", "br0", "--ip", "192.168.10.1/24", "--tap", "tap0", "--tap", "tap1", "--tap", "tap2");
    vm = await logIn({
      ...ROOT,
      cpus: 2,
      network: [
        { tap: "tap0", mac: MAC },
        { tap: "tap1", mtu: 1400 },
      ],
    });
    await configure(vm, "192.168.10.2");
  }, bootMs());

  afterAll(async () => {
    await vm.close();
    net("down", "br0");
    expect(ip("-br", "link")).not.toMatch(/br0|tap[0-9]/);
  }, bootMs());

  test("the guest sees cards with the address and MTU that were asked for, and their links", async () => {
    const links = await type(vm, "ip link show eth0; ip link show eth1");
    expect(links).toContain(MAC);
    expect(links).toMatch(/eth1: .*mtu 1400/);
    expect(await type(vm, "cat /sys/class/net/eth0/carrier")).toContain("1");
  });

  test("the old recipe, in one line: the guest reaches the host", async () => {
    expect(await pings(vm, "192.168.10.1")).toContain(" 0% packet loss");
    const [stats] = vm.stats().networks;
    expect(stats.sentFrames).toBeGreaterThan(3);
    expect(stats.receivedFrames).toBeGreaterThan(3);
  });

  test("TCP in both directions, with segments longer than the MTU", async () => {
    const before = vm.stats().networks[0];
    const { up, down } = await exchange(vm, "192.168.10.1");
    expect(up).toBe(4 << 20);
    expect(down).toContain(
      execFileSync("sh", ["-c", "yes vmexit | tr -d '\\n' | head -c 4194304 | md5sum"], {
        encoding: "utf8",
      }).slice(0, 32),
    );
    const after = vm.stats().networks[0];
    expect((after.sentBytes - before.sentBytes) / (after.sentFrames - before.sentFrames)).toBeGreaterThan(
      1600,
    );
  });

  test("two guests on a bridge; the second has its interface as a descriptor of another program's", async () => {
    const script =
      "modprobe virtio_net; ip addr add 192.168.10.3/24 dev eth0; ip link set eth0 up; echo it-is-up; sleep 600";
    const line = [
      ...[process.execPath, MAIN, "run", "-m", "192", "-nographic"],
      ...["-kernel", guestFile("vmlinuz"), "-initrd", guestFile("initrd.img")],
      ...["-drive", `file=${guestFile("root.img")},format=raw,if=virtio,readonly=on`],
      ...[
        "-append",
        `console=ttyS0 quiet root=/dev/vda ro vmexit.run=${Buffer.from(script).toString("base64")}`,
      ],
      ...[
        "-netdev",
        "tap,id=hostnet0,fd=32",
        "-device",
        "virtio-net-device,netdev=hostnet0,mac=fa:16:3e:d1:2d:99",
      ],
    ];
    const other = spawn("python3", ["-c", OPEN_TAP, "tap2", ...line], { stdio: ["pipe", "pipe", "inherit"] });
    try {
      let printed = "";
      for await (const chunk of other.stdout) {
        printed += chunk;
        if (printed.includes("it-is-up\r\n")) break;
      }
      expect(printed).toContain("it-is-up");
      expect(await pings(vm, "192.168.10.3")).toContain(" 0% packet loss");
      expect(await type(vm, "ip neigh")).toContain("fa:16:3e:d1:2d:99");
    } finally {
      other.kill();
      await once(other, "exit");
    }
  });

  test("a link that is down, and up again", async () => {
    await vm.networks[0].setLink(false);
    expect(await type(vm, "sleep 1; cat /sys/class/net/eth0/operstate")).toContain("down");
    await vm.networks[0].setLink(true);
    expect(await type(vm, "sleep 1; cat /sys/class/net/eth0/carrier")).toContain("1");
    expect(await pings(vm, "192.168.10.1")).toContain(" 0% packet loss");
  });

  test("pause and resume, with a ping in between", async () => {
    await vm.pause();
    await vm.resume();
    expect(await pings(vm, "192.168.10.1")).toContain(" 0% packet loss");
  });
});
