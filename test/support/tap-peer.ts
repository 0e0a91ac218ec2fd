/** The host kernel as the guest of a user network, at the other end of a tap in a network namespace. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type GuestLink, type Network, NO_OFFLOAD } from "../../src/net/link.ts";
import { random } from "./random.ts";

const PEER = fileURLToPath(new URL("tap-peer.py", import.meta.url));

/** Whether this machine can make one: root, a tun device, python. */
export const canTap =
  spawnSync("unshare", [
    "-n",
    "python3",
    "-c",
    "import os,fcntl,struct; fcntl.ioctl(os.open('/dev/net/tun', 2), 0x400454ca, struct.pack('16sH', b'tap0', 0x1002))",
  ]).status === 0;

/** What the line between kernel and network does to frames; probabilities. */
export interface Weather {
  readonly loss: number;
  readonly duplication: number;
  readonly reordering: number;
  readonly seed: number;
}

export interface Watching {
  readonly weather?: Weather | undefined;
  /** Rules of tc's netem, for both directions: "loss 3% duplicate 1%". */
  readonly netem?: string | undefined;
  printed?(line: string): void;
}

export interface PeerResult {
  readonly status: number;
  readonly output: string;
}

/** Runs `program` in a namespace whose only network is the one that `connect` makes. */
export async function runBehind(
  connect: (link: GuestLink) => Network | Promise<Network>,
  program: readonly string[],
  { weather, netem, printed }: Watching = {},
): Promise<PeerResult> {
  const disturbed = netem === undefined ? [] : ["--netem", netem];
  const child = spawn("unshare", ["-n", "python3", PEER, ...disturbed, ...program], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  const toGuest = inWeather(weather, (frame) => write(child, frame));
  let isFull = false;
  const network = await connect({
    accepts: 0,
    mtu: 1500,
    send: (head, body) => {
      if (child.stdin.writableLength > 4 * 1024 * 1024) {
        isFull = true;
        return false;
      }
      toGuest(body === undefined ? Buffer.from(head) : Buffer.concat([head, body]));
      return true;
    },
  });
  child.stdin.on("drain", () => {
    if (isFull) network.room();
    isFull = false;
  });
  child.stdin.on("error", () => {});
  const fromGuest = inWeather(weather, (frame) => network.input(frame, NO_OFFLOAD));
  let rest: Buffer = Buffer.alloc(0);
  child.stdout.on("data", (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (at + 2 <= rest.length && at + 2 + rest.readUInt16BE(at) <= rest.length) {
      const end = at + 2 + rest.readUInt16BE(at);
      fromGuest(rest.subarray(at + 2, end));
      at = end;
    }
    rest = rest.subarray(at);
    network.batchEnd?.();
  });
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => {
    const lines = (output.slice(output.lastIndexOf("\n") + 1) + chunk.toString()).split("\n");
    output += chunk.toString();
    for (const line of lines.slice(0, -1)) printed?.(line);
  });
  const status = await new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? -1)));
  return { status, output };
}

function write(child: ChildProcess, frame: Uint8Array): void {
  const header = Buffer.alloc(2);
  header.writeUInt16BE(frame.length);
  child.stdin?.write(header);
  child.stdin?.write(frame);
}

/** Passes frames on, but for what the weather does. */
function inWeather(
  weather: Weather | undefined,
  pass: (frame: Uint8Array) => void,
): (frame: Uint8Array) => void {
  if (weather === undefined) return pass;
  const chance = random(weather.seed);
  const late: Uint8Array[] = [];
  return (frame) => {
    if (chance() < weather.loss) return;
    if (chance() < weather.reordering) {
      late.push(Uint8Array.from(frame));
      return;
    }
    pass(frame);
    if (chance() < weather.duplication) pass(frame);
    if (late.length > 0 && chance() < 0.5) pass(late.shift() ?? frame);
  };
}
