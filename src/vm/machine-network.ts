/** The networks of a machine, as its program uses them: frames in a file, and connections to the guest. */
import type { Duplex } from "node:stream";
import type { CaptureFile } from "../net/capture.ts";
import type { WatchedFrame } from "../net/frame-watch.ts";
import type { Network } from "../net/link.ts";
import type { NetworkEvent } from "../net/network-event.ts";
import type { OpenForward } from "../net/user/forwards.ts";
import { StateError } from "./vm-error.ts";

/** A card, as those see it who watch. */
export interface WatchableCard {
  readonly name: string;
  /** Frames that were not shown because the program was too slow. */
  readonly lost: number;
  watch(watcher: (frame: WatchedFrame) => void): () => void;
  /** What it is connected to, if that runs in this program. */
  readonly network: Network | undefined;
}

/** Frames of all cards, in the order in which each card had them; and decisions of their networks. */
export interface NetworkWatcher {
  frame?(card: string, frame: WatchedFrame): void;
  event?(card: string, event: NetworkEvent): void;
}

/** A capture that is being written. */
export interface Capture {
  /** Frames that are not in the file, because they came faster than they could be written. */
  readonly lost: number;
  /** Completes the file. @throws if it could not be written */
  stop(): Promise<void>;
}

export class MachineNetwork {
  readonly #cards: () => readonly WatchableCard[];
  readonly #captures = new Set<Capture>();
  readonly #watchers = new Set<NetworkWatcher>();
  #isFinished = false;

  /** Use VirtualMachine.network. @param cards those that it has now: none of a machine that has ended */
  constructor(cards: () => readonly WatchableCard[]) {
    this.#cards = cards;
  }

  /**
   * Writes the frames of all cards to a file that Wireshark and tcpdump read (pcapng), from now on until it is
   * stopped or the machine ends. A checksum that was left to the receiver is not in it, and TCP segments may be
   * longer than the MTU.
   */
  async capture(file: string): Promise<Capture> {
    const { CaptureFile } = await import("../net/capture.ts");
    const { open } = await import("node:fs/promises");
    this.#some("capture");
    const handle = await open(file, "w");
    const cards = this.#cards();
    const written = new CaptureFile(
      handle.createWriteStream(),
      cards.map(({ name }) => name),
    );
    const capture = captureTo(written, cards, () => this.#captures.delete(capture));
    this.#captures.add(capture);
    if (this.#isFinished) await capture.stop(); // the machine ended while the file was opened
    return capture;
  }

  /** Connects to a TCP port of the guest, by the first user network. @throws {Error} ECONNREFUSED */
  connect(port: number, guestAddress?: string): Promise<Duplex> {
    return this.#guestNetwork("connect").connect(port, guestAddress);
  }

  /**
   * A request to an HTTP server in the guest, by the first user network. The host of the URL is an address of
   * the guest's network; any name means the first address that DHCP gave.
   */
  async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const { fetchFrom } = await import("../net/user/guest-fetch.ts");
    const network = this.#guestNetwork("fetch");
    return fetchFrom((port, address) => network.connect(port, address), input, init);
  }

  /** Opens a TCP port of the host's loopback that leads to one of the guest. Port 0: the host chooses. */
  forward(hostPort: number, guestPort: number): Promise<OpenForward> {
    return this.#guestNetwork("forward").forward({ protocol: "tcp", hostPort, guestPort });
  }

  /** Whoever watches sees all frames and decisions from now on. @returns what ends that */
  watch(watcher: NetworkWatcher): () => void {
    const cards = this.#cards();
    const stops = cards.map((card) => card.watch((frame) => watcher.frame?.(card.name, frame)));
    this.#watchers.add(watcher);
    this.#observe();
    return () => {
      for (const stop of stops) stop();
      if (this.#watchers.delete(watcher)) this.#observe();
    };
  }

  /** Frames that no watcher was shown. */
  get lost(): number {
    return this.#cards().reduce((sum, { lost }) => sum + lost, 0);
  }

  /** The machine has ended. */
  async finish(): Promise<void> {
    this.#isFinished = true;
    await Promise.allSettled([...this.#captures].map((capture) => capture.stop()));
  }

  #observe(): void {
    const watchers = this.#watchers;
    for (const { name, network } of this.#cards()) {
      const tell = (event: NetworkEvent) => {
        for (const watcher of watchers) watcher.event?.(name, event);
      };
      network?.observe?.(watchers.size === 0 ? undefined : tell);
    }
  }

  #some(doing: string): readonly WatchableCard[] {
    if (this.#isFinished) throw new StateError(`network.${doing}(): the machine has ended`);
    const cards = this.#cards();
    if (cards.length === 0) throw new StateError(`network.${doing}(): the machine has no network card`);
    return cards;
  }

  /** The first network that leads to the guest. */
  #guestNetwork(doing: string) {
    for (const { network } of this.#some(doing)) {
      const { connect, forward } = network ?? {};
      if (network === undefined || connect === undefined || forward === undefined) continue;
      return {
        connect: (...where: Parameters<typeof connect>) => connect.apply(network, where),
        forward: (...what: Parameters<typeof forward>) => forward.apply(network, what),
      };
    }
    throw new StateError(`network.${doing}(): no card of the machine is on a user network`);
  }
}

function captureTo(file: CaptureFile, cards: readonly WatchableCard[], stopped: () => void): Capture {
  const before = cards.map(({ lost }) => lost);
  const lostNow = () => cards.reduce((sum, { lost }, n) => sum + lost - before[n], 0);
  let lost: number | undefined;
  const stops = cards.map((card, n) =>
    card.watch(({ isInbound, bytes, timeMs }) => file.frame(isInbound, bytes, undefined, n, timeMs)),
  );
  let ended: Promise<void> | undefined;
  const stop = () => {
    for (const each of stops) each();
    lost = lostNow();
    stopped();
    return file.close();
  };
  return {
    get lost() {
      return file.lost + (lost ?? lostNow());
    },
    stop: () => {
      ended ??= stop();
      return ended;
    },
  };
}
