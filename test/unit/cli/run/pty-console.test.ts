import { EventEmitter, once } from "node:events";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { afterEach, expect, test, vi } from "vitest";
import { PtyConsole } from "../../../../src/cli/run/pty-console.ts";
import { Pty } from "../../../../src/sys/pty.ts";

/** A guest's serial port that takes what it is sent. */
class FakePort extends EventEmitter {
  received = "";
  readonly writableLength = 0;
  write(bytes: Uint8Array): boolean {
    this.received += Buffer.from(bytes).toString();
    this.emit("received");
    return true;
  }
}

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});

function console() {
  const pty = Pty.open();
  const port = new FakePort();
  const sink = new PtyConsole(pty);
  sink.connect(port);
  opened.push({ close: () => sink.destroy() });
  return { pty, port, sink };
}

/** Somebody opens the other end. */
async function visitor(pty: Pty): Promise<FileHandle> {
  const handle = await open(pty.path, constants.O_RDWR | constants.O_NOCTTY);
  opened.push(handle);
  return handle;
}

const read = async (handle: FileHandle) => {
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(4096));
  return buffer.toString("utf8", 0, bytesRead);
};

const write = (sink: PtyConsole, text: string) =>
  new Promise<void>((resolve) => sink.write(text, () => resolve()));

test("a guest whose console nobody looks at does not wait", async () => {
  const { pty, sink } = console();
  expect(pty.connected()).toBe(false);
  await write(sink, "x".repeat(1 << 20));
});

test("whoever opens it talks with the guest, byte for byte", async () => {
  const { pty, port, sink } = console();
  const shell = await visitor(pty);
  await write(sink, "login: \x01\r\n");
  expect(await read(shell)).toBe("login: \x01\r\n");
  const received = once(port, "received");
  await shell.write("root\r\x03");
  await received;
  expect(port.received).toBe("root\r\x03");
});

test("it can be left and opened again", async () => {
  const { pty, port, sink } = console();
  const first = await visitor(pty);
  await write(sink, "one");
  expect(await read(first)).toBe("one");
  opened.pop();
  await first.close();
  await vi.waitFor(() => expect(pty.connected()).toBe(false));
  await write(sink, "for nobody");
  const second = await visitor(pty);
  await vi.waitFor(async () => {
    await second.write("!");
    expect(port.received).toContain("!");
  });
  await write(sink, "two");
  expect(await read(second)).toContain("two");
});

test("the guest's last words are read before the line goes down", async () => {
  const { pty, sink } = console();
  const shell = await visitor(pty);
  sink.end("Power down\r\n");
  expect(await read(shell)).toBe("Power down\r\n");
  await once(sink, "close");
});

test("what is typed before the guest is there waits for it", async () => {
  const pty = Pty.open();
  const port = new FakePort();
  const sink = new PtyConsole(pty);
  opened.push({ close: () => sink.destroy() });
  const shell = await visitor(pty);
  await shell.write("early");
  await new Promise((resolve) => setTimeout(resolve, 250));
  const received = once(port, "received");
  sink.connect(port);
  await received;
  expect(port.received).toBe("early");
});
