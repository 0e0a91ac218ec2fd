/**
 * What a machine's network cards are connected to, from its creation to its end. A
 * reset keeps it: an interface stays open, a network of the program's own is the same.
 */

import type { Configs } from "../config/device-table.ts";
import { cardKind, type NetworkConfig } from "../config/devices/virtio-net.ts";
import type { DEVICES } from "../config/devices.ts";
import type { DeviceSpec } from "../machine/spec.ts";
import type { openDump } from "../net/dump.ts";
import type { FrameWatch } from "../net/frame-watch.ts";
import type { HostTap } from "../net/host-tap.ts";
import type { Network } from "../net/link.ts";
import type { NetworkPort } from "../net/network-port.ts";
import type { ConnectNetwork } from "../net/program-network.ts";
import type { HostVsock } from "../net/vsock/host-vsock.ts";
import type { NetworkData } from "../threads/shared.ts";
import { MachineNetwork } from "./machine-network.ts";
import { VmNetwork } from "./outlets/network.ts";
import { VmVsock } from "./outlets/vsock.ts";

/** What a network carries at most by default. */
const DEFAULT_MTU = 1500;

const VSOCK = "virtio-vsock";

type VsockConfig = Configs<typeof DEVICES>["vsock"];

/** The name of the part that is card `n`. */
function networkName(config: NetworkConfig, n: number): string {
  return config.model === "e1000" ? `e1000-${n}` : `virtio-net${n}`;
}

/** The program's side of a card, in one power cycle. */
export interface CardPort {
  /** The io thread has frames, or made room. */
  wake(): void;
  close(): void;
}

/** The other end of a card's cable, for the program's own networks. */
class ProgramEnd {
  readonly #config: NetworkConfig;
  readonly #connect: ConnectNetwork;
  readonly #makePort: (mtu: number) => NetworkPort;
  #network: Network | undefined;
  #port: NetworkPort | undefined;

  constructor(config: NetworkConfig, connect: ConnectNetwork, makePort: (mtu: number) => NetworkPort) {
    this.#config = config;
    this.#connect = connect;
    this.#makePort = makePort;
  }

  get network(): Network | undefined {
    return this.#network;
  }

  /** Makes the network. Its frames go to the port of the present power cycle. */
  async open(): Promise<void> {
    const port = () => this.#port;
    this.#network = await this.#connect({
      mtu: this.#config.mtu ?? DEFAULT_MTU,
      get accepts() {
        return port()?.accepts ?? 0;
      },
      // Before power-on and after the end a frame goes nowhere, as on a cable that is not plugged in.
      send: (head, body, offload) => port()?.send(head, body, offload) ?? true,
    });
  }

  /** A power cycle begins. */
  plug(): NetworkPort {
    const isFirst = this.#port === undefined;
    const port = this.#makePort(this.#config.mtu ?? DEFAULT_MTU);
    this.#port = port;
    if (this.#network !== undefined) {
      if (!isFirst) this.#network.reset?.();
      port.connect(this.#network);
    }
    return port;
  }

  pause(isPaused: boolean): void {
    if (isPaused) this.#network?.pause?.();
    else this.#network?.resume?.();
  }

  async close(): Promise<void> {
    this.#port = undefined;
    await this.#network?.close?.();
  }
}

type OpenDump = typeof openDump;

/** `offloads`: what its other end can do. */
type Connection = {
  readonly config: NetworkConfig;
  readonly offloads: number;
  readonly watch: FrameWatch;
} & ({ readonly tap: HostTap } | { readonly end: ProgramEnd });

