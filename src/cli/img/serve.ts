/**
 * `vmexit img serve`: an NBD server of one image, with qemu-nbd's letters.
 *
 * Source: QEMU 7.2, qemu-nbd(8). Otherwise than there, it listens on localhost
 * unless told more, says where it listens, and does not guess that a disk that
 * clients write to is raw.
 */

import { hasEscapes } from "../../base/byte-text.ts";
import type { NbdServerTls } from "../../nbd/tls.ts";
import { check } from "../../sys/errors.ts";
import { type ImgCommand, ImgError, type ImgOutput, oneFile } from "./command.ts";
import { type FileOptions, FORMAT, fileOptions, OTHER_FILES, open, QUIET } from "./files.ts";
import { type Option, parseOptions } from "./options.ts";

interface ServeDraft extends FileOptions {
  readOnly: boolean;
  socket: string | undefined;
  bind: string | undefined;
  port: number | undefined;
  exportName: string;
  description: string;
  persistent: boolean;
  clients: number;
  verbose: boolean;
  certificates: string | undefined;
  verifyPeer: boolean;
}

/** "Unlimited", as far as anything is. */
const MANY_CLIENTS = 1024;
const DEFAULT_PORT = 10809;

const OPTIONS: readonly Option<ServeDraft>[] = [
  FORMAT,
  {
    names: ["r", "read-only"],
    help: "clients can only read",
    set: (draft) => {
      draft.readOnly = true;
    },
  },
  {
    names: ["k", "socket"],
    argument: "PATH",
    help: "listens on a unix socket",
    set: (draft, value) => {
      draft.socket = value;
    },
  },
  {
    names: ["b", "bind"],
    argument: "ADDRESS",
    help: "the address to listen on (default localhost; 0.0.0.0 or :: for all)",
    set: (draft, value) => {
      draft.bind = value;
    },
  },
  {
    names: ["p", "port"],
    argument: "PORT",
    help: `the TCP port (default ${DEFAULT_PORT}; 0 for any that is free)`,
    set: (draft, value) => {
      draft.port = number(value, 65535, "port");
    },
  },
  {
    names: ["x", "export-name"],
    argument: "NAME",
    help: "the export's name (default none)",
    set: (draft, value) => {
      draft.exportName = value;
    },
  },
  {
    names: ["D", "description"],
    argument: "TEXT",
    help: "what clients are told of the export",
    set: (draft, value) => {
      draft.description = value;
    },
  },
  {
    names: ["t", "persistent"],
    help: "goes on when the last client has left",
    set: (draft) => {
      draft.persistent = true;
    },
  },
  {
    names: ["e", "shared"],
    argument: "NUMBER",
    help: "clients at the same time (default 1; 0 for as many as come)",
    set: (draft, value) => {
      draft.clients = number(value, MANY_CLIENTS, "number of clients") || MANY_CLIENTS;
    },
  },
  {
    names: ["tls-certificates"],
    argument: "FOLDER",
    help: "clients must use TLS; server-cert.pem and server-key.pem are in FOLDER",
    set: (draft, value) => {
      draft.certificates = value;
    },
  },
  {
    names: ["tls-verify-peer"],
    help: "clients must have certificates, signed by ca-cert.pem of that folder",
    set: (draft) => {
      draft.verifyPeer = true;
    },
  },
  {
    names: ["v", "verbose"],
    help: "says why a client was let go",
    set: (draft) => {
      draft.verbose = true;
    },
  },
  QUIET,
  OTHER_FILES,
];

export const serve: ImgCommand = {
  name: "serve",
  operands: "filename",
  help: "serves a disk to NBD clients, as qemu-nbd does",
  options: OPTIONS,
  run: async (argv, output) => {
    const draft: ServeDraft = {
      ...fileOptions(),
      readOnly: false,
      socket: undefined,
      bind: undefined,
      port: undefined,
      exportName: "",
      description: "",
      persistent: false,
      clients: 1,
      verbose: false,
      certificates: undefined,
      verifyPeer: false,
    };
    const path = oneFile(parseOptions(argv, OPTIONS, draft));
    checkTogether(draft);
    return run(path, draft, output);
  },
};

function number(text: string, most: number, what: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= most)) throw new ImgError(`Invalid ${what} '${text}': must be from 0 to ${most}`);
  return value;
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
      maxConnections: clients,
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
