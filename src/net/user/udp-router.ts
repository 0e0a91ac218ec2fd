/** Where a guest's datagrams lead: the host's network, the name server, TFTP, or nowhere. */
import { askProgram } from "./decision.ts";
import { hostAddressOf, placeOf } from "./destination.ts";
import { DNS_PORT } from "./dns-message.ts";
import type { Host } from "./host.ts";
import type { NameServer } from "./name-server.ts";
import type { NetworkPlan, UserNetworkOptions } from "./options.ts";
import { TFTP_PORT, TftpTransfer } from "./tftp.ts";
import type { UdpSession } from "./udp-sessions.ts";

export class UdpRouter {
  readonly #plan: NetworkPlan;
  readonly #options: UserNetworkOptions;
  readonly #host: Host;
  readonly #names: NameServer;
  readonly #refused: (session: UdpSession) => void;

  constructor(
    plan: NetworkPlan,
    options: UserNetworkOptions,
    host: Host,
    names: NameServer,
    refused: (session: UdpSession) => void,
  ) {
    this.#plan = plan;
    this.#options = options;
    this.#host = host;
    this.#names = names;
    this.#refused = refused;
  }

  /** The guest began a session. */
  route(session: UdpSession): void {
    const { key } = session;
    const place = placeOf(key.outer, this.#plan);
    const { tftp, restrict, onConnect } = this.#options;
    if (place === "gateway" && key.outerPort === TFTP_PORT && tftp !== undefined) {
      this.#openTftp(session, tftp);
    } else if (restrict === true || place === "martian" || place === "local") {
      this.#refuse(session);
    } else if (place === "name-server") {
      if (key.outerPort === DNS_PORT) this.#openDns(session);
      else this.#refuse(session);
    } else {
      const target = hostAddressOf(place, key.outer);
      if (onConnect === undefined) this.#openTo(session, target, key.outerPort);
      else void this.#decide(session, target);
    }
  }

  async #decide(session: UdpSession, target: string): Promise<void> {
    const { key } = session;
    const decision = await askProgram(this.#options, this.#names, "udp", key);
    if (decision === "allow") this.#openTo(session, target, key.outerPort);
    else if (typeof decision === "object" && "redirect" in decision) {
      this.#openTo(session, decision.redirect.host, decision.redirect.port);
    } else this.#refuse(session);
  }

  #openTo(session: UdpSession, address: string, port: number): void {
    this.#attach(session, address, port);
    session.open((data) => session.toHost(Buffer.from(data)));
  }

  #attach(session: UdpSession, address: string, port: number): void {
    session.attach(this.#host.datagrams(address.includes(":") ? 6 : 4), address, port);
  }

  #openDns(session: UdpSession): void {
    session.onAnswer = (data) => this.#names.learn(data);
    session.open((data) => void this.#resolve(session, Buffer.from(data)));
  }

  async #resolve(session: UdpSession, query: Buffer): Promise<void> {
    const own = await this.#names.answer(query);
    if (own !== undefined) {
      session.output(own);
      return;
    }
    const resolver = session.hasSocket ? undefined : this.#names.nextResolver();
    if (resolver !== undefined) this.#attach(session, resolver.address, resolver.port);
    if (session.hasSocket) session.toHost(query);
    else {
      const failure = this.#names.failure(query);
      if (failure !== undefined) session.output(failure);
    }
  }

  #openTftp(session: UdpSession, folder: string): void {
    const transfer = new TftpTransfer(folder, (data) => session.output(data));
    session.onClosed = () => void transfer.close();
    session.open((data) => void transfer.input(Buffer.from(data)));
  }

  #refuse(session: UdpSession): void {
    this.#refused(session);
    session.close();
  }
}
