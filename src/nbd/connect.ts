/** Connects to an NBD server and opens one of its exports. */
import type { Duplex } from "node:stream";
import { isNbdName, type NbdPlace, nbdPlaceText, parseNbdName } from "./address.ts";
import { ByteChannel } from "./byte-channel.ts";
import { NbdConnection } from "./connection.ts";
import { NbdLink } from "./link.ts";
import { NbdDisk } from "./nbd-disk.ts";
import { NbdError } from "./nbd-error.ts";
import { negotiate } from "./negotiate.ts";
import { DEFAULT_PORT } from "./protocol.ts";
import { clientCertificates, type NbdClientTls, secureClient } from "./tls.ts";

/** Where an export is, without a URI. */
export type NbdTarget = ({ readonly host: string; readonly port?: number } | { readonly path: string }) & {
  /** Default "", which is the server's default export. */
  readonly export?: string;
};

export interface NbdConnectOptions {
  /** Options of TLS. Default: TLS only for nbds://, with the system's certificates. */
  readonly tls?: NbdClientTls;
  /** Time limit for connecting and the handshake. Default 30 s. */
  readonly timeoutMs?: number;
  /**
   * How long requests wait for a lost connection to be made again; then they fail,
   * and later ones wait again. Default 0: a lost connection is not made again.
   */
  readonly reconnectDelayMs?: number;
}

const TIMEOUT_MS = 30_000;
/** A peer that vanished silently is detected after some probes of TCP. */
const keepAliveInitialDelay = 15_000;

/**
 * Opens an export.
 *
 * @param target nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH, nbds:// with TLS; or the parts of such a name
 * @throws {NbdError} if there is no such disk; {RangeError} for an invalid name
 */
export async function connectNbd(
  target: string | NbdTarget,
  options: NbdConnectOptions = {},
): Promise<NbdDisk> {
  const to = destination(target, options);
  const { timeoutMs = TIMEOUT_MS, reconnectDelayMs: patienceMs = 0 } = options;
  const connection = await openExport(to, timeoutMs);
  const connect = () => openExport(to, Math.min(timeoutMs, patienceMs));
  return new NbdDisk(new NbdLink(connection, { where: nbdPlaceText(to.place), patienceMs, connect }));
}

async function openExport(
  { place, exportName, tls }: Destination,
  timeoutMs: number,
): Promise<NbdConnection> {
  const where = nbdPlaceText(place);
  const { connect } = await import("node:net");
  const to = { ...place, ...("host" in place && { noDelay: true, keepAlive: true, keepAliveInitialDelay }) };
  const channel = new ByteChannel((onread) => connect({ ...to, ...(tls === undefined && { onread }) }));
  const late = setTimeout(() => {
    channel.destroy(new NbdError(where, `no disk within ${timeoutMs / 1000} s`));
  }, timeoutMs);
  try {
    const host = "host" in place ? place.host : "localhost";
    const secure = tls && ((plain: Duplex) => secureClient(plain, host, tls));
    const facts = await negotiate(channel, { where, exportName, secure });
    return new NbdConnection(channel, facts, where);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const failure = channel.failure instanceof NbdError ? channel.failure : error;
    channel.destroy(new Error("no disk there"));
    throw failure instanceof NbdError ? failure : new NbdError(where, why);
  } finally {
    clearTimeout(late);
  }
}

interface Destination {
  readonly place: NbdPlace;
  readonly exportName: string;
  readonly tls: NbdClientTls | undefined;
}

function destination(target: string | NbdTarget, { tls }: NbdConnectOptions): Destination {
  if (typeof target !== "string") {
    const place =
      "path" in target ? { path: target.path } : { host: target.host, port: target.port ?? DEFAULT_PORT };
    return { place, exportName: target.export ?? "", tls };
  }
  if (!isNbdName(target)) throw new RangeError(`${target}: not a name such as nbd://HOST:PORT/EXPORT`);
  const address = parseNbdName(target);
  const place = "path" in address ? { path: address.path } : { host: address.host, port: address.port };
  if (!address.tls && tls === undefined) return { place, exportName: address.exportName, tls: undefined };
  const { certificates, tlsHostname, verifyPeer } = address;
  const named: NbdClientTls = {
    ...(certificates !== undefined && clientCertificates(certificates)),
    ...(tlsHostname !== undefined && { servername: tlsHostname }),
    ...(verifyPeer !== undefined && { rejectUnauthorized: verifyPeer }),
  };
  return { place, exportName: address.exportName, tls: { ...named, ...tls } };
}
