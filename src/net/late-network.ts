/**
 * A network whose code is loaded when the guest sends its first frame: many machines
 * have a card that nobody uses.
 */
import type { Duplex } from "node:stream";
import type { GuestLink, Network, Offload } from "./link.ts";
import type { NetworkObserver } from "./network-event.ts";
import type { ConnectNetwork } from "./program-network.ts";
import type { HostForward, OpenForward } from "./user/forwards.ts";

/** Frames that come while it is loaded; more are lost, and the guest sends them again. */
const MAX_WAITING = 64;

/** @param failed is called if it cannot be loaded: the cable is not plugged in then */
export function connectLate(
  load: () => Promise<ConnectNetwork>,
  failed: (error: unknown) => void,
): ConnectNetwork {
  return (link) => new LateNetwork(link, load, failed);
}

class LateNetwork implements Network {
  readonly #link: GuestLink;
  readonly #load: () => Promise<ConnectNetwork>;
  readonly #failed: (error: unknown) => void;
  #network: Partial<Network> | undefined;
  #loading: Promise<void> | undefined;
  #waiting: { readonly frame: Uint8Array; readonly offload: Offload }[] = [];
  #observer: NetworkObserver | undefined;
  #isPaused = false;
  #isClosed = false;

  constructor(link: GuestLink, load: () => Promise<ConnectNetwork>, failed: (error: unknown) => void) {
    this.#link = link;
    this.#load = load;
    this.#failed = failed;
  }

  input(frame: Uint8Array, offload: Readonly<Offload>): void {
    if (this.#network !== undefined) {
      this.#network.input?.(frame, offload);
      return;
    }
    if (this.#waiting.length < MAX_WAITING) {
      this.#waiting.push({ frame: Uint8Array.from(frame), offload: { ...offload } });
    }
    this.#loading ??= this.#connect().catch(this.#failed);
  }

  batchEnd(): void {
    this.#network?.batchEnd?.();
  }

  room(): void {
    this.#network?.room?.();
  }

  reset(): void {
    this.#waiting = [];
    this.#network?.reset?.();
  }

  pause(): void {
    this.#isPaused = true;
    this.#network?.pause?.();
  }

  resume(): void {
    this.#isPaused = false;
    this.#network?.resume?.();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#network?.close?.();
  }

  observe(observer: NetworkObserver | undefined): void {
    this.#observer = observer;
    this.#network?.observe?.(observer);
  }

  async connect(port: number, guestAddress?: string): Promise<Duplex> {
    const network = await this.#loaded();
    if (network.connect === undefined) throw new Error("this network has no connections to its guest");
    return network.connect(port, guestAddress);
  }

  async forward(forward: HostForward): Promise<OpenForward> {
    const network = await this.#loaded();
    if (network.forward === undefined) throw new Error("this network has no ports of the host");
    return network.forward(forward);
  }

  async #loaded(): Promise<Partial<Network>> {
    this.#loading ??= this.#connect();
    await this.#loading;
    if (this.#network === undefined) throw new Error("this network has ended");
    return this.#network;
  }

  async #connect(): Promise<void> {
    const connect = await this.#load();
    const network = await connect(this.#link);
    if (this.#isClosed) {
      await network.close?.();
      return;
    }
    if (this.#isPaused) network.pause?.();
    if (this.#observer !== undefined) network.observe?.(this.#observer);
    this.#network = network;
    for (const { frame, offload } of this.#waiting) network.input(frame, offload);
    this.#waiting = [];
    network.batchEnd?.();
  }
}
