/** What the host kernel does as the guest of a user network: the actions of net-workload.py. */
import { fileURLToPath } from "node:url";
import type { UserNetworkOptions } from "../../src/net/user/options.ts";
import { UserNetwork, type UserNetworkCounters } from "../../src/net/user/user-network.ts";
import { runBehind, type Weather } from "./tap-peer.ts";

const WORKLOAD = fileURLToPath(new URL("net-workload.py", import.meta.url));

export interface GuestRun {
  /** The lines that the actions printed. */
  readonly output: string[];
  /** At their end. */
  readonly counters: UserNetworkCounters;
}

export interface GuestSetting {
  readonly weather?: Weather | undefined;
  /** Rules of tc's netem. */
  readonly netem?: string | undefined;
  /** Called for each line that the guest prints. */
  printed?(line: string, network: UserNetwork): void;
  /** What runs in the guest instead of actions. */
  readonly program?: readonly string[];
}

/** Runs actions in the guest. @throws {Error} with its output, if one fails */
export async function guest(
  actions: readonly string[],
  options: UserNetworkOptions = {},
  { weather, netem, printed, program = ["python3", WORKLOAD, ...actions] }: GuestSetting = {},
): Promise<GuestRun> {
  let opened: UserNetwork | undefined;
  const result = await runBehind(
    async (link) => {
      opened = new UserNetwork(options, link);
      await opened.open();
      return opened;
    },
    program,
    { weather, netem, printed: (line) => opened !== undefined && printed?.(line, opened) },
  );
  if (opened === undefined) throw new Error("the network was not made");
  const { counters } = opened;
  await opened.close();
  if (result.status !== 0) throw new Error(result.output);
  return { output: result.output.trimEnd().split("\n"), counters };
}