export class Networks {
  readonly #connections: Connection[] = [];
  readonly #names: string[] = [];
  /** By card: the file for its frames. */
  readonly #dumps: (ReturnType<OpenDump> | undefined)[] = [];
  /** In the order in which they were given. */
  readonly cards: VmNetwork[] = [];
  /** All of them, as the program uses them. */
  readonly machine = new MachineNetwork(() =>
    this.#connections.map((connection, n) => ({
      name: this.#names[n],
      get lost() {
        return connection.watch.lost;
      },
      watch: (watcher) => {
        const end = connection.watch.watch(watcher);
        this.cards[n].changeServer();
        return () => {
          end();
          this.cards[n].changeServer();
        };
      },
      network: "end" in connection ? connection.end.network : undefined,
    })),
  );
  /** What the machine's user should know, from when the cards were connected. */
  readonly notes: string[] = [];
  /** Undefined without such a device. */
  vsock: VmVsock | undefined;
  #hostVsock: HostVsock | undefined;

  /** Of a machine without cards. */
  static get none(): Networks {
    return new Networks();
  }

  private constructor() {}

  /** @throws {SystemError} for an interface that cannot be opened; what a program's network throws */
  static async open(configs: readonly NetworkConfig[], vsock: VsockConfig): Promise<Networks> {
    const networks = new Networks();
    try {
      if (vsock !== undefined) {
        const { openVsock } = await import("../net/vsock/host-vsock.ts");
        const host = openVsock(vsock);
        networks.#hostVsock = host;
        networks.vsock = new VmVsock(vsock.cid, "host" in host ? host.host : undefined);
      }
      for (const [n, config] of configs.entries()) {
        const name = networkName(config, n);
        networks.#names.push(name);
        networks.cards.push(new VmNetwork(config.id, config.mac));
        networks.#dumps.push(await dump(config));
        networks.#connections.push(await connect(config, (note) => networks.notes.push(`${name}: ${note}`)));
      }
      return networks;
    } catch (error) {
      await networks.close();
      throw error;
    }
  }

  /** The names of the cards as parts. */
  get names(): string[] {
    return this.#names;
  }

  /** The cards and the vsock device, by the names of their parts. */
  get outlets(): [string, VmNetwork | VmVsock][] {
    const vsock: [string, VmVsock][] = this.vsock === undefined ? [] : [[VSOCK, this.vsock]];
    return [...this.cards.map((card, n): [string, VmNetwork] => [this.#names[n], card]), ...vsock];
  }

  /** The cards as parts of the machine. */
  get devices(): DeviceSpec[] {
    return this.#connections.map((connection, n) => {
      const { mac, mtu, queues, offloads, model, addr, bootindex, disableModern, disableLegacy } =
        connection.config;
      const onPci = {
        ...(bootindex === undefined ? {} : { bootindex }),
        ...(addr === undefined ? {} : { addr }),
        ...(disableModern ? { disableModern } : {}),
        ...(disableLegacy ? { disableLegacy } : {}),
      };
      const common = { mac, offloads: offloads ? connection.offloads : 0, ...onPci };
      const config = model === "e1000" ? common : { ...common, mtu, queues };
      return { kind: cardKind(connection.config), name: this.#names[n], config };
    });
  }

  /** What the io thread uses in one power cycle, and the program's ends, by part. */
  serve(): { data: Map<string, NetworkData>; ports: Map<string, CardPort> } {
    const data = new Map<string, NetworkData>();
    const ports = new Map<string, CardPort>();
    const vsock = this.#hostVsock;
    if (vsock !== undefined && "kernel" in vsock) {
      data.set(VSOCK, { kind: "vhost-vsock", token: vsock.kernel.token });
    } else if (vsock !== undefined) {
      const port = vsock.host.plug();
      ports.set(VSOCK, port);
      data.set(VSOCK, { kind: "vsock", rings: port.data });
    }
    for (const [n, connection] of this.#connections.entries()) {
      const name = this.#names[n];
      const file = this.#dumps[n];
      const { watch } = connection;
      const dump = file === undefined ? {} : { dump: { fd: file.fd, maxBytes: file.maxBytes } };
      const shared = { ...dump, watch: watch.data };
      if ("tap" in connection) {
        data.set(name, { ...shared, kind: "tap", tap: connection.tap.data });
        ports.set(name, { wake: () => watch.wake(), close: () => watch.drain() });
        continue;
      }
      const port = connection.end.plug();
      ports.set(name, {
        wake: () => {
          watch.wake();
          port.wake();
        },
        close: () => {
          watch.drain();
          port.close();
        },
      });
      data.set(name, { ...shared, kind: "program", rings: port.data });
    }
    return { data, ports };
  }

  pause(isPaused: boolean): void {
    for (const connection of this.#connections) if ("end" in connection) connection.end.pause(isPaused);
  }

  /** When no thread uses them any more. */
  async close(): Promise<void> {
    const captures = this.machine.finish();
    for (const file of this.#dumps.splice(0)) file?.close();
    const vsock = this.#hostVsock;
    this.#hostVsock = undefined;
    if (vsock !== undefined) ("host" in vsock ? vsock.host : vsock.kernel).close();
    for (const connection of this.#connections.splice(0)) {
      if ("tap" in connection) connection.tap.close();
      else await connection.end.close();
    }
    await captures;
  }
}

async function dump({ dump: file, dumpBytes }: NetworkConfig): Promise<ReturnType<OpenDump> | undefined> {
  if (file === undefined) return undefined;
  const { openDump } = await import("../net/dump.ts");
  return openDump(file, dumpBytes);
}

/** Modules are loaded only here: most machines have no network, and start sooner without them. */
async function connect(config: NetworkConfig, note: (message: string) => void): Promise<Connection> {
  const { FrameWatch } = await import("../net/frame-watch.ts");
  const watch = new FrameWatch();
  const plug = config.connect ?? (await userNetwork(config, note));
  if (plug === undefined) {
    const { HostTap } = await import("../net/host-tap.ts");
    const tap = HostTap.open({ ...config, vhost: wantsVhost(config, note) }, note);
    return { config, watch, tap, offloads: tap.offloads };
  }
  const { NetworkPort } = await import("../net/network-port.ts");
  const end = new ProgramEnd(config, plug, (mtu) => new NetworkPort(mtu));
  await end.open();
  return { config, watch, end, offloads: NetworkPort.offloads };
}

/** Where something wants to see the frames, the kernel does not move them. */
function wantsVhost({ vhost, model, dump }: NetworkConfig, note: (message: string) => void): boolean {
  const reason = model === "e1000" ? "for an e1000" : dump !== undefined ? "into a file" : undefined;
  if (vhost && reason !== undefined) note(`vhost: the kernel cannot move frames ${reason}, so vmexit does`);
  return vhost && reason === undefined;
}

async function userNetwork(
  { user }: NetworkConfig,
  note: (message: string) => void,
): Promise<ConnectNetwork | undefined> {
  if (user === undefined) return undefined;
  const load = async () => {
    const { UserNet } = await import("../net/user/user-net.ts");
    return new UserNet({ onNote: note, ...user }).plug;
  };
  // What options ask for is checked and opened before the guest starts.
  if (Object.keys(user).length > 0) return load();
  const { connectLate } = await import("../net/late-network.ts");
  return connectLate(load, (error) => note(`there is no user network: ${String(error)}`));
}
