/**
 * A user network as a program has it: made first, plugged into a machine by `plug`, and used from outside for as long as
 * the machine runs.
 */
import type { Duplex } from "node:stream";
import type { ConnectNetwork } from "../program-network.ts";
import type { OpenForward } from "./forwards.ts";
import { fetchFrom } from "./guest-fetch.ts";
import { planNetwork, type UserNetworkOptions } from "./options.ts";
import { UserNetwork, type UserNetworkCounters } from "./user-network.ts";

export class UserNet {
  readonly #options: UserNetworkOptions;
  #network: UserNetwork | undefined;

  /** @throws {OptionError} */
  constructor(options: UserNetworkOptions = {}) {
    planNetwork(options); // says early what is wrong
    this.#options = options;
  }

  /** For `connect` of a network card; for one machine. */
  readonly plug: ConnectNetwork = async (link) => {
    const network = new UserNetwork(this.#options, link);
    await network.open();
    this.#network = network;
    return network;
  };

  /** Connects to a TCP port of the guest. @throws {Error} ECONNREFUSED */
  connect(port: number, guestAddress?: string): Promise<Duplex> {
    return this.#plugged.connect(port, guestAddress);
  }

  /**
   * A request to an HTTP server in the guest. The host of the URL is an address of the guest's network; any name means
   * the first address that DHCP gave.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    return fetchFrom((port, address) => this.connect(port, address), input, init);
  }

  /** Opens a TCP port of the host's loopback that leads to one of the guest. Port 0: the host chooses. */
  forward(hostPort: number, guestPort: number): Promise<OpenForward> {
    return this.#plugged.forward({ protocol: "tcp", hostPort, guestPort });
  }

  get counters(): UserNetworkCounters {
    return this.#plugged.counters;
  }

  get #plugged(): UserNetwork {
    if (this.#network === undefined) throw new Error("this network is not plugged into a machine yet");
    return this.#network;
  }
}
