/** `vmexit trace summary FILE [-symbols FILE] [-json]`: counts what a trace contains. */
import { didYouMean } from "../../base/errors.ts";
import { BootError } from "../../boot/plan.ts";
import { readTrace, TraceError } from "../../trace/read.ts";
import { summarize } from "../../trace/summary.ts";
import { summaryText } from "../../trace/summary-text.ts";
import { readSymbols } from "../../trace/symbols.ts";
import { FAILED, OK, USAGE } from "../exit-status.ts";
import type { TraceOutput } from "./output.ts";

const HELP = `Usage: vmexit trace summary FILE [OPTION]…

Prints exits by reason and device with the time they took, the busiest ports and
addresses, the code that exits most often, and the counters of KVM.

  -symbols FILE   names of code: a vmlinux with symbols, a System.map, or a copy of /proc/kallsyms.
                  They fit only if the Linux guest was started with nokaslr.
  -json           prints one JSON object
  -help           prints this text
`;

const OPTIONS = ["symbols", "json", "help"];

interface Request {
  file: string | undefined;
  symbols: string | undefined;
  json: boolean;
  help: boolean;
}

export async function traceSummary(
  argv: readonly string[],
  { stdout, stderr }: TraceOutput,
): Promise<number> {
  const complain = (sentence: string) => void stderr.write(`vmexit trace summary: ${sentence}\n`);
  const request = parse(argv);
  if (typeof request === "string") {
    complain(request);
    return USAGE;
  }
  if (request.help) {
    stdout.write(HELP);
    return OK;
  }
  if (request.file === undefined) {
    complain("the trace is missing, as in vmexit trace summary FILE");
    return USAGE;
  }
  try {
    const symbols = request.symbols === undefined ? undefined : readSymbols(request.symbols);
    const summary = await summarize(readTrace(request.file), symbols);
    stdout.write(request.json ? `${JSON.stringify(summary, null, 2)}\n` : summaryText(summary));
    return OK;
  } catch (error) {
    if (!isExpected(error)) throw error;
    complain(error.message);
    return FAILED;
  }
}

/** A sentence says why the words cannot be used. */
function parse(argv: readonly string[]): Request | string {
  const request: Request = { file: undefined, symbols: undefined, json: false, help: false };
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at];
    const option = /^--?([a-z]+)(?:=(.+))?$/.exec(word);
    if (option === null) {
      if (request.file !== undefined) return `"${word}": there can be only one trace`;
      request.file = word;
      continue;
    }
    const [, name, attached] = option;
    if (name === "symbols") {
      request.symbols = attached ?? argv[++at];
      if (request.symbols === undefined) return `${word}: needs a file, as in -symbols System.map`;
    } else if (name === "json" && attached === undefined) request.json = true;
    else if (name === "help" || name === "h") request.help = true;
    else return `${word}: unknown option${didYouMean(name, OPTIONS, "-")}`;
  }
  return request;
}

/** An error of a file, and not a bug of this program. */
function isExpected(error: unknown): error is Error {
  if (error instanceof TraceError || error instanceof BootError) return true;
  return error instanceof Error && "code" in error && "syscall" in error;
}
