import { EventEmitter, once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SocketConsole } from "../../../../src/cli/run/socket-console.ts";

/** A guest's serial port that takes what it is sent. */
class FakePort extends EventEmitter {
  received = "";
  takes = true;
  readonly writableLength = 0;
  write(bytes: Uint8Array): boolean {
    this.received += Buffer.from(bytes).toString();
    return this.takes;
  }
}

let folder = "";
const opened: { destroy(): unknown }[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-socket-"));
});
afterEach(() => {
  for (const each of opened.splice(0)) each.destroy();
  rmSync(folder, { recursive: true });
});

function keep<T extends { destroy(): unknown }>(each: T): T {
  opened.push(each);
  return each;
}

async function listening() {
  const path = join(folder, "serial");
  const sink = keep(await SocketConsole.listen({ path }));
  const port = new FakePort();
  return { path, sink, port };
}

function client(path: string): { socket: Socket; text: () => string } {
  const socket = keep(connect(path));
  let text = "";
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  return { socket, text: () => text };
}

const write = (sink: SocketConsole, text: string) =>
  new Promise<void>((resolve) => sink.write(text, () => resolve()));

test("a guest without a client does not wait", async () => {
  const { sink } = await listening();
  await write(sink, "x".repeat(1 << 20));
});

test("a client talks with the guest, and what it sent before the guest was there arrives", async () => {
  const { path, sink, port } = await listening();
  const { socket, text } = client(path);
  socket.write("early ");
  await sink.client();
  sink.connectInput(port);
  await write(sink, "login: ");
  socket.write("root\r");
  await vi.waitFor(() => {
    expect(text()).toBe("login: ");
    expect(port.received).toBe("early root\r");
  });
});

test("one client has it at a time, and the next one may come when it has gone", async () => {
  const { path, sink, port } = await listening();
  sink.connectInput(port);
  const first = client(path);
  await sink.client();
  const second = client(path);
  await once(second.socket, "close");
  first.socket.end();
  await vi.waitFor(async () => {
    const third = client(path);
    await once(third.socket, "connect");
    await write(sink, "hello");
    await vi.waitFor(() => expect(third.text()).toContain("hello"), 200);
  });
});

test("a guest that reads nothing makes the client wait", async () => {
  const { path, sink, port } = await listening();
  sink.connectInput(port);
  port.takes = false;
  const { socket } = client(path);
  await sink.client();
  socket.write("1");
  await vi.waitFor(() => expect(port.received).toBe("1"));
  socket.write("2");
  await write(sink, "time passes");
  expect(port.received).toBe("1");
  port.emit("drain");
  await vi.waitFor(() => expect(port.received).toBe("12"));
});

test("the last output arrives before the connection ends, and the socket file goes", async () => {
  const { path, sink } = await listening();
  const { socket, text } = client(path);
  await sink.client();
  sink.end("goodbye");
  await once(socket, "close");
  expect(text()).toBe("goodbye");
  await vi.waitFor(() => expect(existsSync(path)).toBe(false));
});

test("the socket file of a server that ended is replaced", async () => {
  const path = join(folder, "stale");
  const server = createServer().listen(path);
  await once(server, "listening");
  keep(await SocketConsole.listen({ path }));
  server.close();
});

test("it connects to a program that listens, and says so if there is none", async () => {
  const path = join(folder, "log");
  await expect(SocketConsole.connect({ path })).rejects.toThrow(`connecting to unix:${path}: connect failed`);
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(keep(socket))).listen(path);
  await once(server, "listening");
  const sink = keep(await SocketConsole.connect({ path }));
  await write(sink, "boot text");
  await vi.waitFor(() => expect(sockets[0]?.read()?.toString()).toBe("boot text"));
  server.close();
});

test("a port in use is named", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  await expect(SocketConsole.listen({ port })).rejects.toThrow(
    `waiting for a client at tcp:127.0.0.1:${port}: listen failed with EADDRINUSE`,
  );
  server.close();
});
