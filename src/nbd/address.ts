/**
 * Names of disks behind NBD servers.
 *
 * Source: "The NBD URI format" (NetworkBlockDevice/nbd, doc/uri.md), and the
 * older names that QEMU accepts as files: qemu(1), "NBD". Of the URI's TLS
 * parameters it knows x509 certificates, and `tls-certificates`, which libnbd
 * has, too: a folder with ca-cert.pem and, for a server that asks for them,
 * client-cert.pem and client-key.pem.
 */
import { DEFAULT_PORT, MAX_STRING } from "./protocol.ts";

export type NbdPlace =
  | { readonly host: string; readonly port: number }
  | {
      /** The path of a unix socket. */
      readonly path: string;
    };

export type NbdAddress = NbdPlace & {
  /** Name of the export at that server; "" is its default. */
  readonly exportName: string;
  readonly tls: boolean;
  /** Folder with certificates; by default those of the system. */
  readonly certificates?: string;
  /** The name in the server's certificate, if it is not that of the host. */
  readonly tlsHostname?: string;
  readonly verifyPeer?: boolean;
};

/** Is this the name of a disk behind an NBD server, and not that of a file? */
export function isNbdName(name: string): boolean {
  return /^nbds?(\+unix|\+tcp)?:/.test(name);
}

/** For messages. */
export function nbdPlaceText(place: NbdPlace): string {
  if ("path" in place) return `nbd server at ${place.path}`;
  return `nbd server at ${place.host.includes(":") ? `[${place.host}]` : place.host}:${place.port}`;
}

/** @throws {RangeError} with a sentence */
export function parseNbdName(name: string): NbdAddress {
  const address = /^nbds?(\+\w+)?:\/\//.test(name) ? parseUri(name) : parseOldName(name);
  if (Buffer.byteLength(address.exportName) > MAX_STRING || address.exportName.includes("\0")) {
    throw new RangeError(`${name}: an export's name has at most ${MAX_STRING} bytes, none of them zero`);
  }
  return address;
}

const SCHEMES = ["nbd", "nbds", "nbd+tcp", "nbds+tcp", "nbd+unix", "nbds+unix"];
const PARAMETERS = ["socket", "tls-type", "tls-hostname", "tls-verify-peer", "tls-certificates"];

function parseUri(name: string): NbdAddress {
  const fail = (why: string): never => {
    throw new RangeError(`${name}: ${why}`);
  };
  let uri: URL;
  try {
    // A URL's query is a form's, where + is a space; a URI's is not.
    uri = new URL(name.replace(/\?.*/s, (query) => query.replaceAll("+", "%2B")));
  } catch {
    return fail("not a URI such as nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH");
  }
  const scheme = uri.protocol.slice(0, -1);
  if (!SCHEMES.includes(scheme)) fail(`unknown scheme "${scheme}"; one of ${SCHEMES.join(", ")}`);
  const parameters = uri.searchParams;
  for (const key of parameters.keys()) {
    if (!PARAMETERS.includes(key)) fail(`unknown parameter "${key}"; known are ${PARAMETERS.join(", ")}`);
  }
  const type = parameters.get("tls-type");
  if (type !== null && type !== "x509") fail(`tls-type=${type} is not supported; only x509 is`);
  const verify = parameters.get("tls-verify-peer");
  if (verify !== null && verify !== "0" && verify !== "1") fail("tls-verify-peer must be 0 or 1");
  const hostname = parameters.get("tls-hostname");
  const certificates = parameters.get("tls-certificates");
  const rest = {
    // Unchanged, because URL removes ".." from a path, and an export's name may contain it.
    exportName:
      decoded(/^[^:]*:\/\/[^/?#]*\/?([^?#]*)/.exec(name)?.[1] ?? "") ?? fail("its path is not UTF-8"),
    tls: scheme.startsWith("nbds"),
    ...(certificates !== null && { certificates }),
    ...(hostname !== null && { tlsHostname: hostname }),
    ...(verify !== null && { verifyPeer: verify === "1" }),
  };
  const path = parameters.get("socket");
  if (scheme.endsWith("+unix")) {
    if (path === null || path === "") fail("a unix socket's name is missing: ?socket=PATH");
    return { path: path ?? "", ...rest };
  }
  if (path !== null) fail(`socket= goes with ${scheme.startsWith("nbds") ? "nbds" : "nbd"}+unix://`);
  const host = decoded(uri.hostname.replace(/^\[(.*)\]$/, "$1")) ?? fail("its host is not UTF-8");
  if (uri.port === "0") fail("a port is a number from 1 to 65535");
  return {
    host: host === "" ? "localhost" : host,
    port: uri.port === "" ? DEFAULT_PORT : Number(uri.port),
    ...rest,
  };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** nbd:HOST:PORT[:exportname=NAME], nbd:unix:PATH[:exportname=NAME] */
function parseOldName(name: string): NbdAddress {
  const [, unix, host, digits, exportName = ""] =
    /^nbd:(?:unix:(.+?)|(\[[^\]]+\]|[^:[\]]+):(\d+))(?::exportname=(.*))?$/s.exec(name) ?? [];
  if (unix !== undefined) return { path: unix, exportName, tls: false };
  const port = Number(digits);
  if (host === undefined || port < 1 || port > 65535) {
    throw new RangeError(
      `${name}: not a name such as nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH, nbd:HOST:PORT:exportname=EXPORT or nbd:unix:PATH:exportname=EXPORT`,
    );
  }
  return { host: host.replace(/^\[(.*)\]$/, "$1"), port, exportName, tls: false };
}
