/**
 * TLS for NBD, after OPT_STARTTLS: Node's own, with certificates from the caller or
 * from a folder with the file names of libnbd, nbdkit and QEMU.
 *
 * Source: "The NBD protocol", section "TLS support"; qemu-img(1) and
 * nbdkit-tls(1) for the names of files.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { ConnectionOptions, TlsOptions } from "node:tls";

/** As node:tls has them. */
export type NbdClientTls = Pick<
  ConnectionOptions,
  "ca" | "cert" | "key" | "passphrase" | "servername" | "rejectUnauthorized" | "checkServerIdentity"
>;

/** As node:tls has them. */
export type NbdServerTls = Pick<
  TlsOptions,
  "ca" | "cert" | "key" | "passphrase" | "requestCert" | "rejectUnauthorized"
>;

/** A client's files in a folder: ca-cert.pem, client-cert.pem, client-key.pem; each may be missing. */
export function clientCertificates(folder: string): NbdClientTls {
  const ca = pem(folder, "ca-cert");
  const cert = pem(folder, "client-cert");
  const key = pem(folder, "client-key");
  if (ca === undefined && cert === undefined) {
    throw new RangeError(`${folder}: has neither ca-cert.pem nor client-cert.pem`);
  }
  return { ...(ca && { ca }), ...(cert && key && { cert, key }) };
}

/**
 * A server's files in a folder: server-cert.pem, server-key.pem, and ca-cert.pem, which
 * must have signed the certificates of clients if `verifyPeer`.
 */
export function serverCertificates(folder: string, verifyPeer: boolean): NbdServerTls {
  const need = (name: string) => {
    const found = pem(folder, name);
    if (found === undefined) throw new RangeError(`${folder}: has no ${name}.pem`);
    return found;
  };
  const own = { cert: need("server-cert"), key: need("server-key") };
  return verifyPeer ? { ...own, ca: need("ca-cert"), requestCert: true, rejectUnauthorized: true } : own;
}

function pem(folder: string, name: string): Buffer | undefined {
  const path = join(folder, `${name}.pem`);
  return existsSync(path) ? readFileSync(path) : undefined;
}

/** Starts TLS on the client's side of a connection. @param host the name in the server's certificate */
export async function secureClient(socket: Duplex, host: string, options: NbdClientTls): Promise<Duplex> {
  const { connect } = await import("node:tls");
  const { isIP } = await import("node:net");
  // A certificate is checked against the host; SNI does not allow an address.
  const name = options.servername ?? host;
  const { servername: _, ...rest } = options;
  const secure = connect({ ...rest, socket, host: name, ...(isIP(name) === 0 && { servername: name }) });
  return new Promise((resolve, reject) => {
    const failed = (error?: Error) => reject(error ?? new Error("the other side closed the connection"));
    secure.once("error", failed);
    secure.once("close", failed);
    secure.once("secureConnect", () => {
      secure.off("error", failed).off("close", failed);
      resolve(secure);
    });
  });
}

/**
 * Starts TLS on the server's side, with a server for each connection: this is how Node
 * checks the certificate of a client on an existing socket.
 */
export async function secureServer(socket: Duplex, options: NbdServerTls): Promise<Duplex> {
  const { createServer } = await import("node:tls");
  const server = createServer(options);
  return new Promise((resolve, reject) => {
    server.once("secureConnection", resolve);
    server.once("tlsClientError", reject);
    socket.once("close", () => reject(new Error("the other side closed the connection")));
    server.emit("connection", socket);
  });
}

/** Throws for invalid certificates, before the first client connects. */
export async function checkServerTls(options: NbdServerTls): Promise<void> {
  const { createSecureContext } = await import("node:tls");
  createSecureContext(options);
}
