/**
 * `vmexit img`: the commands of qemu-img, with its options and output.
 * docs/img.md lists the differences.
 */

import type { Writable } from "node:stream";
import { didYouMean } from "../../base/errors.ts";
import { ImageError } from "../../disk/image-error.ts";
import { SystemError } from "../../sys/errors.ts";
import { AddonError } from "../../sys/native.ts";
import { exactOutput } from "../exact-arguments.ts";
import { packageVersion } from "../package.ts";
import { bitmap } from "./bitmap.ts";
import { check } from "./check.ts";
import type { ImgCommand, TextOutput } from "./command.ts";
import { commit } from "./commit.ts";
import { compare } from "./compare.ts";
import { convert } from "./convert.ts";
import { create } from "./create.ts";
import { dd } from "./dd.ts";
import { ImgError, OptionUsageError, UsageError } from "./img-error.ts";
import { info } from "./info.ts";
import { map } from "./map.ts";
import { measure } from "./measure.ts";
import { HelpAsked, optionLines } from "./options.ts";
import { rebase } from "./rebase.ts";
import { resize } from "./resize.ts";
import { serve } from "./serve.ts";
import { snapshot } from "./snapshot.ts";

const COMMANDS: readonly ImgCommand[] = [
  bitmap,
  check,
  commit,
  compare,
  convert,
  create,
  dd,
  info,
  map,
  measure,
  rebase,
  resize,
  serve,
  snapshot,
];

/** Commands of qemu-img that are not supported. */
const NOT_HERE = ["amend", "bench"];

const FAILED = 1;

/** Runs `vmexit img COMMAND …`. Returns the exit status. */
export function imgCommand(
  argv: readonly string[],
  out: Writable,
  err: Writable,
  onSignal?: (listener: () => void) => void,
): number | Promise<number> {
  const stdout = textOutput(out);
  const stderr = textOutput(err);
  const [word, ...rest] = argv;
  const command = COMMANDS.find(({ name }) => name === word);
  const failed = (error: unknown): number => {
    if (error instanceof HelpAsked && command !== undefined) {
      stdout.write(commandHelp(command));
      return 0;
    }
    if (!isExpected(error)) throw error;
    stderr.write(messageOf(error, command));
    return error instanceof ImgError ? error.status : FAILED;
  };
  try {
    if (command !== undefined) {
      const status = command.run(rest, { stdout, stderr, ...(onSignal && { onSignal }) });
      return typeof status === "number" ? status : status.catch(failed);
    }
    stdout.write(answerOf(word));
    return 0;
  } catch (error) {
    return failed(error);
  }
}

function textOutput(stream: Writable): TextOutput {
  return { write: (text) => void stream.write(exactOutput(text)) };
}

/** Mistakes on command lines and in files, and failures of the host; anything else is an error of the program. */
function isExpected(error: unknown): error is Error {
  return [ImgError, ImageError, SystemError, AddonError].some((kind) => error instanceof kind);
}

function messageOf(error: Error, command: ImgCommand | undefined): string {
  const full = command === undefined ? "vmexit img" : `vmexit img ${command.name}`;
  const program = error instanceof OptionUsageError ? full : "vmexit img";
  const hint = error instanceof UsageError ? `\nTry '${full} --help' for more information` : "";
  return `${program}: ${error.message}${hint}\n`;
}

/** What is printed for a word that is not a command. @throws {ImgError} */
function answerOf(word: string | undefined): string {
  if (word === undefined) throw new UsageError("Not enough arguments");
  // Before the command -T is not a cache mode.
  if (/^(-T|--?trace)/.test(word)) throw new ImgError(`${word} is not supported: there are no trace events`);
  if (/^(-h|--?help)$/.test(word)) return help();
  if (/^(-V|--?version)$/.test(word)) return `vmexit img version ${packageVersion()}\n`;
  if (word.startsWith("--")) throw new UsageError(`unrecognized option '${word}'`);
  if (word.startsWith("-")) throw new UsageError(`invalid option -- '${word.slice(1, 2)}'`);
  const names = COMMANDS.map(({ name }) => name);
  const why = NOT_HERE.includes(word) ? ", which qemu-img has, is not supported" : didYouMean(word, names);
  throw new UsageError(`Command not found: ${word}${why}`);
}

function help(): string {
  const lines = COMMANDS.map(({ name, help }) => `  ${name} - ${help}\n`).join("");
  return `vmexit img version ${packageVersion()}
Disk images with the commands, options and output of qemu-img. Usage:

  vmexit img [-h|--help] [-V|--version] COMMAND [--help | command options]

Commands (vmexit img COMMAND --help lists the options of one):

${lines}
Image formats: raw and qcow2; vmdk, vpc, vhdx and vdi are read.
`;
}

function commandHelp({ name, operands, help, options }: ImgCommand): string {
  const sentence = `${help[0].toUpperCase()}${help.slice(1)}.`;
  return `Usage:\n  vmexit img ${name} [OPTION]… ${operands}\n\n${sentence}\n\nArguments:\n${optionLines(options)}`;
}
