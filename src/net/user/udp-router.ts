/** Where a guest's datagrams lead: the host's network, the name server, TFTP, or nowhere. */
import { askProgram } from "./decision.ts";
import { hostAddressOf, placeOf } from "./destination.ts";
import { addressesIn, DNS_PORT, questionOf } from "./dns-message.ts";
import { type RouterWorld, report } from "./router-world.ts";
import { TFTP_PORT, TftpTransfer } from "./tftp.ts";
import type { UdpSession } from "./udp-sessions.ts";

export class UdpRouter {
  readonly #world: RouterWorld;
  readonly #refused: (session: UdpSession) => void;

  constructor(world: RouterWorld, refused: (session: UdpSession) => void) {
    this.#world = world;
    this.#refused = refused;
  }

  /** The guest began a session. */
  route(session: UdpSession): void {
    const { key } = session;
    const { plan, options } = this.#world;
    const place = placeOf(key.outer, plan);
    const { tftp, restrict, onConnect } = options;
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
    const { options, names } = this.#world;
    const decision = await askProgram(options, names, "udp", key);
    if (decision === "allow") this.#openTo(session, target, key.outerPort);
    else if (typeof decision === "object" && "redirect" in decision) {
      this.#openTo(session, decision.redirect.host, decision.redirect.port);
    } else this.#refuse(session, "onConnect");
  }

  #openTo(session: UdpSession, address: string, port: number): void {
    report(this.#world, "udp", session.key, "open");
    this.#attach(session, address, port);
    session.open((data) => session.toHost(Buffer.from(data)));
  }

  #attach(session: UdpSession, address: string, port: number): void {
    session.attach(this.#world.host.datagrams(address.includes(":") ? 6 : 4), address, port);
  }

  #openDns(session: UdpSession): void {
    session.onAnswer = (data) => this.#world.names.learn(data);
    session.open((data) => void this.#resolve(session, Buffer.from(data)));
  }

  async #resolve(session: UdpSession, query: Buffer): Promise<void> {
    const { names } = this.#world;
    const own = await names.answer(query);
    this.#reportName(query, own);
    if (own !== "forward") {
      if (own !== undefined) session.output(own);
      return;
    }
    const resolver = session.hasSocket ? undefined : names.nextResolver();
    if (resolver !== undefined) this.#attach(session, resolver.address, resolver.port);
    if (session.hasSocket) session.toHost(query);
    else {
      const failure = names.failure(query);
      if (failure !== undefined) session.output(failure);
    }
  }

  #reportName(query: Uint8Array, answer: Uint8Array | "forward" | undefined): void {
    const { observer } = this.#world.events;
    if (observer === undefined) return;
    const { name, type } = questionOf(query) ?? { name: "no question", type: `(${query.length} bytes)` };
    const target = `${name} ${type}`;
    if (answer === "forward") observer({ protocol: "dns", target, verdict: "forwarded" });
    else if (answer === undefined) observer({ protocol: "dns", target, verdict: "denied" });
    else {
      const detail = addressesIn(answer).addresses.join(" ") || "none";
      observer({ protocol: "dns", target, verdict: "answered", detail });
    }
  }

  #openTftp(session: UdpSession, folder: string): void {
    report(this.#world, "udp", session.key, "answered", "tftp");
    const transfer = new TftpTransfer(folder, (data) => session.output(data));
    session.onClosed = () => void transfer.close();
    session.open((data) => void transfer.input(Buffer.from(data)));
  }

  #refuse(session: UdpSession, detail?: string): void {
    report(this.#world, "udp", session.key, "denied", detail);
    this.#refused(session);
    session.close();
  }
}
