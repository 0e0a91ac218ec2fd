/** The frames and connections of a trace, in numbers. Memory is bounded, whatever the file says. */
import type { ConnectionRecord, FrameRecord } from "./format.ts";

/** What a card carried. */
export interface CardCount {
  readonly card: string;
  readonly framesOut: number;
  readonly bytesOut: number;
  readonly framesIn: number;
  readonly bytesIn: number;
}

/** A decision of the user network, and how often it was made. */
export interface ConnectionCount {
  readonly protocol: string;
  readonly target: string;
  readonly verdict: string;
  readonly count: number;
}

const MAX_CARDS = 64;
const MAX_CONNECTIONS = 4096;
const OTHERS = "(others)";

type Growing<T> = { -readonly [K in keyof T]: T[K] };

export class NetworkCounting {
  readonly #cards = new Map<string, Growing<CardCount>>();
  readonly #connections = new Map<string, Growing<ConnectionCount>>();

  add(record: FrameRecord | ConnectionRecord): void {
    if (record.kind === "connection") {
      this.#connection(record).count++;
      return;
    }
    const card = this.#card(record.card);
    if (record.direction === "out") {
      card.framesOut++;
      card.bytesOut += record.length;
    } else {
      card.framesIn++;
      card.bytesIn += record.length;
    }
  }

  /** @param top connections, the most frequent first. Undefined if there was nothing */
  result(top: number): { readonly cards: CardCount[]; readonly connections: ConnectionCount[] } | undefined {
    if (this.#cards.size === 0 && this.#connections.size === 0) return undefined;
    const connections = [...this.#connections.values()].sort((a, b) => b.count - a.count);
    return { cards: [...this.#cards.values()], connections: connections.slice(0, top) };
  }

  #card(name: string): Growing<CardCount> {
    const found = this.#cards.get(name);
    if (found !== undefined) return found;
    if (this.#cards.size >= MAX_CARDS && name !== OTHERS) return this.#card(OTHERS);
    const card = { card: name, framesOut: 0, bytesOut: 0, framesIn: 0, bytesIn: 0 };
    this.#cards.set(name, card);
    return card;
  }

  #connection({ protocol, target, verdict }: ConnectionRecord | ConnectionCount): Growing<ConnectionCount> {
    const key = `${protocol} ${target} ${verdict}`;
    const found = this.#connections.get(key);
    if (found !== undefined) return found;
    if (this.#connections.size >= MAX_CONNECTIONS && target !== OTHERS) {
      return this.#connection({ protocol: "", target: OTHERS, verdict: "", count: 0 });
    }
    const connection = { protocol, target, verdict, count: 0 };
    this.#connections.set(key, connection);
    return connection;
  }
}
