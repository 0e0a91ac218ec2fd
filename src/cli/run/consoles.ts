/**
 * Where the bytes of a guest's serial ports go: standard output, a file, a
 * pseudo-terminal, nowhere. A reader that lags makes the guest wait; nothing is
 * dropped on the way.
 */
import { open } from "node:fs/promises";
import type { Readable, Writable } from "node:stream";
import type { Receiver } from "./keyboard.ts";
import type { PtyEnd } from "./pty-console.ts";
import type { Chardev } from "./request.ts";

/** An opened place. */
export interface Place {
  readonly name: string;
  readonly sink: Writable;
  /** Whether the sink ends with the port. */
  readonly end: boolean;
  /** For a place that has its own keyboard. */
  connectInput?(receiver: Receiver): void;
}

/** What places are made of. */
export interface PlaceHost {
  readonly stdout: Writable;
  readonly stderr: Writable;
  openPty(): Promise<PtyEnd>;
}

/**
 * Opens what can fail before a guest exists that would miss it.
 *
 * @param label the port's name, as in "serial0"
 * @returns undefined for a port that is connected to nothing
 */
export async function openPlace(where: Chardev, label: string, host: PlaceHost): Promise<Place | undefined> {
  switch (where.kind) {
    case "none":
      return undefined;
    case "stdio":
      return { name: "standard output", sink: host.stdout, end: false };
    case "file": {
      const file = await open(where.path, "w");
      return { name: where.path, sink: file.createWriteStream(), end: true };
    }
    case "pty": {
      const pty = await host.openPty();
      const { PtyConsole } = await import("./pty-console.ts");
      const sink = new PtyConsole(pty);
      // In QEMU's words, which programs look for.
      host.stderr.write(`char device redirected to ${pty.path} (label ${label})\n`);
      return { name: pty.path, sink, end: true, connectInput: (receiver) => sink.connect(receiver) };
    }
  }
}

/**
 * Lets `port` flow into `place`. @returns a promise that settles when its last
 * byte is written, or none can be any more.
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
      port.resume(); // a guest that is about to be stopped must not wait for a reader
      resolve();
    });
    if (end) sink.once("close", resolve);
    // Pipes are written asynchronously: the callback of a last write says that all before it are out.
    else port.once("end", () => sink.write("", () => resolve()));
  });
}
