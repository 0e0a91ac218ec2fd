/**
 * Where the output of a guest's serial ports goes: to standard output, a file, a
 * pseudo-terminal, a socket, or nowhere. A slow reader makes the guest wait; nothing is
 * dropped.
 */
import { open } from "node:fs/promises";
import type { Readable, Writable } from "node:stream";
import type { Receiver } from "./keyboard.ts";
import type { PtyEnd } from "./pty-console.ts";
import type { Chardev } from "./serial-draft.ts";

/** An opened place. */
export interface Place {
  readonly name: string;
  readonly sink: Writable;
  /** Whether the sink ends with the port. */
  readonly end: boolean;
  /** For a place that has its own keyboard. */
  connectInput?(receiver: Receiver): void;
}

/** What is needed to open places. */
export interface PlaceDeps {
  readonly stdout: Writable;
  readonly stderr: Writable;
  openPty(): Promise<PtyEnd>;
}

/**
 * Opens a place before the guest exists, so that a failure is seen before it starts.
 *
 * @param label the port's name, as in "serial0"
 * @returns undefined for a port that is not connected
 */
export async function openPlace(where: Chardev, label: string, deps: PlaceDeps): Promise<Place | undefined> {
  switch (where.kind) {
    case "none":
      return undefined;
    case "stdio":
      return { name: "standard output", sink: deps.stdout, end: false };
    case "stderr":
      return { name: "standard error", sink: deps.stderr, end: false };
    case "file": {
      const file = await open(where.path, where.append === true ? "a" : "w");
      return { name: where.path, sink: file.createWriteStream(), end: true };
    }
    case "pty": {
      const pty = await deps.openPty();
      const { PtyConsole } = await import("./pty-console.ts");
      const sink = new PtyConsole(pty);
      // Programs look for QEMU's wording.
      deps.stderr.write(`char device redirected to ${pty.path} (label ${label})\n`);
      return { name: pty.path, sink, end: true, connectInput: (receiver) => sink.connect(receiver) };
    }
    case "socket": {
      const { SocketConsole, socketName } = await import("./socket-console.ts");
      const { place, isServer, waits } = where;
      const sink =
        isServer || "fd" in place ? await SocketConsole.listen(place) : await SocketConsole.connect(place);
      const name = socketName(place);
      if (waits) {
        deps.stderr.write(`vmexit: ${label}: waiting for a client at ${name}\n`);
        await sink.client();
      }
      return { name, sink, end: true, connectInput: (receiver) => sink.connectInput(receiver) };
    }
  }
}

/**
 * Writes the output of `port` to `place`. @returns a promise that settles when its
 * last byte is written, or cannot be written.
 */
export function connectOutput(port: Readable, place: Place | undefined): Promise<void> {
  if (place === undefined) {
    port.resume();
    return Promise.resolve();
  }
  const { sink, end } = place;
  port.pipe(sink, { end });
  return new Promise((resolve) => {
    sink.once("error", () => {
      port.resume(); // the guest is about to be stopped, and must not wait for a reader
      resolve();
    });
    if (end) sink.once("close", resolve);
    // Pipes are written asynchronously: the callback of a last write follows all writes before it.
    else port.once("end", () => sink.write("", () => resolve()));
  });
}
