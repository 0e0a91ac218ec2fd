/**
 * The options that connect a debugger: -gdb, -s and -S.
 *
 * Source: QEMU 7.2, qemu-options.hx. QEMU's `tcp::1234` listens on every address
 * of the computer. Here it listens on the loopback address, unless a host is given:
 * a debugger that connects has full control of the guest.
 */
import { didYouMean } from "../../base/errors.ts";
import type { GdbPlace } from "../../gdb/server.ts";
import type { Complain } from "../key-values.ts";
import type { OptionRow } from "./option-row.ts";

export const GDB_OPTIONS: readonly OptionRow[] = [
  {
    names: ["gdb"],
    argument: "WHERE",
    example: "-gdb tcp::1234",
    help: 'lets gdb connect, with "target remote". WHERE is one of:',
    values: [
      {
        rows: [
          ["tcp:[HOST]:PORT", "a TCP port; without HOST only for this machine (127.0.0.1)"],
          ["unix:PATH", "a socket, which is created"],
          ["none", "nowhere (default)"],
        ],
      },
    ],
    apply: (draft, value, _typed, complain) => {
      const place = gdbPlace(value, complain);
      if (place === undefined) delete draft.gdb;
      else draft.gdb = place;
    },
  },
  {
    names: ["s"],
    help: "the same as -gdb tcp::1234",
    apply: (draft) => {
      draft.gdb = { port: 1234 };
    },
  },
  {
    names: ["S"],
    help: "the guest does not start until gdb continues it",
    apply: (draft) => {
      draft.startStopped = true;
    },
  },
];

/** Properties of QEMU's chardev options that are always true here. */
const ALWAYS = ["server", "server=on", "nowait", "wait=off", "nodelay", "nodelay=on"];

function gdbPlace(value: string, complain: Complain): GdbPlace | undefined {
  const [where, ...more] = value.split(",");
  const other = more.find((word) => !ALWAYS.includes(word));
  if (other !== undefined) throw complain(`"${other}" is not possible`);
  if (where === "none") return undefined;
  if (where.startsWith("unix:") && where !== "unix:") return { path: where.slice("unix:".length) };
  const [, bracketed, plain, port] = /^tcp:(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(where) ?? [];
  if (port === undefined) {
    throw complain(
      `not a place to listen at${didYouMean(where, ["none", "tcp::1234"])}; use tcp::PORT, tcp:HOST:PORT or unix:PATH`,
    );
  }
  if (Number(port) > 0xffff) throw complain(`${port} is not a port; the last one is 65535`);
  const host = bracketed ?? plain;
  return host === "" ? { port: Number(port) } : { port: Number(port), host };
}
