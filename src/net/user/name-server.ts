/**
 * What the guest's name server knows: the program's answers, the host's hosts file, and names of this network. The rest
 * is forwarded to the host's resolvers as it is, so that every type of record works.
 */
import { formatAddress } from "./addresses.ts";
import {
  addressesIn,
  answerTo,
  DNS_PORT,
  NO_ERROR,
  NO_SUCH_NAME,
  questionOf,
  SERVER_FAILURE,
} from "./dns-message.ts";
import type { Host } from "./host.ts";
import type { UserNetworkOptions } from "./options.ts";

const MAX_NAMES = 4096;
const HOSTS_AGE_MS = 5000;

export interface Resolver {
  readonly address: string;
  readonly port: number;
}

export class NameServer {
  readonly #host: Host;
  readonly #options: UserNetworkOptions;
  readonly #now: () => number;
  readonly #own: ReadonlyMap<string, readonly string[]>;
  /** By address: the name by which a guest found it. The oldest is forgotten first. */
  readonly #names = new Map<string, string>();
  #hosts = new Map<string, string[]>();
  #hostsReadAt = Number.NEGATIVE_INFINITY;
  #turn = 0;

  constructor(host: Host, options: UserNetworkOptions, gateway: Uint8Array, now: () => number) {
    this.#host = host;
    this.#options = options;
    this.#now = now;
    const gatewayText = [formatAddress(gateway)];
    this.#own = new Map([
      ["host.vmexit.internal", gatewayText],
      ["gateway.vmexit.internal", gatewayText],
    ]);
  }

  /** An answer of ours, or "forward": the query is for the host's resolvers. Undefined: nobody answers it. */
  async answer(query: Uint8Array): Promise<Uint8Array | "forward" | undefined> {
    const question = questionOf(query);
    const { onDns } = this.#options;
    // A program that answers names must not be passed by with a message that it cannot be asked about.
    if (question === undefined) return onDns === undefined ? "forward" : undefined;
    if (onDns !== undefined) {
      try {
        const decision = await onDns({ name: question.name, type: question.type });
        if (decision === null) return answerTo(query, question, [], NO_SUCH_NAME);
        if (decision !== "forward") return this.#answered(answerTo(query, question, decision, NO_ERROR));
      } catch (error) {
        this.#options.onNote?.(`onDns threw for "${question.name}": ${String(error)}`);
        return answerTo(query, question, [], SERVER_FAILURE);
      }
    }
    const known = this.#own.get(question.name) ?? this.#hostsEntry(question.name);
    const isAddress = question.type === "A" || question.type === "AAAA";
    if (known === undefined || !isAddress) return "forward";
    return this.#answered(answerTo(query, question, known, NO_ERROR));
  }

  failure(query: Uint8Array): Uint8Array | undefined {
    const question = questionOf(query);
    return question === undefined ? undefined : answerTo(query, question, [], SERVER_FAILURE);
  }

  /** Remembers the addresses of a response that passes to the guest. */
  learn(response: Uint8Array): void {
    const { name, addresses } = addressesIn(response);
    if (name === "") return;
    for (const address of addresses) {
      this.#names.delete(address);
      if (this.#names.size >= MAX_NAMES) this.#names.delete(this.#names.keys().next().value ?? "");
      this.#names.set(address, name);
    }
  }

  /** The name by which the guest found an address. */
  nameOf(address: string): string | undefined {
    return this.#names.get(address);
  }

  /** The host's resolvers have turns: a guest that asks again asks another. */
  nextResolver(): Resolver | undefined {
    const servers = this.#options.nameservers ?? this.#host.nameservers();
    if (servers.length === 0) return undefined;
    this.#turn = (this.#turn + 1) % servers.length;
    return parseResolver(servers[this.#turn]);
  }

  #answered(message: Uint8Array): Uint8Array {
    this.learn(message);
    return message;
  }

  #hostsEntry(name: string): readonly string[] | undefined {
    if (this.#now() - this.#hostsReadAt > HOSTS_AGE_MS) {
      this.#hostsReadAt = this.#now();
      this.#hosts = parseHosts(this.#host.hostsFile());
    }
    return this.#hosts.get(name);
  }
}

/** Names that lead to the host's own loopback are left out: for the guest they would be its own. */
function parseHosts(text: string): Map<string, string[]> {
  const hosts = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [address, ...names] = line.replace(/#.*/, "").trim().split(/\s+/);
    if (address === "" || address.startsWith("127.") || address === "::1" || /^(fe|ff)/i.test(address))
      continue;
    for (const name of names) {
      const key = name.toLowerCase();
      hosts.set(key, [...(hosts.get(key) ?? []), address]);
    }
  }
  return hosts;
}

/** `10.0.0.1`, `10.0.0.1:5353`, `[::1]:5353`, `::1`: the forms of dns.getServers(). */
function parseResolver(text: string): Resolver {
  const bracketed = /^\[(.+)\](?::(\d+))?$/.exec(text) ?? /^([^:]+):(\d+)$/.exec(text);
  if (bracketed === null) return { address: text, port: DNS_PORT };
  return { address: bracketed[1], port: Number(bracketed[2] ?? DNS_PORT) };
}
