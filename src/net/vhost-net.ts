/**
 * The queues of a network card that the host's kernel serves: its thread moves frames
 * between them and a tap interface. There is a descriptor for each queue pair. On the
 * io thread.
 *
 * Source: drivers/vhost/net.c of Linux. In each descriptor ring 0 receives and ring 1
 * sends. Bit 27 of the features is not that of VIRTIO, but says that the interface has
 * no headers.
 */
import { SystemError } from "../sys/errors.ts";
import { EventFd } from "../sys/event.ts";
import type { FrameDescriptor } from "../sys/frame-descriptor.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { Vhost } from "../sys/vhost.ts";

const F_MRG_RXBUF = 1 << 15;
const F_INDIRECT_DESC = 1 << 28;
const F_EVENT_IDX = 1 << 29;
/** What changes how the kernel reads and writes the rings. */
const RING_FEATURES = F_MRG_RXBUF | F_INDIRECT_DESC | F_EVENT_IDX;
const F_VERSION_1_HIGH = 1;
const VHOST_NET_F_VIRTIO_NET_HDR = 1 << 27;

/** See KernelQueues of virtio/queue/kernel-queues.ts. */
type Place = Parameters<Vhost["setRing"]>[1];
type Region = Parameters<Vhost["setMemory"]>[1][number];

interface VhostNetParts {
  /** By queue pair, as are the taps. */
  readonly tokens: readonly number[];
  readonly taps: readonly FrameDescriptor[];
  /** The interface has virtio-net headers. */
  readonly hasHeader: boolean;
  readonly ram: GuestRam;
  readonly regions: readonly Region[];
  /** Somebody wants to see the frames. */
  readonly isWatched: () => boolean;
  /** For the user: why the kernel serves nothing. */
  readonly note: (message: string) => void;
}

/** The kernel used buffers of a queue, or perhaps cannot serve one. */
interface KernelEvent {
  readonly bell: object;
  readonly kernel: { readonly used: number } | { failed(): boolean };
}

/** A queue pair. */
interface Pair {
  readonly vhost: Vhost;
  readonly tap: FrameDescriptor;
  /** By ring. */
  readonly calls: readonly [EventFd, EventFd];
  readonly kicks: [EventFd | undefined, EventFd | undefined];
  hasMemory: boolean;
}

export class VhostNet {
  readonly events: readonly KernelEvent[];
  readonly #parts: VhostNetParts;
  readonly #pairs: readonly Pair[];
  readonly #failed = EventFd.create();

  constructor(parts: VhostNetParts) {
    this.#parts = parts;
    this.#pairs = parts.tokens.map((token, n): Pair => {
      return {
        vhost: Vhost.attach(token),
        tap: parts.taps[n],
        calls: [EventFd.create(), EventFd.create()],
        kicks: [undefined, undefined],
        hasMemory: false,
      };
    });
    this.events = [
      ...this.#pairs.flatMap(({ calls }, n) => {
        return calls.map((bell, ring) => ({ bell, kernel: { used: 2 * n + ring } }));
      }),
      { bell: this.#failed, kernel: { failed: () => this.#failed.take() > 0 } },
    ];
  }

  get mayServe(): boolean {
    return !this.#parts.isWatched();
  }

  start(
    index: number,
    place: Place,
    nextAvail: number,
    { low, high }: { readonly low: number; readonly high: number },
    kick: object,
  ): boolean {
    const { ram, regions, note } = this.#parts;
    const pair = this.#pairs[index >> 1];
    const ring = index & 1;
    const { vhost, tap, calls, kicks } = pair;
    if (!(kick instanceof EventFd)) throw new TypeError("a doorbell is not an event");
    try {
      if (!pair.hasMemory) vhost.setMemory(ram, regions);
      pair.hasMemory = true;
      if (kicks[0] === undefined && kicks[1] === undefined && !this.#setFeatures(vhost, low, high)) {
        note("the host's vhost-net cannot do what the guest's driver wants: frames are moved in user space");
        return false;
      }
      vhost.setRing(ring, place, nextAvail);
      vhost.setEvents(ring, kick, calls[ring], this.#failed);
      vhost.setNetBackend(ring, tap);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      note(`${error.message}. Frames are moved in user space`);
      return false;
    }
    kicks[ring] = kick;
    return true;
  }

  kick(index: number): void {
    this.#pairs[index >> 1].kicks[index & 1]?.signal();
  }

  stop(index: number): number {
    const { vhost, kicks } = this.#pairs[index >> 1];
    const ring = index & 1;
    vhost.setNetBackend(ring, undefined);
    kicks[ring] = undefined;
    return vhost.ringBase(ring);
  }

  close(): void {
    for (const { vhost, calls } of this.#pairs) {
      // The program's thread has another handle: the next power cycle has other RAM.
      vhost.forgetMemory();
      vhost.close();
      for (const call of calls) call.close();
    }
    this.#failed.close();
  }

  /** False if the kernel lacks what the driver chose. */
  #setFeatures(vhost: Vhost, driverLow: number, driverHigh: number): boolean {
    const offered = vhost.features;
    const low = driverLow & RING_FEATURES;
    const high = driverHigh & F_VERSION_1_HIGH;
    if ((low & ~offered.low) !== 0 || (high & ~offered.high) !== 0) return false;
    vhost.setFeatures(this.#parts.hasHeader ? low : low | VHOST_NET_F_VIRTIO_NET_HDR, high);
    return true;
  }
}
