/** A guest's network as frames: those that it sends are iterated over, and any can be sent to it. */
import { FrameCompleter } from "./complete-frame.ts";
import type { GuestLink } from "./link.ts";
import type { ConnectNetwork } from "./program-network.ts";

/** Frames that nobody has read yet; more are lost, as in a card's queue. */
const MAX_WAITING = 1024;

export class FramePort implements AsyncIterable<Uint8Array> {
  readonly #completer = new FrameCompleter();
  #link: GuestLink | undefined;
  #frames: Uint8Array[] = [];
  #isClosed = false;
  #wakeReader: (() => void) | undefined;
  #wakeSender: (() => void) | undefined;

  /** For `connect` of a network card. */
  readonly plug: ConnectNetwork = (link) => {
    this.#link = link;
    this.#isClosed = false;
    return {
      input: (frame, offload) => this.#completer.complete(frame, offload, (each) => this.#received(each)),
      room: () => this.#wakeSender?.(),
      reset: () => {
        this.#frames = [];
      },
      close: () => {
        this.#isClosed = true;
        this.#link = undefined;
        this.#wakeReader?.();
        this.#wakeSender?.();
      },
    };
  };

  /** The guest's frames, until its machine ends. For one reader. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) yield frame;
      else if (this.#isClosed) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
      }
    }
  }

  /** Sends a frame to the guest. False: the guest has no room, or there is none; the frame is lost. */
  send(frame: Uint8Array): boolean {
    return this.#link?.send(frame) ?? false;
  }

  /** Sends frames as the guest has room for them, until they end or the machine does. */
  async sendAll(frames: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    for await (const frame of frames) {
      while (this.#link !== undefined && !this.#link.send(frame)) {
        await new Promise<void>((resolve) => {
          this.#wakeSender = resolve;
        });
      }
      if (this.#isClosed) return;
    }
  }

  #received(frame: Uint8Array): void {
    if (this.#frames.length < MAX_WAITING) this.#frames.push(Uint8Array.from(frame));
    this.#wakeReader?.();
  }
}
