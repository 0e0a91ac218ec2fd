/**
 * The command under QEMU's names: options, texts and exit statuses are then QEMU's.
 *
 * Source: QEMU 11.1.3, as it was seen to print and to end.
 */
import { Writable } from "node:stream";
import type { EndingSignal, Outcome } from "./exit-status.ts";
import { FAILED, OK, STOPPED, USAGE } from "./exit-status.ts";

/** The version of QEMU whose options and texts these are: other programs ask for it. */
const QEMU_VERSION = "11.1.3";

export interface Alias {
  readonly name: string;
  /** What it runs: a machine, or a command on images. */
  readonly runs: "run" | "img" | "nbd";
}

export const ALIASES: readonly Alias[] = [
  { name: "qemu-system-x86_64", runs: "run" },
  { name: "qemu-kvm", runs: "run" },
  { name: "kvm", runs: "run" },
  { name: "qemu-img", runs: "img" },
  { name: "qemu-nbd", runs: "nbd" },
];

/** The alias by which a program was started; undefined if by none. @param program its path */
export function aliasOf(program: string | undefined): Alias | undefined {
  const name = program?.slice(program.lastIndexOf("/") + 1);
  return ALIASES.find((alias) => alias.name === name);
}

/** The answer to -version and --version; undefined for another word. */
export function versionText(
  { runs, name }: Alias,
  word: string | undefined,
  version: string,
): string | undefined {
  if (word === undefined || !/^(--?version|-V)$/.test(word)) return undefined;
  if (word === "-V" && runs === "run") return undefined;
  const program = runs === "run" ? "QEMU emulator" : name;
  return `${program} version ${QEMU_VERSION} (vmexit ${version})\n`;
}

/** What is printed, under the name of the alias. */
function renamed(alias: Alias, text: string): string {
  if (alias.runs === "run") {
    return text
      .replace(/^(\n?)vmexit: stopped by Ctrl-A x$/m, "$1QEMU: Terminated")
      .replace(/^Usage: vmexit run .*$/m, `usage: ${alias.name} [options] [disk_image]`)
      .replace(/^vmexit run: (--?[^\s:]+): unknown option.*$/m, `${alias.name}: $1: invalid option`)
      .replace(/^vmexit(?: run)?: (?:cpu: )?/gm, `${alias.name}: `);
  }
  const command = alias.runs === "nbd" ? /vmexit img serve|vmexit img/g : /vmexit img/g;
  return text.replace(command, alias.name);
}

/** A stream for messages, under the name of the alias. */
export function renamedStream(alias: Alias, to: Writable): Writable {
  return new Writable({
    decodeStrings: false,
    write(chunk: string | Uint8Array, _encoding, done) {
      to.write(typeof chunk === "string" ? renamed(alias, chunk) : chunk);
      done();
    },
  });
}

/** QEMU's status for how `vmexit run` ends. It ends well at a signal too, and says which. */
export function qemuStatus(outcome: Outcome): number {
  if (typeof outcome === "string" || outcome === STOPPED) return OK;
  return outcome === USAGE ? FAILED : outcome;
}

const SIGNAL_NUMBERS: Readonly<Record<EndingSignal, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGTERM: 15,
};

/** What QEMU prints when a signal ends it. */
export function signalText({ name }: Alias, signal: EndingSignal): string {
  return `${name}: terminating on signal ${SIGNAL_NUMBERS[signal]}\n`;
}
