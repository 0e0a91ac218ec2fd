/**
 * `vmexit img`: what qemu-img does with disk images, with its options and its
 * output. docs/img.md says what differs.
 */

import type { Writable } from "node:stream";
import { didYouMean } from "../../base/errors.ts";
import { ImageError } from "../../disk/image-error.ts";
import { SystemError } from "../../sys/errors.ts";
import { AddonError } from "../../sys/native.ts";
import { exactOutput } from "../exact-arguments.ts";
import { packageVersion } from "../package.ts";
import { check } from "./check.ts";
import { type ImgCommand, ImgError, type TextOutput } from "./command.ts";
import { commit } from "./commit.ts";
import { compare } from "./compare.ts";
import { convert } from "./convert.ts";
import { create } from "./create.ts";
import { dd } from "./dd.ts";
import { info } from "./info.ts";
import { map } from "./map.ts";
import { measure } from "./measure.ts";
import { optionLines } from "./options.ts";
import { rebase } from "./rebase.ts";
import { resize } from "./resize.ts";
import { serve } from "./serve.ts";
import { snapshot } from "./snapshot.ts";

const COMMANDS: readonly ImgCommand[] = [
  create,
  info,
  check,
  convert,
  resize,
  snapshot,
  commit,
  rebase,
  map,
  compare,
  dd,
  measure,
  serve,
];

/** Of qemu-img, and not here. */
const NOT_HERE = ["amend", "bench", "bitmap"];

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
  const failed = (error: unknown): number => {
    if (!isExpected(error)) throw error;
    stderr.write(`vmexit img: ${error.message}\n`);
    return error instanceof ImgError ? error.status : FAILED;
  };
  try {
    if (word === undefined)
      throw new ImgError("Not enough arguments\nTry 'vmexit img --help' for more information");
    if (isTrace(word)) throw new ImgError(`${word} is not there in this version: nothing here can be traced`);
    if (isHelp(word)) {
      stdout.write(help());
      return 0;
    }
    if (isVersion(word)) {
      stdout.write(`vmexit img version ${packageVersion()}\n`);
      return 0;
    }
    const command = COMMANDS.find(({ name }) => name === word);
    if (command === undefined) throw unknown(word);
    if (asksForHelp(rest)) {
      stdout.write(commandHelp(command));
      return 0;
    }
    const status = command.run(rest, { stdout, stderr, ...(onSignal && { onSignal }) });
    return typeof status === "number" ? status : status.catch(failed);
  } catch (error) {
    return failed(error);
  }
}

function textOutput(stream: Writable): TextOutput {
  return { write: (text) => void stream.write(exactOutput(text)) };
}

/** What command lines, files and hosts do; anything else is our bug and keeps its stack. */
function isExpected(error: unknown): error is Error {
  return [ImgError, ImageError, SystemError, AddonError].some((kind) => error instanceof kind);
}

/** Before the command -T is not a cache mode. */
function isTrace(word: string): boolean {
  return /^(-T|--?trace)/.test(word);
}

function isHelp(word: string): boolean {
  return /^(-h|--?help)$/.test(word);
}

function isVersion(word: string): boolean {
  return /^(-V|--?version)$/.test(word);
}

/** Not where the word is somebody's value. */
function asksForHelp(words: readonly string[]): boolean {
  return words.length === 1 && isHelp(words[0]);
}

function unknown(word: string): ImgError {
  const names = COMMANDS.map(({ name }) => name);
  const why = NOT_HERE.includes(word)
    ? "; this version has not got this one of qemu-img's"
    : didYouMean(word, names);
  return new ImgError(`Command not found: ${word}${why}\nTry 'vmexit img --help' for more information`);
}

function help(): string {
  const lines = COMMANDS.map(({ name, help }) => `  ${name.padEnd(8)} ${help}\n`).join("");
  return `Usage: vmexit img COMMAND [OPTION]… FILE…

Disk images with qemu-img's options and output: raw and qcow2; VMDK, VHD, VHDX and VDI to be read.

Commands:
${lines}
vmexit img COMMAND --help lists a command's options.
`;
}

function commandHelp({ name, operands, help, options }: ImgCommand): string {
  return `Usage: vmexit img ${name} [OPTION]… ${operands}\n\n${name} ${help}.\n\nOptions:\n${optionLines(options)}`;
}
