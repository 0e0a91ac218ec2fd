/**
 * How fast a guest's network is, and how much CPU time it costs the host: TCP in both directions, small UDP
 * packets, and ping, over the user network and over a tap interface.
 *
 *   npm run bench -- net [--json FILE] [FILTER...]
 *
 * FILTER selects networks by name: `user`, `tap`. The peer is QEMU's pc with virtio-net-pci on the same kind of
 * network. The load is iperf3, with its server on the host: nothing leaves the machine. The guests have one CPU,
 * and run in turns; those that wait are in HLT.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { bootArguments, findGuest, ObedientGuest, obey, scratchFolder } from "./support/guest.ts";
import { type Monitor, qemu, vmexit } from "./support/monitor.ts";
import { monitorCpuSeconds } from "./support/process.ts";
import { Results } from "./support/results.ts";
import { makeToolsDisk } from "./support/tools-disk.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 3);
const SECONDS = 4;
/** In the lab V8 takes this long until it has optimized the code that a load needs. */
const WARM_UP_SECONDS = 8;
const GIB = 2 ** 30;
/** A frame of 64 bytes with its FCS: 18 of them are the payload of UDP. */
const UDP_PAYLOAD = 18;
const PINGS = 100;

/** What is measured of one contestant in one round, by the name of the row. */
type Sample = Record<string, number>;

interface Plan {
  readonly host: string;
  readonly guest: string;
  readonly netdev: string;
}

interface Wire {
  readonly name: string;
  readonly what: string;
  readonly goal: number;
  readonly peerName: string;
  /** Of contestant `n`: the host and the guest as the guest sees them, and what follows `-netdev`. */
  plan(n: number): Plan;
}

const WIRES: readonly Wire[] = [
  {
    name: "user",
    what: "user network",
    goal: 1.5,
    peerName: "QEMU's slirp",
    plan: () => ({ host: "10.0.2.2", guest: "10.0.2.15", netdev: "user,id=n0" }),
  },
  {
    name: "tap",
    what: "tap",
    goal: 1.2,
    peerName: "QEMU, vhost=off",
    plan: (n) => {
      const host = `10.77.${n}.1`;
      makeTap(`bench${n}`, host);
      const netdev = `tap,id=n0,ifname=bench${n},script=no,downscript=no,vhost=off`;
      return { host, guest: `10.77.${n}.2`, netdev };
    },
  },
];

class Contestant {
  readonly guest: ObedientGuest;
  readonly samples: Sample[] = [];
  readonly #host: string;

  constructor(monitor: Monitor, { host, guest }: Plan) {
    this.#host = host;
    const tools = "mount -t ext4 -o ro /dev/vdb /mnt";
    const card = "modprobe virtio_net; ip link set lo up; ip link set eth0 up";
    const address = `ip addr add ${guest}/24 dev eth0; sleep 1`;
    this.guest = new ObedientGuest(monitor, `${tools}; ${card}; ${address}`);
  }

  value(row: string): number[] {
    return this.samples.map((sample) => sample[row]);
  }

  async warmUp(): Promise<void> {
    for (const direction of ["", "-R"]) await this.#tcp(direction, WARM_UP_SECONDS);
    await this.#udp("", WARM_UP_SECONDS);
  }

  async measure(): Promise<Sample> {
    const up = await this.#tcp("", SECONDS);
    const down = await this.#tcp("-R", SECONDS);
    return {
      [TCP_UP]: up.rate,
      [TCP_UP_CPU]: up.cpu,
      [TCP_DOWN]: down.rate,
      [TCP_DOWN_CPU]: down.cpu,
      [UDP_UP]: await this.#udp("", SECONDS),
      [UDP_DOWN]: await this.#udp("-R", SECONDS),
      [PING]: await this.#ping(),
    };
  }

  /** Mbit/s, and seconds of CPU outside the guest per GiB. */
  async #tcp(direction: string, seconds: number): Promise<{ rate: number; cpu: number }> {
    const at: number[] = [];
    const printed = await this.#run(
      `/mnt/iperf3 -c ${this.#host} -t ${seconds} -f k ${direction} | grep receiver`,
      (pid) => at.push(monitorCpuSeconds(pid)),
    );
    const [, amount, unit, rate] =
      /([\d.]+) ([KMG])Bytes\s+([\d.]+) Kbits\/sec/.exec(printed) ?? failed(printed);
    const bytes = Number(amount) * 2 ** { K: 10, M: 20, G: 30 }[unit === "K" || unit === "G" ? unit : "M"];
    const [before, after] = at.slice(-2); // of the last attempt
    return { rate: Number(rate) / 1000, cpu: ((after - before) / bytes) * GIB };
  }

  /** Packets that arrived, per second. */
  async #udp(direction: string, seconds: number): Promise<number> {
    const printed = await this.#run(
      `/mnt/iperf3 -c ${this.#host} -u -b 0 -l ${UDP_PAYLOAD} -t ${seconds} -f k ${direction} | grep receiver`,
    );
    const [, end, lost, sent] = /-([\d.]+)\s+sec .* (-?\d+)\/(\d+) \(/.exec(printed) ?? failed(printed);
    return (Number(sent) - Number(lost)) / Number(end);
  }

  /** The mean, in ms. */
  async #ping(): Promise<number> {
    const printed = await this.#run(`ping -q -A -c ${PINGS} ${this.#host} | tail -1`);
    const [, mean] = /= [\d.]+\/([\d.]+)\//.exec(printed) ?? failed(printed);
    return Number(mean);
  }

  async #run(command: string, mark?: (pid: number) => void): Promise<string> {
    const { printed } = await this.guest.time(`echo "<start>"; ${command}; echo "<end>"`, mark);
    return printed;
  }
}

