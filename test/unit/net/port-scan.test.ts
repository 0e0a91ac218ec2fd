/**
 * A port scanner behind the user network: with restrict=on, and with a program that denies everything, no port of the
 * host answers, and no socket of the host is opened. The host's kernel is the guest.
 */
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { NetworkEvent } from "../../../src/net/network-event.ts";
import { type Host, nodeHost } from "../../../src/net/user/host.ts";
import type { UserNetworkOptions } from "../../../src/net/user/options.ts";
import { UserNetwork } from "../../../src/net/user/user-network.ts";
import { canTap, runBehind } from "../../support/tap-peer.ts";

/** TCP ports of each address, from 1 on. */
const PORTS = Number(process.env.VMEXIT_SCAN_PORTS ?? 500);
/** Among them, where this test listens. */
const LISTENS = 487;
/** One of the host's own addresses, besides the loopback: a guest may know it. */
const OWN = Object.values(networkInterfaces())
  .flatMap((each) => each ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
const ADDRESSES = ["10.0.2.2", "10.0.2.3", ...(OWN === undefined ? [] : [OWN])];

let folder: string;
let scanner: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-scan-"));
  scanner = join(folder, "port-scan");
  const source = fileURLToPath(new URL("../../support/port-scan.c", import.meta.url));
  execFileSync("gcc", ["-O2", "-o", scanner, source], { stdio: "pipe" });
});

afterAll(() => rmSync(folder, { recursive: true }));

/** The same host, which notes what is opened on it. */
function notedHost() {
  const opened: string[] = [];
  const host: Host = {
    ...nodeHost,
    connect: (address, port) => {
      opened.push(`tcp ${address} ${port}`);
      return nodeHost.connect(address, port);
    },
    connectPath: (path) => {
      opened.push(path);
      return nodeHost.connectPath(path);
    },
    datagrams: (family) => {
      opened.push("udp");
      return nodeHost.datagrams(family);
    },
    pings: (family) => {
      opened.push("ping");
      return nodeHost.pings(family);
    },
  };
  return { host, opened };
}

async function scan(options: UserNetworkOptions, ...addresses: string[]) {
  const { host, opened } = notedHost();
  const verdicts = new Map<NetworkEvent["verdict"], number>();
  const { output, status } = await runBehind(
    (link) => {
      const network = new UserNetwork(options, link, { host });
      network.observe(({ verdict }) => verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1));
      return network;
    },
    [scanner, `${PORTS}`, ...addresses],
  );
  expect(status, output).toBe(0);
  return { lines: output.trimEnd().split("\n"), opened, verdicts };
}

describe.skipIf(!canTap)(`all of ${PORTS} ports`, () => {
  test("a guest that is allowed to finds the port where somebody listens, and no other", async () => {
    const server = createServer((socket) => socket.destroy()).listen(LISTENS, "127.0.0.1");
    await once(server, "listening");
    const { lines, opened, verdicts } = await scan({}, "10.0.2.2");
    server.close();
    const [, open, refused] = /tcp (\d+) open (\d+) refused 0 silent/.exec(lines[0]) ?? [];
    expect(Number(open)).toBeGreaterThanOrEqual(1);
    expect(Number(open) + Number(refused)).toBe(PORTS);
    expect(opened).toContain(`tcp 127.0.0.1 ${LISTENS}`);
    expect(verdicts.get("refused")).toBe(Number(refused));
    expect(verdicts.get("open")).toBeGreaterThanOrEqual(Number(open));
  });

  test.each([
    ["restrict=on", "0 open \\d+ refused", { restrict: true }],
    // Port 443 accepts a connection to read the server's name of TLS, and resets it then.
    [
      "a program that denies all",
      "[01] open \\d+ refused",
      { onConnect: () => "deny", onDns: () => null } as const,
    ],
  ])("%s: every port refuses, and nothing reaches a socket of the host", async (_, tcp, options) => {
    let reached = 0;
    const server = createServer((socket) => {
      reached++;
      socket.destroy();
    }).listen(LISTENS);
    const datagrams = createSocket("udp4", () => {
      reached++;
    }).bind(7001);
    await Promise.all([once(server, "listening"), once(datagrams, "listening")]);
    const { lines, opened, verdicts } = await scan(options, ...ADDRESSES);
    server.close();
    datagrams.close();
    expect(lines).toEqual(
      ADDRESSES.map((address) =>
        expect.stringMatching(`^${address} tcp ${tcp} 0 silent, udp 0 answered \\d+ refused \\d+ silent$`),
      ),
    );
    expect(opened).toEqual([]);
    expect(reached).toBe(0);
    expect(verdicts.get("open")).toBeUndefined();
    expect(verdicts.get("denied") ?? 0).toBeGreaterThanOrEqual(ADDRESSES.length * (PORTS - 1));
  });
});
