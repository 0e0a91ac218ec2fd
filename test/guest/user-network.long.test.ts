/**
 * The user network under stress. Its TCP against the host's kernel at the other end of a tap, while tc's netem loses, duplicates,
 * delays and reorders frames in both directions. Here, because few machines have the module sch_netem, and the lab has.
 * And a port scanner in a Linux guest.
 */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";
import { UserNet } from "vmexit/network";
import { bootMs, runScript, Scratch } from "../support/guest.ts";
import { guest } from "../support/kernel-guest.ts";

const BYTES = 256 * 1024;
const content = Buffer.alloc(BYTES, "a line that is not a power of two long\n");

beforeAll(() => {
  execFileSync("modprobe", ["-a", "tun", "bridge", "veth", "sch_netem"]);
});

async function serve(accept: (socket: Socket) => void) {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    accept(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: Number(Object(server.address()).port), close: () => server.close() };
}

const sendsContent = (socket: Socket) => void socket.end(content);
const sendsSum = (socket: Socket) => {
  const hash = createHash("sha256");
  socket.on("data", (chunk) => hash.update(chunk));
  socket.on("end", () => socket.end(hash.digest("hex")));
};
const echoes = (socket: Socket) => void socket.pipe(socket);

test.each([
  "loss 3%",
  "delay 5ms reorder 25% 50%",
  "duplicate 5%",
  "delay 4ms 3ms loss 2% duplicate 2% corrupt 1%",
])(
  "the same bytes arrive with netem %s",
  async (netem) => {
    const servers = await Promise.all([serve(sendsContent), serve(sendsSum), serve(echoes)]);
    const [down, up, both] = servers.map(({ port }) => port);
    const actions = [`download,${down}`, `upload,${up},${BYTES}`, `echo,${both},${BYTES}`];
    const { output, counters } = await guest(actions, {}, { netem });
    for (const { close } of servers) close();
    const sum = createHash("sha256").update(content).digest("hex");
    expect(output).toEqual([`download ${sum} ${BYTES}`, `upload ${BYTES}`, `echo ${BYTES}`]);
    expect(counters.openStreams).toBeLessThan(4);
  },
  4 * bootMs(),
);

/** What an example prints, run as `npm run example` runs it. */
async function example(name: string): Promise<string> {
  const script = fileURLToPath(new URL(`../../build/tools/examples/${name}.js`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [script], { timeout: 2 * bootMs() });
  return stdout.replaceAll("\r", "");
}

test(
  "the examples of a guest's server and of two guests on a switch print what they promise",
  async () => {
    const [server, guests] = await Promise.all([example("09-server-in-a-guest"), example("10-two-guests")]);
    expect(server).toBe(
      [
        "GET /page: 200 A page of the guest.",
        "POST /cgi-bin/count: 200 This is Linux x86_64, and it got 100000 bytes.",
        "GET /nowhere: 404",
        "vm: poweroff",
        "",
      ].join("\n"),
    );
    expect(guests).toMatch(
      /3 packets received[\s\S]*A page of the server\.\n[\s\S]*client: poweroff\nserver: poweroff/,
    );
    // The capture of the first one, read by another reader of its format: this one.
    const frames = readFileSync(join(tmpdir(), "server.pcapng"));
    expect(frames.includes("A page of the guest.")).toBe(true);
  },
  4 * bootMs(),
);

const PORTS = Number(process.env.VMEXIT_SCAN_PORTS ?? 65_535);
const SCANNER = fileURLToPath(new URL("../support/port-scan.c", import.meta.url));

test.each([
  ["restrict=on", { restrict: true }],
  ["a program that denies everything", { onConnect: () => "deny", onDns: () => null, sniPorts: [] } as const],
])(
  `a scanner in Linux finds none of ${PORTS} TCP ports open with %s, and reaches no server of the host`,
  async (_, options) => {
    using scratch = new Scratch();
    const program = scratch.path("port-scan");
    execFileSync("gcc", ["-O2", "-static", "-o", program, SCANNER]);
    const bytes = readFileSync(program);
    writeFileSync(scratch.path("disk.img"), Buffer.concat([bytes, Buffer.alloc(512 - (bytes.length % 512))]));
    let reached = 0;
    const server = createServer(() => {
      reached++;
    }).listen(8080);
    await once(server, "listening");
    const net = new UserNet(options);
    const script = `
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
cat /dev/vdb >/tmp/port-scan; chmod +x /tmp/port-scan
/tmp/port-scan ${PORTS} 10.0.2.2`;
    const { output } = await runScript(script, {
      cmdline: "root=/dev/vda",
      drives: [{ file: scratch.rootDisk() }, { file: scratch.path("disk.img"), readOnly: true }],
      network: [{ connect: net.plug }],
    });
    server.close();
    expect(output).toMatch(new RegExp(`10\\.0\\.2\\.2 tcp 0 open ${PORTS} refused 0 silent, udp 0 answered`));
    expect(reached).toBe(0);
    expect(net.counters.openStreams).toBe(0);
  },
  4 * bootMs(),
);
