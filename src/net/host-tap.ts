/**
 * A tap interface, as the program's thread opens it once for a machine: by name, by
 * descriptor, or as a new port of a bridge.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { SystemError } from "../sys/errors.ts";
import { FrameDescriptor, IFF_VNET_HDR } from "../sys/frame-descriptor.ts";
import { Vhost } from "../sys/vhost.ts";
import { ALL_OFFLOADS, NET_HEADER_BYTES } from "./offloads.ts";
import type { TapData } from "./tap.ts";

/** As QEMU: no limit. */
const SEND_BUFFER = 2 ** 31 - 1;
const IFF_UP = 1;
const VHOST_NET = "/dev/vhost-net";

export interface TapOptions {
  readonly tap?: string | undefined;
  readonly fds?: readonly number[] | undefined;
  readonly bridge?: string | undefined;
  readonly queues: number;
  readonly offloads: boolean;
  readonly sendBuffer?: number | undefined;
  readonly vhost: boolean;
  readonly vhostForce: boolean;
  readonly vhostFds?: readonly number[] | undefined;
  readonly upScript?: string | undefined;
  readonly downScript?: string | undefined;
}

export class HostTap {
  /** ACCEPTS_ bits. */
  readonly offloads: number;
  readonly data: TapData;
  /** Undefined for one that came as a descriptor. */
  readonly name: string | undefined;
  readonly #queues: readonly FrameDescriptor[];
  readonly #vhosts: readonly Vhost[];
  readonly #downScript: string | undefined;

  private constructor(
    queues: readonly FrameDescriptor[],
    vhosts: readonly Vhost[],
    name: string | undefined,
    downScript: string | undefined,
    hasHeader: boolean,
  ) {
    this.#queues = queues;
    this.#vhosts = vhosts;
    this.name = name;
    this.#downScript = downScript;
    this.offloads = hasHeader ? ALL_OFFLOADS : 0;
    const tokens = queues.map(({ token }) => token);
    this.data = { tokens, hasHeader, vhostTokens: vhosts.map(({ token }) => token) };
  }

  /**
   * @param note is called with what the user should know: the interface is down, for example
   * @throws {SystemError} if there is no such interface for this user
   */
  static open(options: TapOptions, note: (message: string) => void): HostTap {
    const { fds, sendBuffer = SEND_BUFFER, upScript, downScript } = options;
    const queues: FrameDescriptor[] = [];
    const vhosts: Vhost[] = [];
    try {
      const name = fds === undefined ? openByName(options, queues) : undefined;
      for (const fd of fds ?? []) queues.push(FrameDescriptor.adopt(fd));
      const hasHeader = (queues[0].tapFlags & IFF_VNET_HDR) !== 0;
      for (const queue of queues) {
        if (hasHeader) queue.setHeaderSize(NET_HEADER_BYTES);
        queue.setSendBuffer(sendBuffer);
      }
      if (hasHeader) queues[0].setOffload(0);
      if (name !== undefined && options.bridge !== undefined) joinBridge(name, options.bridge);
      if (name !== undefined && upScript !== undefined) runScript(upScript, name);
      if (name !== undefined && !isUp(name)) {
        note(`the interface ${name} is down, so no frame passes: ip link set ${name} up`);
      }
      if (options.vhost) openVhost(options, queues.length, vhosts, note);
      return new HostTap(queues, vhosts, name, downScript, hasHeader);
    } catch (error) {
      for (const vhost of vhosts) vhost.close();
      for (const queue of queues) queue.close();
      throw error;
    }
  }

  close(): void {
    if (this.name !== undefined && this.#downScript !== undefined) {
      // Nobody could handle its failure any more.
      spawnSync(this.#downScript, [this.name], { stdio: "ignore" });
    }
    for (const vhost of this.#vhosts) vhost.close();
    for (const queue of this.#queues) queue.close();
  }
}

/**
 * Adds one for each of `count` queues to `vhosts`. None if the kernel has no vhost-net for this user.
 * @throws {SystemError} if there has to be one, and for a descriptor that is not one of vhost-net
 */
function openVhost(
  { vhostFds, vhostForce }: TapOptions,
  count: number,
  vhosts: Vhost[],
  note: (message: string) => void,
): void {
  try {
    for (let n = 0; n < count; n++) {
      vhosts.push(vhostFds === undefined ? Vhost.open(VHOST_NET) : Vhost.adopt(vhostFds[n]));
    }
  } catch (error) {
    if (vhostForce || vhostFds !== undefined || !(error instanceof SystemError)) throw error;
    for (const vhost of vhosts.splice(0)) vhost.close();
    const advice = existsSync(VHOST_NET) ? `this user may not open ${VHOST_NET}` : "sudo modprobe vhost_net";
    note(`vhost: the kernel does not move the frames, so vmexit does (${advice})`);
  }
}

/** Adds the interface's queues to `queues`. @returns its name */
function openByName({ tap, queues: count, offloads }: TapOptions, queues: FrameDescriptor[]): string {
  const first = FrameDescriptor.openTap(tap ?? "vmexit%d", count > 1, offloads);
  queues.push(first.tap);
  while (queues.length < count) queues.push(FrameDescriptor.openTap(first.name, true, offloads).tap);
  return first.name;
}

function joinBridge(name: string, bridge: string): void {
  if (!existsSync(`/sys/class/net/${bridge}/bridge`)) {
    const advice = `Make it: vmexit net up ${bridge} --ip 192.168.10.1/24`;
    throw new SystemError(
      -19,
      "bridge",
      `adding ${name} to the bridge "${bridge}", which is not there`,
      advice,
    );
  }
  run("ip", ["link", "set", "dev", name, "master", bridge, "up"], `adding ${name} to the bridge "${bridge}"`);
}

function runScript(script: string, name: string): void {
  run(script, [name], `setting up ${name} by ${script}`);
}

function run(program: string, words: readonly string[], doing: string): void {
  const { status, error, stderr } = spawnSync(program, words, { encoding: "utf8" });
  if (status === 0) return;
  const why = error?.message ?? stderr.trim();
  throw new SystemError(-5, [program, ...words].join(" "), doing, why === "" ? undefined : `It said: ${why}`);
}

function isUp(name: string): boolean {
  try {
    return (Number(readFileSync(`/sys/class/net/${name}/flags`, "utf8")) & IFF_UP) !== 0;
  } catch {
    return true; // in another network namespace than /sys shows
  }
}
