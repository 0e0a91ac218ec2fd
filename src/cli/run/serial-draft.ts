/** What the serial ports and the debug console are connected to: as typed, and in the end. */
import { OptionError } from "../../base/errors.ts";

/** Where a socket is. A descriptor is of a socket that listens. */
export type SocketPlace =
  | { readonly path: string }
  | { readonly host?: string; readonly port: number }
  | { readonly fd: number };

/** What a serial port is connected to. */
export type Chardev = {
  /** Its name, if that is not the port's. */
  readonly label?: string;
} & (
  | { readonly kind: "stdio" }
  | { readonly kind: "stderr" }
  | { readonly kind: "file"; readonly path: string; readonly append?: true }
  | { readonly kind: "pty" }
  | {
      readonly kind: "socket";
      readonly place: SocketPlace;
      /** It listens; else it connects. */
      readonly isServer: boolean;
      /** The guest starts when a client has connected. */
      readonly waits: boolean;
    }
  | { readonly kind: "none" }
);

/** A place, or the -chardev of that id. */
export type Where = Chardev | { readonly kind: "named"; readonly id: string };

export interface SerialDraft {
  chardevs: Map<string, { readonly typed: string; readonly chardev: Chardev }>;
  /** Those of -serial, in its order. */
  serials: { readonly typed: string; readonly where: Where }[];
  /** Those of a -device, which get the places that are free. */
  isaSerials: { readonly typed: string; readonly id: string; readonly index: number | undefined }[];
  debugConsole?: { readonly typed: string; readonly where: Where };
  noDefaults: boolean;
  notes: string[];
}

export const MAX_SERIALS = 4;

/** @throws {OptionError} if a -chardev is not there, or has two users */
export function finishSerials(draft: SerialDraft): { serials: Chardev[]; debugConsole: Chardev } {
  const users = new Map<string, string>();
  const placeOf = (where: Where, typed: string): Chardev => {
    if (where.kind !== "named") return where;
    const { id } = where;
    const described = draft.chardevs.get(id);
    if (described === undefined) throw new OptionError(`${typed}: there is no -chardev with id=${id}`);
    const user = users.get(id);
    if (user !== undefined) throw new OptionError(`${typed}: the -chardev "${id}" is that of ${user}`);
    users.set(id, typed);
    return described.chardev;
  };
  const serials: (Chardev | undefined)[] = draft.serials.map(({ typed, where }) => placeOf(where, typed));
  for (const { typed, id, index } of draft.isaSerials) {
    const free = [0, 1, 2, 3].find((place) => serials[place] === undefined);
    const place = index ?? free;
    if (place === undefined) throw new OptionError(`${typed}: this machine has four serial ports`);
    if (serials[place] !== undefined) {
      throw new OptionError(`${typed}: COM${place + 1} is connected already; leave out its index`);
    }
    serials[place] = placeOf({ kind: "named", id }, typed);
  }
  if (serials.length === 0) serials.push({ kind: draft.noDefaults ? "none" : "stdio" });
  const connected = Array.from(serials, (chardev): Chardev => chardev ?? { kind: "none" });
  if (connected.filter(({ kind }) => kind === "stdio").length > 1) {
    throw new OptionError("-serial stdio: two serial ports cannot share one keyboard");
  }
  const { typed = "", where = { kind: "none" } } = draft.debugConsole ?? {};
  const debugConsole = placeOf(where, typed);
  if (debugConsole.kind === "pty" || debugConsole.kind === "socket") {
    throw new OptionError(`${typed}: the debug console only sends; use stdio or file:PATH`);
  }
  for (const [id, { typed }] of draft.chardevs) {
    if (!users.has(id)) {
      draft.notes.push(`${typed}: nothing uses it; a serial port does by -device isa-serial,chardev=${id}`);
    }
  }
  return { serials: connected, debugConsole };
}
