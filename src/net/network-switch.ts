/**
 * An Ethernet switch between machines of one process, and perhaps a network that leads out. It learns where an address
 * is; a frame to an unknown one goes everywhere. A guest without room loses frames, as on a real switch.
 */
import { FrameCompleter, sendCompleted } from "./complete-frame.ts";
import { type GuestLink, type Network, NO_OFFLOAD, type Offload } from "./link.ts";
import type { ConnectNetwork } from "./program-network.ts";
import { get16, get32 } from "./user/bytes.ts";

const MAX_ADDRESSES = 4096;

/** One plug: a frame that leaves the switch there. */
interface Port {
  send(frame: Uint8Array, offload: Readonly<Offload>): void;
  batchEnd?(): void;
}

export class NetworkSwitch {
  readonly #ports = new Set<Port>();
  /** By Ethernet address, as a number. The one that was learned first is forgotten first. */
  readonly #places = new Map<number, Port>();
  readonly #completer = new FrameCompleter();
  readonly #uplinks: Network[] = [];

  /** For `connect` of a network card: each machine gets a port. */
  readonly plug: ConnectNetwork = (link) => this.#plug(link);

  /** Connects another network, such as a user network's `plug`: its guest is then all machines of the switch. */
  async uplink(connect: ConnectNetwork, mtu = 1500): Promise<void> {
    const link: GuestLink = {
      accepts: 0,
      mtu,
      send: (head, body) => {
        const frame = body === undefined ? head : Buffer.concat([head, body]);
        this.#forward(port, frame, NO_OFFLOAD);
        return true;
      },
    };
    const port: Port = {
      send: (frame, offload) => network.input(frame, offload),
      batchEnd: () => network.batchEnd?.(),
    };
    const network = await connect(link);
    this.#uplinks.push(network);
    this.#ports.add(port);
  }

  /** Closes the networks that were connected by `uplink`. */
  async close(): Promise<void> {
    this.#ports.clear();
    this.#places.clear();
    await Promise.all(this.#uplinks.splice(0).map((network) => network.close()));
  }

  #plug(link: GuestLink): Network {
    const port: Port = { send: (frame, offload) => sendCompleted(link, this.#completer, frame, offload) };
    this.#ports.add(port);
    return {
      input: (frame, offload) => this.#forward(port, frame, offload),
      batchEnd: () => {
        for (const each of this.#ports) each.batchEnd?.();
      },
      room: () => {},
      reset: () => this.#forget(port),
      close: () => {
        this.#ports.delete(port);
        this.#forget(port);
      },
    };
  }

  #forward(from: Port, frame: Uint8Array, offload: Readonly<Offload>): void {
    if (frame.length < 14) return;
    const source = addressAt(frame, 6);
    if ((frame[6] & 1) === 0 && this.#places.get(source) !== from) {
      if (this.#places.size >= MAX_ADDRESSES) this.#places.delete(this.#places.keys().next().value ?? 0);
      this.#places.set(source, from);
    }
    const to = (frame[0] & 1) === 0 ? this.#places.get(addressAt(frame, 0)) : undefined;
    if (to !== undefined) {
      if (to !== from) to.send(frame, offload);
      return;
    }
    for (const port of this.#ports) if (port !== from) port.send(frame, offload);
  }

  #forget(port: Port): void {
    for (const [address, place] of this.#places) if (place === port) this.#places.delete(address);
  }
}

function addressAt(frame: Uint8Array, at: number): number {
  return get16(frame, at) * 2 ** 32 + (get32(frame, at + 2) >>> 0);
}
