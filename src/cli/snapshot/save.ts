/** `vmexit snapshot save`: boots a machine and saves it. */
import { OptionError } from "../../base/errors.ts";
import { OK, type Outcome } from "../exit-status.ts";
import { type RunDeps, readRequest, runMachine } from "../run/run.ts";

const USAGE = "as in vmexit snapshot save booted -until 'login:' -kernel vmlinuz";
const DEFAULT_TIMEOUT_S = 60;
const MAX_TIMEOUT_S = 1_000_000;

/** @throws {OptionError} for what is not possible as typed; else as `runMachine` */
export async function saveCommand([dir, ...argv]: readonly string[], deps: RunDeps): Promise<Outcome> {
  if (dir === undefined || dir.startsWith("-")) {
    throw new OptionError(`the folder for the snapshot comes first, ${USAGE}`);
  }
  const rest: string[] = [];
  let until: string | undefined;
  let seconds = DEFAULT_TIMEOUT_S;
  for (let at = 0; at < argv.length; at++) {
    const [, name, attached] = /^--?(until|timeout)(?:=(.*))?$/s.exec(argv[at]) ?? [];
    if (name === undefined) {
      rest.push(argv[at]);
      continue;
    }
    const value = attached ?? argv[++at];
    if (value === undefined || value === "") throw new OptionError(`-${name}: needs a value, ${USAGE}`);
    if (name === "until") until = value;
    else seconds = timeout(value);
  }
  if (until === undefined) {
    throw new OptionError(
      `when to save is missing: -until TEXT, ${USAGE}. A machine that already runs is saved by Ctrl-A s in its console, or by vm.snapshot() of its program`,
    );
  }
  const request = await readRequest(rest, deps);
  if (request === undefined) return OK;
  if (request.startStopped) throw new OptionError("-S: the machine has to start by itself to be saved");
  return runMachine(request, deps, { dir, until, timeoutMs: 1_000 * seconds });
}

function timeout(value: string): number {
  const seconds = Number(value);
  if (/^\d+(\.\d+)?$/.test(value) && seconds > 0 && seconds <= MAX_TIMEOUT_S) return seconds;
  throw new OptionError(`-timeout ${value}: not a number of seconds up to ${MAX_TIMEOUT_S}`);
}
