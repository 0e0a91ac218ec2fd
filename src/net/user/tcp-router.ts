/**
 * Where a guest's TCP connections lead: to the host's network, to the program, or nowhere. A connection is answered when
 * it is open at the other end, so that the guest sees a refused or unreachable host as one.
 */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { parseIpv4 } from "./addresses.ts";
import { areEqual } from "./bytes.ts";
import { serverNameIn } from "./client-hello.ts";
import { CommandStream } from "./command-stream.ts";
import { askProgram } from "./decision.ts";
import { hostAddressOf, placeOf } from "./destination.ts";
import { DNS_PORT } from "./dns-message.ts";
import type { GuestForward } from "./forwards.ts";
import { HttpAnswers } from "./http-answers.ts";
import { linkedPair } from "./linked-pair.ts";
import { metadataAnswers } from "./metadata.ts";
import { type RouterWorld, report } from "./router-world.ts";
import type { TcpConnection } from "./tcp/tcp-connection.ts";

const HTTP_PORT = 80;
const HTTPS_PORT = 443;
/** A client that does not say hello is judged without a server name. */
const HELLO_PATIENCE_MS = 3000;
const MAX_HELLO_BYTES = 20_000;

interface GuestServer {
  readonly address: Uint8Array;
  readonly forward: GuestForward;
}

export class TcpRouter {
  readonly #world: RouterWorld;
  readonly #http: HttpAnswers | undefined;
  readonly #metadata: HttpAnswers | undefined;
  readonly #servers: GuestServer[] = [];
  /** Streams that still write what an ended connection left. */
  readonly #streams = new Set<Duplex>();

  constructor(world: RouterWorld) {
    this.#world = world;
    const { plan, options } = world;
    const { onHttp, metadata } = options;
    const note = (message: string) => options.onNote?.(message);
    if (onHttp !== undefined) this.#http = new HttpAnswers((request) => onHttp(request), note);
    if (metadata !== undefined) this.#metadata = new HttpAnswers(metadataAnswers(metadata), note);
    for (const forward of plan.guestForwards) {
      const address = parseIpv4(forward.server);
      if (address !== undefined) this.#servers.push({ address, forward });
    }
  }

  /** Addresses of the guest's network at which a forward answers. */
  hasServer(bytes: Uint8Array, at: number): boolean {
    return this.#servers.some(({ address }) => areEqual(address, 0, bytes, at, 4));
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** The guest asks for a connection. */
  route(connection: TcpConnection): void {
    const { plan, options, names } = this.#world;
    const { key } = connection;
    const address = key.outer;
    const server = this.#servers.find(
      (each) =>
        each.forward.port === key.outerPort &&
        address.length === 4 &&
        areEqual(each.address, 0, address, 0, 4),
    );
    if (server !== undefined) {
      this.#forward(connection, server.forward);
      return;
    }
    const place = placeOf(address, plan);
    if (place === "metadata" && key.outerPort === HTTP_PORT && this.#metadata !== undefined) {
      this.#answerHttp(connection, this.#metadata);
      return;
    }
    if (options.restrict === true || place === "martian" || place === "local") {
      this.#deny(connection);
      return;
    }
    if (place === "name-server") {
      // Queries over TCP are not read: a program that answers names must not be passed by.
      const resolver =
        key.outerPort === DNS_PORT && options.onDns === undefined ? names.nextResolver() : undefined;
      if (resolver === undefined) this.#deny(connection);
      else this.#connectTo(connection, resolver.address, resolver.port);
      return;
    }
    const target = hostAddressOf(place, address);
    const { onConnect, sniPorts = [HTTPS_PORT] } = options;
    if (onConnect === undefined) this.#allow(connection, target);
    else if (sniPorts.includes(key.outerPort)) this.#awaitHello(connection, target);
    else void this.#decide(connection, target, undefined);
  }

  close(): void {
    for (const stream of this.#streams) stream.destroy();
  }

  /** Notes a stream until it closes. */
  track(stream: Duplex): void {
    this.#streams.add(stream);
    stream.once("close", () => this.#streams.delete(stream));
  }

  async #decide(connection: TcpConnection, target: string, sni: string | undefined): Promise<void> {
    const { options, names } = this.#world;
    const decision = await askProgram(options, names, "tcp", connection.key, sni);
    if (connection.phase === "closed") {
      if (decision instanceof Duplex) decision.destroy();
      return;
    }
    if (decision === "allow") this.#allow(connection, target);
    else if (decision instanceof Duplex) this.#join(connection, decision);
    else if (typeof decision === "object" && "redirect" in decision) {
      this.#connectTo(connection, decision.redirect.host, decision.redirect.port);
    } else this.#deny(connection, "onConnect");
  }

  #deny(connection: TcpConnection, detail?: string): void {
    report(this.#world, "tcp", connection.key, "denied", detail);
    connection.reset();
  }

  #allow(connection: TcpConnection, target: string): void {
    const { httpPorts = [HTTP_PORT] } = this.#world.options;
    if (this.#http !== undefined && httpPorts.includes(connection.key.outerPort)) {
      this.#answerHttp(connection, this.#http);
    } else this.#connectTo(connection, target, connection.key.outerPort);
  }

  /** Accepts a connection to read the name in its first bytes. */
  #awaitHello(connection: TcpConnection, target: string): void {
    const decide = (sni: string) => {
      clearTimeout(timer);
      connection.onEarlyData = undefined;
      void this.#decide(connection, target, sni);
    };
    const timer = setTimeout(decide, HELLO_PATIENCE_MS, "");
    timer.unref();
    connection.onEarlyData = (data) => {
      const name = serverNameIn(data) ?? (data.length > MAX_HELLO_BYTES ? "" : undefined);
      if (name !== undefined) decide(name);
    };
    connection.establish();
  }

  #connectTo(connection: TcpConnection, address: string, port: number): void {
    this.#await(connection, this.#world.host.connect(address, port));
  }

  /** Opens the connection when the socket is connected. */
  #await(connection: TcpConnection, socket: Socket): void {
    this.track(socket);
    const refused = (error: NodeJS.ErrnoException) => {
      report(this.#world, "tcp", connection.key, "refused", error.code);
      connection.reset();
    };
    // A refusal of the guest's own while the host connects.
    connection.onClosed = () => socket.destroy();
    socket.once("error", refused);
    socket.once("connect", () => {
      socket.off("error", refused);
      connection.onClosed = undefined;
      report(this.#world, "tcp", connection.key, "open");
      this.#open(connection, socket);
    });
  }

  #join(connection: TcpConnection, stream: Duplex): void {
    report(this.#world, "tcp", connection.key, "answered");
    this.track(stream);
    this.#open(connection, stream);
  }

  #open(connection: TcpConnection, stream: Duplex): void {
    if (connection.phase === "connecting") connection.establish(stream);
    else connection.attach(stream);
  }

  #answerHttp(connection: TcpConnection, answers: HttpAnswers): void {
    const [near, far] = linkedPair();
    this.#join(connection, near);
    void answers.serve(far);
  }

  #forward(connection: TcpConnection, { to, server, port }: GuestForward): void {
    if ("host" in to) this.#connectTo(connection, to.host, to.port);
    else if ("path" in to) this.#await(connection, this.#world.host.connectPath(to.path));
    else if ("open" in to) this.#join(connection, to.open());
    else {
      const stream = new CommandStream(to.command);
      stream.once("error", (error) => {
        this.#world.options.onNote?.(
          `guestfwd ${server}:${port}: cannot run "${to.command}": ${error.message}`,
        );
      });
      this.#join(connection, stream);
    }
  }
}
