/**
 * An NBD server of one disk.
 *
 * Clients are not trusted: there are limits for the time of a handshake, for the memory
 * of a client's requests (session.ts), and for the number of clients.
 */
import type { AddressInfo, Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { DiskFacts } from "../disk/disk-facts.ts";
import { type DiskSource, sourceFacts } from "../disk/disk-source.ts";
import type { NbdPlace } from "./address.ts";
import { ByteChannel } from "./byte-channel.ts";
import { NbdError } from "./nbd-error.ts";
import { makeOffer } from "./offer.ts";
import { MAX_STRING } from "./protocol.ts";
import { serveRequests } from "./session.ts";
import { checkServerTls, type NbdServerTls, secureServer } from "./tls.ts";

export type ServeNbdOptions = (
  | {
      /** The path of a unix socket, which must not exist yet. */
      readonly path: string;
    }
  | {
      /** Default "localhost". */
      readonly host?: string;
      /** 0: any free port. Default 0. */
      readonly port?: number;
    }
) & {
  /** Default "". */
  readonly exportName?: string;
  readonly description?: string;
  /** Default: as the disk reports. */
  readonly readOnly?: boolean;
  /** Clients must use TLS. */
  readonly tls?: NbdServerTls;
  /** Clients at the same time; more are refused. Default 16. */
  readonly maxConnections?: number;
  /** Time limit for a client's handshake. Default 10 s. */
  readonly handshakeTimeoutMs?: number;
  /** Called with the reason when a client's connection was closed, unless the client disconnected itself. */
  readonly onClientError?: (error: Error) => void;
  /** Called when the last client has disconnected, if it had opened the export. */
  readonly onIdle?: () => void;
};

const MAX_CONNECTIONS = 16;
const HANDSHAKE_MS = 10_000;
const KEEP_ALIVE_MS = 15_000;

export class NbdServer {
  readonly #server: Server;
  readonly #disk: DiskSource;
  readonly #facts: DiskFacts;
  readonly #options: ServeNbdOptions;
  readonly #clients = new Map<ByteChannel, Promise<void>>();
  #place: NbdPlace = { path: "" };
  #closing = false;

  private constructor(server: Server, disk: DiskSource, facts: DiskFacts, options: ServeNbdOptions) {
    this.#server = server;
    this.#disk = disk;
    this.#facts = facts;
    this.#options = options;
    server.maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
    server.on("connection", (socket) => this.#admit(socket));
  }

  static async listen(disk: DiskSource, options: ServeNbdOptions): Promise<NbdServer> {
    const { exportName = "", description = "", tls } = options;
    for (const text of [exportName, description]) {
      if (Buffer.byteLength(text) > MAX_STRING || text.includes("\0")) {
        throw new RangeError(`an export's name has at most ${MAX_STRING} bytes, none of them zero`);
      }
    }
    if (tls !== undefined) await checkServerTls(tls);
    const facts = sourceFacts(disk);
    const { createServer } = await import("node:net");
    const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS });
    const readOnly = facts.readOnly || (options.readOnly ?? false);
    const nbd = new NbdServer(server, disk, { ...facts, readOnly }, options);
    await nbd.#listen();
    return nbd;
  }

  /** Where it listens. */
  get place(): NbdPlace {
    return this.#place;
  }

  /** The URI of the export. */
  get uri(): string {
    const scheme = this.#options.tls === undefined ? "nbd" : "nbds";
    const name = encodeURIComponent(this.#options.exportName ?? "");
    const place = this.#place;
    if ("path" in place)
      return `${scheme}+unix:///${name}?socket=${encodeURI(place.path).replace(/[&+#]/g, encodeURIComponent)}`;
    const host = place.host.includes(":") ? `[${place.host}]` : place.host;
    return `${scheme}://${host}:${place.port}/${name}`;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Disconnects every client. Resolves when none of their requests is in flight. The disk stays open. */
  async close(): Promise<void> {
    this.#closing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const channel of this.#clients.keys()) channel.destroy(new Error("the server was closed"));
    await Promise.all(this.#clients.values());
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #listen(): Promise<void> {
    const options = this.#options;
    const where =
      "path" in options
        ? { path: options.path }
        : { host: options.host ?? "localhost", port: options.port ?? 0 };
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(where, () => {
        this.#server.off("error", reject);
        // A connection could not be accepted, for example because too many files are open.
        this.#server.on("error", (error) => this.#options.onClientError?.(error));
        this.#place = placeOf(this.#server.address());
        resolve();
      });
    });
  }

  #admit(socket: Socket): void {
    const { remoteAddress, remotePort } = socket;
    const where =
      remoteAddress === undefined ? "nbd client" : `nbd client ${remoteAddress} port ${remotePort}`;
    const channel = new ByteChannel(() => socket);
    const client = { where, hasExport: false };
    const session = this.#serve(channel, client)
      .catch((error: unknown) => {
        if (this.#closing) return;
        const why = error instanceof Error ? error.message : String(error);
        this.#options.onClientError?.(error instanceof NbdError ? error : new NbdError(where, why));
      })
      .finally(() => {
        this.#clients.delete(channel);
        if (this.#clients.size === 0 && client.hasExport) this.#options.onIdle?.();
      });
    this.#clients.set(channel, session);
  }

  async #serve(channel: ByteChannel, client: { readonly where: string; hasExport: boolean }): Promise<void> {
    const { where } = client;
    const { exportName = "", description = "", tls, handshakeTimeoutMs = HANDSHAKE_MS } = this.#options;
    const late = setTimeout(() => {
      channel.destroy(
        new NbdError(where, `it did not open the export within ${handshakeTimeoutMs / 1000} s`),
      );
    }, handshakeTimeoutMs);
    const secure = tls && ((plain: Duplex) => secureServer(plain, tls));
    try {
      const many = this.#server.maxConnections > 1;
      const offer = { facts: this.#facts, exportName, description, secure, many };
      const terms = await makeOffer(channel, where, offer);
      clearTimeout(late);
      client.hasExport = terms !== undefined;
      if (terms !== undefined) await serveRequests(channel, where, this.#disk, this.#facts, terms);
      channel.end();
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      channel.destroy(failure);
      throw channel.failure ?? failure;
    } finally {
      clearTimeout(late);
    }
  }
}

function placeOf(address: AddressInfo | string | null): NbdPlace {
  if (typeof address === "string") return { path: address };
  return { host: address?.address ?? "", port: address?.port ?? 0 };
}
