/** What leads into a guest, and what a program decides: with the host kernel as the guest. */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex, duplexPair } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, test } from "vitest";
import type { ConnectionRequest } from "../../../src/net/user/options.ts";
import { guest } from "../../support/kernel-guest.ts";
import { canTap } from "../../support/tap-peer.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return address !== null && typeof address === "object" ? address.port : 0;
}

/** A server that greets. */
async function serveHello(address = "127.0.0.1"): Promise<number> {
  const server = createServer((socket) => socket.end("hello"));
  server.listen(0, address);
  await once(server, "listening");
  closers.push(() => server.close());
  const bound = server.address();
  return bound !== null && typeof bound === "object" ? bound.port : 0;
}

const HELLO_SUM = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 5";

describe.skipIf(!canTap)("the kernel as the guest", () => {
  test("hostfwd reaches a server in the guest, by TCP and by UDP", async () => {
    const port = await freePort();
    const udpPort = await freePort();
    const answers: Promise<string>[] = [];
    const { output } = await guest(
      ["listen,7", "udp_listen,9"],
      { hostfwd: [`tcp::${port}-:7`, `udp:127.0.0.1:${udpPort}-10.0.2.15:9`] },
      {
        printed: (line) => {
          if (line !== "listening") return;
          if (answers.length === 0) {
            const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
            socket.end("through the forward");
            answers.push(text(socket));
          } else {
            const socket = createSocket("udp4");
            socket.send("datagram", udpPort, "127.0.0.1");
            closers.push(() => socket.close());
            answers.push(once(socket, "message").then(([data]) => String(data)));
          }
        },
      },
    );
    expect(output).toEqual(["listening", "served 10.0.2.2", "listening", "served 10.0.2.2"]);
    expect(await Promise.all(answers)).toEqual(["through the forward", "DATAGRAM"]);
  });

  test("a program connects to a port of the guest, and a closed port is refused", async () => {
    const answers: Promise<unknown>[] = [];
    await guest(
      ["listen,7"],
      {},
      {
        printed: (line, network) => {
          if (line !== "listening") return;
          answers.push(
            network.connect(8).catch((error: unknown) => error),
            network.connect(7).then((stream) => {
              stream.end("from the program");
              return text(stream);
            }),
          );
        },
      },
    );
    expect(await Promise.all(answers)).toEqual([
      expect.objectContaining({ code: "ECONNREFUSED" }),
      "from the program",
    ]);
  });

  test("guestfwd: a command and a port of the host answer at addresses of the guest's network", async () => {
    const port = await serveHello();
    const { output } = await guest(["resolve,nothing.invalid"], {
      onDns: () => null,
    });
    expect(output).toEqual(["resolve nothing.invalid 3"]);
    const run = await guest(["download_from,10.0.2.100,80", "download_from,10.0.2.101,1234"], {
      restrict: true,
      guestfwd: ["tcp:10.0.2.100:80-cmd:printf hello", `tcp:10.0.2.101:1234-tcp:127.0.0.1:${port}`],
    });
    expect(run.output).toEqual([`download ${HELLO_SUM}`, `download ${HELLO_SUM}`]);
  });

  test("a stream that ends before the guest has completed its handshake loses nothing", async () => {
    const open = () => {
      const stream = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() });
      stream.push("hello");
      stream.push(null);
      return stream.end();
    };
    const guestfwd = [{ server: "10.0.2.100", port: 80, to: { open } }];
    const { output } = await guest(["download_from,10.0.2.100,80"], { guestfwd });
    expect(output).toEqual([`download ${HELLO_SUM}`]);
  });

  test("a program decides: allow, deny, redirect, a stream of its own", async () => {
    const port = await serveHello();
    const seen: ConnectionRequest[] = [];
    const { output } = await guest(
      [
        "resolve,own.example",
        "download_from,192.0.2.1,1000",
        "refused,1001,192.0.2.1",
        "download_from,198.51.100.7,1002",
        `download_from,10.0.2.2,${port}`,
      ],
      {
        onDns: ({ name, type }) => (name === "own.example" && type === "A" ? ["198.51.100.7"] : "forward"),
        onConnect: (request) => {
          seen.push(request);
          if (request.port === 1000) return { redirect: { host: "127.0.0.1", port } };
          if (request.port === 1001) return "deny";
          if (request.port === port) return "allow";
          const [near, far] = duplexPair();
          far.end("hello");
          far.resume();
          return near;
        },
      },
    );
    const hello = `download ${HELLO_SUM}`;
    expect(output).toEqual(["resolve own.example 0 198.51.100.7", hello, "refused", hello, hello]);
    expect(seen.map((each) => `${each.protocol} ${each.host} ${each.address} ${each.port}`)).toEqual([
      "tcp 192.0.2.1 192.0.2.1 1000",
      "tcp 192.0.2.1 192.0.2.1 1001",
      "tcp own.example 198.51.100.7 1002",
      `tcp 10.0.2.2 10.0.2.2 ${port}`,
    ]);
  });

  test("a handler that throws denies, and says so", async () => {
    const notes: string[] = [];
    const onConnect = () => {
      throw new Error("broken policy");
    };
    await guest(["refused,80,192.0.2.1"], { onConnect, onNote: (note) => notes.push(note) });
    expect(notes).toEqual([expect.stringContaining("broken policy")]);
  });

  test("a function is the guest's internet, and metadata is where a cloud image expects it", async () => {
    const { output } = await guest(
      [
        "resolve,any.example",
        "http,192.0.2.9,/page?x=1",
        "http,169.254.169.254,/2009-04-04/meta-data/instance-id",
        "http,169.254.169.254,/latest/meta-data/public-keys/0/openssh-key",
        "http,169.254.169.254,/latest/user-data",
        "http,169.254.169.254,/latest/meta-data/nothing",
      ],
      {
        onDns: () => ["192.0.2.9"],
        onHttp: (request) => new Response(`${request.method} ${request.url}`),
        metadata: { instanceId: "i-7", publicKeys: ["ssh-ed25519 AAAA me"], userData: "#!/bin/sh" },
      },
    );
    expect(output).toEqual([
      "resolve any.example 0 192.0.2.9",
      "http 200 GET http://192.0.2.9/page?x=1",
      "http 200 i-7",
      "http 200 ssh-ed25519 AAAA me",
      "http 200 #!/bin/sh",
      "http 404 not found",
    ]);
  });

  test("restrict=on: a scan finds nothing, of the host or outside", async () => {
    const port = await serveHello();
    const around = `${port - 5},${port + 5}`;
    const scans = [`scan,10.0.2.2,${around}`, `scan,127.0.0.1,${around}`, `scan,192.0.2.1,${around}`];
    const { output } = await guest([...scans, "udp_refused,53"], { restrict: true });
    expect(output).toEqual(["scan 10.0.2.2", "scan 127.0.0.1", "scan 192.0.2.1", "udp refused"]);
    const open = await guest([`scan,10.0.2.2,${around}`], {});
    expect(open.output).toEqual([`scan 10.0.2.2 ${port}`]);
  });

  test("udhcpc gets a lease with all that it asks for", async () => {
    const { output } = await guest(
      [],
      { hostname: "box", domainname: "example.org" },
      {
        program: ["--dhcp", "busybox", "udhcpc", "-i", "tap0", "-n", "-q", "-f", "-s", SCRIPT],
      },
    );
    expect(output.join("\n")).toContain("lease of 10.0.2.15 obtained from 10.0.2.2, lease time 86400");
    expect(output).toContain(
      "bound 10.0.2.15 255.255.255.0 10.0.2.2 10.0.2.3 box example.org 86400 10.0.2.2",
    );
  });

  test("IPv6: an address by router advertisement, and TCP to the host's loopback", async () => {
    const port = await serveHello("::1");
    const client = `import socket; s = socket.create_connection(("fec0::2", ${port}), timeout=20); print(s.getsockname()[0][:6], s.recv(10).decode())`;
    const wait =
      "for n in $(seq 100); do ip -6 addr show dev tap0 | grep -q 'fec0.*dynamic' && break; sleep 0.2; done";
    const program = ["sh", "-c", `${wait}; sleep 2; python3 -c '${client}'`];
    const { output } = await guest([], {}, { program });
    expect(output).toEqual(["fec0:: hello"]);
  });

  test("files of the TFTP folder are read, and no others", async () => {
    const folder = mkdtempSync(join(tmpdir(), "tftp-"));
    closers.push(() => rmSync(folder, { recursive: true }));
    const content = Buffer.alloc(100_000, "boot file ");
    writeFileSync(join(folder, "boot"), content);
    const fetched = join(folder, "fetched");
    const get = `busybox tftp -g -r boot -l ${fetched} 10.0.2.2 && sha256sum < ${fetched} && ! busybox tftp -g -r ../../etc/passwd -l /dev/null 10.0.2.2`;
    const { output } = await guest([], { tftp: folder }, { program: ["sh", "-c", get] });
    expect(output[0]).toBe(`${createHash("sha256").update(content).digest("hex")}  -`);
    expect(output[1]).toMatch(/access violation|not found/);
  });
});

const SCRIPT = join(import.meta.dirname, "../../support/udhcpc-script.sh");
