/**
 * `vmexit img serve`: an NBD server of one image, with qemu-nbd's letters.
 *
 * Source: QEMU 11.1, qemu-nbd(8). Unlike qemu-nbd, it listens on localhost by default,
 * prints where it listens, and does not probe a disk that clients may write as raw.
 */

import { hasEscapes } from "../../base/byte-text.ts";
import { type Kind, text, typed } from "../../config/value.ts";
import type { NbdServerTls } from "../../nbd/tls.ts";
import { check } from "../../sys/errors.ts";
import { type ImgCommand, type ImgOutput, oneFile } from "./command.ts";
import { FORMAT, OTHER_FILES, open, QUIET } from "./files.ts";
import { ImgError } from "./img-error.ts";
import { flag, type Read, readCommandLine } from "./options.ts";

/** The meaning of 0. */
const MANY_CLIENTS = 1024;
const DEFAULT_PORT = 10809;

const OPTIONS = {
  ...FORMAT,
  readOnly: flag(["r", "read-only"], "clients can only read"),
  socket: { names: ["k", "socket"], type: text("PATH"), help: "listen on a unix socket" },
  bind: {
    names: ["b", "bind"],
    type: text("ADDRESS"),
    help: "the address to listen on (default: localhost; 0.0.0.0 or :: for all)",
  },
  port: {
    names: ["p", "port"],
    type: numberKind("PORT", 65535, "port"),
    help: `the TCP port (default: ${DEFAULT_PORT}; 0 for any that is free)`,
  },
  exportName: {
    names: ["x", "export-name"],
    type: text("NAME"),
    default: "",
    help: "the name of the export (default: none)",
  },
  description: {
    names: ["D", "description"],
    type: text("TEXT"),
    default: "",
    help: "the description that clients are given",
  },
  persistent: flag(["t", "persistent"], "continue when the last client has disconnected"),
  clients: {
    names: ["e", "shared"],
    type: numberKind("NUM", MANY_CLIENTS, "number of clients"),
    default: 1,
    help: "how many clients may connect at the same time (default: 1; 0 for any number)",
  },
  certificates: {
    names: ["tls-certificates"],
    type: text("FOLDER"),
    help: "require TLS, with server-cert.pem and server-key.pem in FOLDER",
  },
  verifyPeer: flag(["tls-verify-peer"], "require certificates of clients, signed by ca-cert.pem in FOLDER"),
  verbose: flag(["v", "verbose"], "report why a client was disconnected"),
  ...QUIET,
  ...OTHER_FILES,
} as const;

type ServeDraft = Read<typeof OPTIONS>;

export const serve: ImgCommand = {
  name: "serve",
  operands: "FILE",
  help: "serves a disk to NBD clients, as qemu-nbd does",
  options: OPTIONS,
  run: (argv, output) => {
    const { operands, options: draft } = readCommandLine(argv, OPTIONS);
    const path = oneFile(operands);
    checkTogether(draft);
    return run(path, draft, output);
  },
};

function numberKind(shown: string, most: number, what: string): Kind<number> {
  return typed(shown, (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value <= most)) throw new ImgError(`Invalid ${what} '${text}': must be from 0 to ${most}`);
    return value;
  });
}

function checkTogether(draft: ServeDraft): void {
  const { socket, bind, port, certificates, verifyPeer, exportName, description } = draft;
  if (socket !== undefined && (bind !== undefined || port !== undefined)) {
    throw new ImgError("-k is a unix socket, which has no address (-b) and no port (-p)");
  }
  for (const word of [socket, bind, certificates, exportName, description]) {
    if (word === undefined || !hasEscapes(word)) continue;
    throw new ImgError(`${JSON.stringify(word)} is not UTF-8, and cannot be used here`);
  }
  if (verifyPeer && certificates === undefined) {
    throw new ImgError("--tls-verify-peer needs --tls-certificates");
  }
}

async function run(path: string, draft: ServeDraft, output: ImgOutput): Promise<number> {
  const { readOnly, socket, bind, port, exportName, description, persistent, clients, verbose } = draft;
  const { stdout, stderr, onSignal } = output;
  const { serveNbd } = await import("../../image-tools/serve-nbd.ts");
  const tls = await certificatesOf(draft);
  using image = open(path, draft, { readOnly });
  if (!readOnly && draft.format === undefined && image.format === "raw") {
    throw new ImgError(
      `The format of '${path}' was not given. Say -f raw (or -r): a client could make a raw disk look like another format to whoever opens it next`,
    );
  }
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  onSignal?.(end);
  try {
    const server = await serveNbd(image, {
      ...(socket === undefined
        ? { host: bind ?? "localhost", port: port ?? DEFAULT_PORT }
        : { path: socket }),
      exportName,
      description,
      maxConnections: clients || MANY_CLIENTS,
      ...(tls !== undefined && { tls }),
      ...(!persistent && { onIdle: end }),
      ...(verbose && { onClientError: ({ message }) => stderr.write(`vmexit img: ${message}\n`) }),
    });
    if (!draft.quiet) stdout.write(`${path}: ${server.uri}\n`);
    await ended;
    await server.close();
    if (!readOnly) check(image.flush(), "fdatasync", `flushing ${path}`);
    return 0;
  } catch (error) {
    throw error instanceof Error ? new ImgError(`Could not serve '${path}': ${error.message}`) : error;
  }
}

async function certificatesOf({ certificates, verifyPeer }: ServeDraft): Promise<NbdServerTls | undefined> {
  if (certificates === undefined) return undefined;
  const { serverCertificates } = await import("../../nbd/tls.ts");
  try {
    return serverCertificates(certificates, verifyPeer);
  } catch (error) {
    throw error instanceof Error ? new ImgError(error.message) : error;
  }
}
