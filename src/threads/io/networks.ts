/** Opens what network cards are connected to, on the io thread. */
import type { NetBackEnd } from "../../machine/back-ends.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { NetBackend } from "../../net/backend.ts";
import { DumpBackend } from "../../net/dump.ts";
import { RingBackend } from "../../net/ring-backend.ts";
import { TapBackend } from "../../net/tap.ts";
import { WatchBackend } from "../../net/watch-backend.ts";
import type { GuestRam } from "../../sys/guest-ram.ts";
import type { NetworkData } from "../shared.ts";

export type OpenNetwork = typeof openNetwork;

/** @param wake wakes the program's thread for its network, and for those who watch */
export function openNetwork(
  data: NetworkData,
  ram: GuestRam,
  memory: GuestMemory,
  wake: () => void,
): NetBackEnd {
  const bare: NetBackend =
    data.kind === "tap" ? new TapBackend(data.tap, ram) : new RingBackend(data.rings, memory, wake);
  const dumped = data.dump === undefined ? bare : new DumpBackend(bare, memory, data.dump);
  const backend = new WatchBackend(dumped, memory, data.watch, wake);
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
