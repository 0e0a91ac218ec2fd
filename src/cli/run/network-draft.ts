/** Network cards as typed, before all options are read. */
import { OptionError } from "../../base/errors.ts";
import type { NetworkOptions } from "../../config/devices/virtio-net.ts";
import type { NetworkSwitch } from "../../net/network-switch.ts";

/** A network: what a card is connected to. */
export interface NetdevDraft {
  readonly typed: string;
  readonly id?: string | undefined;
  readonly options: NetworkOptions;
}

interface CardDraft {
  readonly typed: string;
  /** The id of a network, or one of its own. */
  readonly netdev: string | NetdevDraft;
  readonly options: NetworkOptions;
}

export interface NetworkDraft {
  /** Networks that cards name. */
  netdevs: NetdevDraft[];
  cards: CardDraft[];
  /** Those of -net, which are connected to each other. */
  nets: NetdevDraft[];
  nics: NetdevDraft[];
  /** Files for the frames of networks. */
  dumps: { readonly typed: string; readonly netdev: string; readonly options: NetworkOptions }[];
  /** An option said something of networks: the machine has no card of its own accord then. */
  saidNetwork: boolean;
  /** Those of -netdev hubport, by number. */
  hubs: Map<number, Promise<NetworkSwitch>>;
}

/**
 * The cards of the machine, in the order of the options.
 * @param model of cards that were not named
 * @param note is called with what has no effect
 * @throws {OptionError} if a card is connected to nothing
 */
export function finishCards(
  draft: NetworkDraft,
  model: "virtio" | "e1000",
  note: (sentence: string) => void,
): NetworkOptions[] {
  const { netdevs, cards, nets, nics } = draft;
  const unused = new Map(netdevs.map((netdev) => [netdev.id, netdev]));
  /** The id of each one's network. */
  const ids: (string | undefined)[] = [];
  const all = cards.map(({ typed, netdev, options }): NetworkOptions => {
    ids.push(typeof netdev === "string" ? netdev : netdev.id);
    if (typeof netdev !== "string") return { ...netdev.options, ...options };
    const found = unused.get(netdev);
    if (found === undefined) {
      const isUsed = netdevs.some(({ id }) => id === netdev);
      throw new OptionError(
        `${typed}: ${isUsed ? `the network "${netdev}" has a card already` : `there is no -netdev with id=${netdev}`}`,
      );
    }
    unused.delete(netdev);
    return { ...found.options, ...options };
  });
  for (const { typed, id } of unused.values()) {
    note(`${typed}: no card is connected to it: -device virtio-net,netdev=${id}`);
  }
  if (nets.length > 1 || nics.length > 1) {
    throw new OptionError(
      `${(nets[1] ?? nics[1]).typed}: only one -net nic and one other -net can be connected; use -nic for each card`,
    );
  }
  const [net] = nets;
  const [nic] = nics;
  if (net === undefined && nic !== undefined) {
    throw new OptionError(`${nic.typed}: it is connected to nothing; add -net tap,ifname=NAME,script=no`);
  }
  if (net !== undefined && nic === undefined) {
    throw new OptionError(`${net.typed}: no card is connected to it; add -net nic`);
  }
  if (net !== undefined) {
    ids.push(net.id);
    all.push({ ...net.options, ...nic.options });
  }
  for (const { typed, netdev, options } of draft.dumps) {
    const card = ids.indexOf(netdev);
    if (card < 0) note(`${typed}: no card has the network ${netdev}, so nothing is written`);
    else all[card] = { ...all[card], ...options };
  }
  // What createVm assumes by itself is left out; a machine that continues has the cards that it had.
  return all.map(({ model: own = model, ...card }) => (own === "e1000" ? { model: own, ...card } : card));
}