const TCP_UP = "TCP, guest to host";
const TCP_DOWN = "TCP, host to guest";
const TCP_UP_CPU = "the monitor's CPU per GiB, guest to host";
const TCP_DOWN_CPU = "the monitor's CPU per GiB, host to guest";
const UDP_UP = "UDP in frames of 64 bytes, guest to host";
const UDP_DOWN = "UDP in frames of 64 bytes, host to guest";
const PING = "ping";

const { wires, list } = chosen(process.argv.slice(2));
if (wires.length === 0) {
  console.error(`net: FILTER is one of ${WIRES.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}
if (list) {
  console.log(wires.map(({ name }) => name).join("\n"));
  process.exit(0);
}

const scratch = scratchFolder();
const tools = join(scratch, "tools.img");
makeToolsDisk(tools, ["iperf3"]);
const found = findGuest();
const server = spawn("iperf3", ["-s"], { stdio: "ignore" });
process.on("exit", () => server.kill());
const root = join(found.vmlinux, "../root.img");
const boot = bootArguments(found.vmlinux, found.initrd, `root=/dev/vda ro ${obey}`);
const disks = [root, tools].flatMap((file) => ["-drive", `file=${file},format=raw,if=virtio,readonly=on`]);
const results = new Results();
for (const wire of wires) await measure(wire);
console.log(`net: medians of ${ROUNDS} rounds of ${SECONDS} s\n`);
results.finish();
process.exit(0);

/** The options of the command line. */
function chosen(argv: readonly string[]): { wires: readonly Wire[]; list: boolean } {
  const filters: string[] = [];
  let list = false;
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === "--json") i++;
    else if (argv[i] === "--piece") filters.push(argv[++i]);
    else if (argv[i] === "--pieces") list = true;
    else filters.push(argv[i]);
  }
  return { wires: WIRES.filter(({ name }) => filters.every((text) => name.includes(text))), list };
}

async function measure(wire: Wire): Promise<void> {
  const [plan, peerPlan] = [wire.plan(0), wire.plan(1)];
  const card = ["-device", "virtio-net-device,netdev=n0"];
  const ours = new Contestant(
    vmexit("-M", "microvm", ...boot, ...disks, "-netdev", plan.netdev, ...card),
    plan,
  );
  const pc = ["-M", "pc", "-display", "none", ...boot, ...disks];
  const pciCard = ["-device", "virtio-net-pci,netdev=n0"];
  const peer = new Contestant(qemu("pc", ...pc, "-netdev", peerPlan.netdev, ...pciCard), peerPlan);
  try {
    for (const each of [ours, peer]) await each.warmUp();
    for (let round = 0; round < ROUNDS; round++) {
      for (const each of round % 2 === 0 ? [ours, peer] : [peer, ours]) {
        each.samples.push(await each.measure());
        console.error(
          `net: ${wire.name}: ${each.guest.monitor.name}: ${JSON.stringify(each.samples.at(-1))}`,
        );
      }
    }
  } finally {
    await Promise.all([ours, peer].map(({ guest }) => guest.stop()));
  }
  const add = (row: string, unit: string, better: "higher" | "lower", goal?: number) =>
    results.add(
      `${wire.what}: ${row}`,
      unit,
      { ours: ours.value(row), peer: peer.value(row), peerName: wire.peerName },
      { better, ...(goal !== undefined && { goal }) },
    );
  add(TCP_UP, "Mbit/s", "higher", wire.goal);
  add(TCP_DOWN, "Mbit/s", "higher", wire.goal);
  add(TCP_UP_CPU, "s", "lower");
  add(TCP_DOWN_CPU, "s", "lower");
  add(UDP_UP, "packets/s", "higher");
  add(UDP_DOWN, "packets/s", "higher");
  add(PING, "ms", "lower");
}

function makeTap(name: string, address: string): void {
  if (!existsSync("/dev/net/tun")) execFileSync("modprobe", ["tun"]);
  const ip = (line: string) => execFileSync("ip", line.split(" "));
  ip(`tuntap add dev ${name} mode tap`);
  ip(`addr add ${address}/24 dev ${name}`);
  ip(`link set dev ${name} up`);
}

function failed(printed: string): never {
  throw new Error(`iperf3 or ping printed ${JSON.stringify(printed)}`);
}
