/** Gives traces the frames of the machine's cards, and what its networks decide, while a trace wants them. */
import type { describeFrame } from "../net/describe-frame.ts";
import type { WatchedFrame } from "../net/frame-watch.ts";
import type { NetworkEvent } from "../net/network-event.ts";
import type { MachineNetwork } from "./machine-network.ts";
import type { Trace } from "./trace-stream.ts";

export class NetworkTracer {
  readonly #network: MachineNetwork;
  #traces: readonly Trace[] = [];
  #stop: (() => void) | undefined;
  #lostBefore = 0;
  /** Loaded for the first trace: frames that come earlier have no text. */
  #describe: typeof describeFrame | undefined;

  constructor(network: MachineNetwork) {
    this.#network = network;
  }

  /** The traces that there are now. */
  show(all: readonly Trace[]): void {
    const traces = all.filter(({ wantsNetwork }) => wantsNetwork);
    if (traces.length === 0) {
      this.#stop?.(); // shows the last frames to the traces that there were
      this.#stop = undefined;
    }
    this.#tellLost();
    this.#traces = traces;
    if (traces.length === 0 || this.#stop !== undefined) return;
    void import("../net/describe-frame.ts").then(({ describeFrame }) => {
      this.#describe = describeFrame;
    });
    this.#lostBefore = this.#network.lost;
    this.#stop = this.#network.watch({
      frame: (card, frame) => this.#frame(card, frame),
      event: (card, event) => this.#event(card, event),
    });
  }

  #frame(card: string, { isInbound, bytes, timeMs }: WatchedFrame): void {
    const text = this.#describe?.(bytes) ?? "";
    const [direction, length] = [isInbound ? "in" : "out", bytes.length] as const;
    const now = monotonic(timeMs);
    for (const trace of this.#traces) {
      trace.addNetwork((t) => ({ kind: "frame", t, card, direction, length, text }), now);
    }
  }

  #event(card: string, event: NetworkEvent): void {
    const now = monotonic(performance.timeOrigin + performance.now());
    for (const trace of this.#traces) {
      trace.addNetwork((t) => ({ kind: "connection", t, card, ...event }), now);
    }
  }

  #tellLost(): void {
    const { lost } = this.#network;
    if (lost > this.#lostBefore) for (const trace of this.#traces) trace.loseFrames(lost - this.#lostBefore);
    this.#lostBefore = lost;
  }
}

/** A time since 1970 in ms, as ns of CLOCK_MONOTONIC. */
function monotonic(timeMs: number): number {
  const age = performance.timeOrigin + performance.now() - timeMs;
  return Math.round(Number(process.hrtime.bigint()) - age * 1e6);
}
