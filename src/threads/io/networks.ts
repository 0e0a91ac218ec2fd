/** Opens what network cards are connected to, on the io thread. */
import { EAGAIN } from "../../base/errno.ts";
import type { NetBackEnd } from "../../machine/back-ends.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { NetBackend } from "../../net/backend.ts";
import { DumpBackend } from "../../net/dump.ts";
import { RingBackend } from "../../net/ring-backend.ts";
import { TapBackend, type TapData } from "../../net/tap.ts";
import { VhostNet } from "../../net/vhost-net.ts";
import { VhostVsock } from "../../net/vsock/vhost-vsock.ts";
import { type FrameWatchData, WATCH_ON, WatchBackend } from "../../net/watch-backend.ts";
import type { GuestRam } from "../../sys/guest-ram.ts";
import type { NetworkData } from "../shared.ts";

/** Behind a device whose queues only the kernel serves. */
const NOTHING: NetBackend = {
  arrivals: [],
  send: () => 0,
  receive: () => EAGAIN,
  accept() {},
  close() {},
};

export type OpenNetwork = typeof openNetwork;

/**
 * @param wake wakes the program's thread for its network, and for those who watch
 * @param note for the user of the machine
 */
export function openNetwork(
  data: NetworkData,
  ram: GuestRam,
  memory: GuestMemory,
  wake: () => void,
  note: (message: string) => void,
): NetBackEnd {
  if (data.kind === "tap" && data.dump === undefined && data.tap.vhostTokens.length > 0) {
    return vhostNet(data.tap, data.watch, { ram, memory, wake, note });
  }
  if (data.kind === "vhost-vsock") {
    const vsock = new VhostVsock({ token: data.token, ram, regions: memory.regions, note });
    return { backend: NOTHING, kernelQueues: vsock, events: vsock.events, close: () => vsock.close() };
  }
  if (data.kind === "vsock") return openedNetwork(new RingBackend(data.rings, memory, wake));
  const bare: NetBackend =
    data.kind === "tap" ? new TapBackend(data.tap, ram) : new RingBackend(data.rings, memory, wake);
  const dumped = data.dump === undefined ? bare : new DumpBackend(bare, memory, data.dump);
  return openedNetwork(new WatchBackend(dumped, memory, data.watch, wake));
}

function openedNetwork(backend: NetBackend): NetBackEnd {
  const { arrivals, vacancies = [] } = backend;
  return {
    backend,
    // Queues come in pairs: receive, transmit.
    events: [
      ...arrivals.map((bell, pair) => ({ bell, queue: 2 * pair })),
      ...vacancies.map((bell, pair) => ({ bell, queue: 2 * pair + 1 })),
    ],
    close: () => backend.close(),
  };
}

/** A tap interface whose frames the kernel moves, unless something wants them to pass here. */
function vhostNet(
  { vhostTokens: tokens, ...tap }: TapData,
  watch: FrameWatchData,
  { ram, memory, wake, note }: VhostSide,
): NetBackEnd {
  const bare = new TapBackend(tap, ram);
  const taps = bare.arrivals;
  const backend = new WatchBackend(bare, memory, watch, wake);
  const state = new Uint32Array(watch.state);
  const vhost = new VhostNet({
    ...{ tokens, taps, hasHeader: tap.hasHeader, ram, regions: memory.regions, note },
    isWatched: () => state[WATCH_ON] !== 0,
  });
  return {
    backend,
    kernelQueues: vhost,
    events: [...taps.map((bell, pair) => ({ bell, queue: 2 * pair })), ...vhost.events],
    close() {
      vhost.close();
      backend.close();
    },
  };
}

/** What `openNetwork` got. */
interface VhostSide {
  readonly ram: GuestRam;
  readonly memory: GuestMemory;
  readonly wake: () => void;
  readonly note: (message: string) => void;
}
