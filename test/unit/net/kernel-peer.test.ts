/** The user network with the host kernel as its guest, which is a peer beyond doubt. */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { guest } from "../../support/kernel-guest.ts";
import { canTap } from "../../support/tap-peer.ts";

const AT_ONCE = Number(process.env.VMEXIT_TCP_CONNECTIONS ?? 200);
const IN_SEQUENCE = Number(process.env.VMEXIT_TCP_SEQUENCE ?? 300);
const MIB = 1024 * 1024;
/** Each loss can cost a timeout of the peer's. */
const LOSSY = MIB / 4;

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** A server on the host. */
async function serve(accept: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    accept(socket);
  });
  server.listen(0, "127.0.0.1", 2000);
  await once(server, "listening");
  closers.push(() => server.close());
  const address: string | AddressInfo | null = server.address();
  return address !== null && typeof address === "object" ? address.port : 0;
}

const serveEcho = () => serve((socket) => socket.pipe(socket));

/** Answers a whole upload with its checksum. */
const serveChecksum = () =>
  serve((socket) => {
    const hash = createHash("sha256");
    socket.on("data", (chunk) => hash.update(chunk));
    socket.on("end", () => socket.end(hash.digest("hex")));
  });

const content = Buffer.alloc(8 * MIB, "a line that is not a power of two long\n");
const serveContent = (bytes: number) => serve((socket) => socket.end(content.subarray(0, bytes)));
const sumOf = (bytes: number) => createHash("sha256").update(content.subarray(0, bytes)).digest("hex");

describe.skipIf(!canTap)("the kernel as the guest", () => {
  test("downloads, uploads and both at once, each with a half-close", async () => {
    const [down, up, both] = await Promise.all([serveContent(4 * MIB), serveChecksum(), serveEcho()]);
    const { output } = await guest([
      `download,${down}`,
      `upload,${up},${4 * MIB}`,
      `echo,${both},${4 * MIB}`,
    ]);
    expect(output).toEqual([`download ${sumOf(4 * MIB)} ${4 * MIB}`, `upload ${4 * MIB}`, `echo ${4 * MIB}`]);
  });

  test.each([
    { loss: 0.02, duplication: 0, reordering: 0, seed: 1 },
    { loss: 0, duplication: 0.05, reordering: 0.1, seed: 2 },
    { loss: 0.05, duplication: 0.05, reordering: 0.1, seed: 3 },
  ])("the same bytes arrive through %o", async (weather) => {
    const [down, up, both] = await Promise.all([serveContent(LOSSY), serveChecksum(), serveEcho()]);
    const actions = [`download,${down}`, `upload,${up},${LOSSY}`, `echo,${both},${LOSSY}`];
    const { output } = await guest(actions, {}, { weather });
    expect(output).toEqual([`download ${sumOf(LOSSY)} ${LOSSY}`, `upload ${LOSSY}`, `echo ${LOSSY}`]);
  });

  test("a closed port is refused, and a reset is a reset", async () => {
    const port = await serve((socket) => socket.once("data", () => socket.resetAndDestroy()));
    expect((await guest(["refused,1", `was_reset,${port}`])).output).toEqual(["refused", "reset"]);
  });

  test("UDP of all sizes, a closed UDP port, and ping of the gateway", async () => {
    const socket = createSocket("udp4", (data, from) => socket.send(data, from.port, from.address));
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    closers.push(() => socket.close());
    const { output } = await guest([
      `udp,${socket.address().port},20`,
      "udp_refused,1",
      "ping,10.0.2.2",
      "ping,10.0.2.3,5000",
    ]);
    expect(output).toEqual(["udp 20", "udp refused", "ping 10.0.2.2", "ping 10.0.2.3"]);
  });

  test("many connections at once and in sequence, none of which stays", async () => {
    const port = await serveEcho();
    const { output, counters } = await guest([`many,${port},${AT_ONCE}`, `sequence,${port},${IN_SEQUENCE}`]);
    expect(output).toEqual([`many ${AT_ONCE}`, `sequence ${IN_SEQUENCE}`]);
    expect(counters.openStreams).toBeLessThan(10);
  });
});
