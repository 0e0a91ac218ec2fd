/**
 * Linux with network cards, on tap interfaces and bridges that the test makes. The lab
 * has no network of its own: nothing leaves it.
 */
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
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

/** Of what `exchange` sends back. */
const PAYLOAD = Buffer.alloc(4 << 20, "vmexit");
const SUM = createHash("md5").update(PAYLOAD).digest("hex");

/** Sends 4 MiB from the guest to a server here, and back; returns what the guest says they are. */
async function exchange(vm: VirtualMachine, host: string): Promise<{ up: number; down: string }> {
  let up = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("data", (chunk) => {
      up += chunk.length;
    });
    socket.on("end", () => socket.end(PAYLOAD));
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
    execFileSync("modprobe", ["vhost_net"]);
    net("up", "br0", "--ip", "192.168.10.1/24", "--tap", "tap0", "--tap", "tap1", "--tap", "tap2");
    net("up", "br1", "--ip", "192.168.11.1/24", "--tap", "tap3");
    vm = await logIn({
      ...ROOT,
      cpus: 2,
      network: [
        { tap: "tap0", mac: MAC },
        { tap: "tap1", mtu: 1400 },
        { tap: "tap3", vhost: true, vhostForce: true },
      ],
    });
    await configure(vm, "192.168.10.2");
    await type(vm, "ip link set eth2 up; ip addr add 192.168.11.2/24 dev eth2");
  }, bootMs());

  afterAll(async () => {
    await vm.close();
    net("down", "br0");
    net("down", "br1");
    expect(ip("-br", "link")).not.toMatch(/br[01]|tap[0-9]/);
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
    expect(down).toContain(SUM);
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

  describe("with frames that the kernel moves", () => {
    /** Frames of that card that vmexit itself has moved. */
    const moved = () => vm.stats().networks[2].sentFrames + vm.stats().networks[2].receivedFrames;

    test("ping and TCP in both directions, and no frame passes user space", async () => {
      const before = moved();
      expect(await pings(vm, "192.168.11.1")).toContain(" 0% packet loss");
      const { up, down } = await exchange(vm, "192.168.11.1");
      expect([up, down.slice(0, 32)]).toEqual([4 << 20, SUM]);
      expect(moved()).toBe(before);
    });

    test("pause and resume", async () => {
      await vm.pause();
      await vm.resume();
      expect(await pings(vm, "192.168.11.1")).toContain(" 0% packet loss");
      expect(moved()).toBe(0);
    });

    test("a link that is down, and up again", async () => {
      await vm.networks[2].setLink(false);
      expect(await type(vm, "sleep 1; cat /sys/class/net/eth2/operstate")).toContain("down");
      await vm.networks[2].setLink(true);
      expect(await pings(vm, "192.168.11.1")).toContain(" 0% packet loss");
    });

    test("a driver that resets the card and starts again", async () => {
      const unbind =
        "cd /sys/bus/virtio/drivers/virtio_net; d=$(readlink /sys/class/net/eth2/device | sed s,.*/,,)";
      await type(vm, `${unbind}; echo $d >unbind; echo $d >bind; cd /; ip link set eth2 up`);
      await type(vm, "ip addr add 192.168.11.2/24 dev eth2; sleep 1");
      const before = moved();
      expect(await pings(vm, "192.168.11.1")).toContain(" 0% packet loss");
      expect(moved()).toBe(before);
    });

    test("while a record of written pages is wanted, vmexit moves the frames itself", async () => {
      await vm.mark();
      const before = moved();
      expect(await pings(vm, "192.168.11.1")).toContain(" 0% packet loss");
      expect(moved()).toBeGreaterThan(before + 4);
      await vm.rewind();
      expect(await pings(vm, "192.168.11.1")).toContain(" 0% packet loss");
    });
  });
});
