/** Connections from outside to the guest: those of the program, and ports of the host that lead to it. */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { formatAddress, fromNumber, parseIpv4 } from "./addresses.ts";
import type { HostForward, OpenForward } from "./forwards.ts";
import type { Host } from "./host.ts";
import { openForward } from "./host-forwards.ts";
import { linkedPair } from "./linked-pair.ts";
import type { NetworkPlan } from "./options.ts";
import type { TcpStack } from "./tcp/tcp-stack.ts";
import type { TcpRouter } from "./tcp-router.ts";
import type { UdpSessions } from "./udp-sessions.ts";

export interface WaysInParts {
  readonly plan: NetworkPlan;
  readonly host: Host;
  readonly tcp: TcpStack;
  readonly udp: UdpSessions;
  readonly router: TcpRouter;
}

export class WaysIn {
  readonly #parts: WaysInParts;
  readonly #forwards = new Set<OpenForward>();
  #isClosed = false;

  constructor(parts: WaysInParts) {
    this.#parts = parts;
  }

  /** Opens the forwards of the options. @throws {OptionError} if one cannot be opened; then none is open */
  async open(): Promise<void> {
    try {
      for (const forward of this.#parts.plan.hostForwards) await this.#open(forward);
    } catch (error) {
      await this.#closeForwards();
      throw error;
    }
  }

  /** Where the guest is, if it took what DHCP offers first. */
  get guestAddress(): string {
    return formatAddress(fromNumber(this.#parts.plan.firstLease));
  }

  async connect(port: number, guestAddress: string): Promise<Duplex> {
    const { tcp, plan } = this.#parts;
    const guest = parseIpv4(guestAddress);
    if (guest === undefined) throw new Error(`"${guestAddress}" is not an IPv4 address`);
    const [near, far] = linkedPair();
    const connection = this.#isClosed ? undefined : tcp.connect(guest, port, plan.gateway, far);
    const isOpen = await new Promise<boolean>((resolve) => {
      if (connection === undefined) resolve(false);
      else connection.onOutcome = resolve;
    });
    if (!isOpen) {
      near.destroy();
      const message = `the guest does not accept a connection at ${guestAddress}:${port}`;
      throw Object.assign(new Error(message), { code: "ECONNREFUSED" });
    }
    return near;
  }

  async forward(forward: HostForward): Promise<OpenForward> {
    const open = await this.#open(forward);
    return {
      ...open,
      close: async () => {
        this.#forwards.delete(open);
        await open.close();
      },
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#closeForwards();
  }

  async #open(forward: HostForward): Promise<OpenForward> {
    const { plan, host, udp } = this.#parts;
    const open = await openForward(forward, plan, host, {
      accept: (socket, guest, port) => this.#accept(socket, guest, port),
      sessions: udp,
      gateway: plan.gateway,
    });
    this.#forwards.add(open);
    return open;
  }

  async #closeForwards(): Promise<void> {
    const forwards = [...this.#forwards];
    this.#forwards.clear();
    await Promise.all(forwards.map((each) => each.close()));
  }

  #accept(socket: Socket, guest: Uint8Array, port: number): void {
    const { tcp, router, plan } = this.#parts;
    router.track(socket);
    const connection = tcp.connect(guest, port, plan.gateway, socket);
    if (connection === undefined) socket.resetAndDestroy();
  }
}
