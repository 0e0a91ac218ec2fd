/** `vmexit trace report FILE -o FILE`: draws a trace. */
import { didYouMean } from "../../base/errors.ts";
import { FAILED, OK, USAGE } from "../exit-status.ts";
import { built } from "../package.ts";
import type { TraceOutput } from "./output.ts";

/** Exits that the step view shows: by default, and at most. */
const DEFAULT_STEPS = 10_000;
const MAX_STEPS = 100_000;

const HELP = `Usage: vmexit trace report FILE -o REPORT [OPTION]…

Draws a trace in one HTML file for a browser, which needs no network and no other
file. The pictures show the whole trace; the step view shows single exits.

  -o REPORT    the file to write, as in -o report.html
  -from SEQ    the number of the first exit in the step view (default: 1)
  -steps N     how many exits the step view has, up to ${MAX_STEPS} (default: ${DEFAULT_STEPS})
  -help        prints this text
`;

const OPTIONS = ["o", "from", "steps", "help"];

interface Request {
  readonly file: string;
  readonly output: string;
  /** Which exits are shown one by one: `count` of them, from the one with this `seq`. */
  readonly range: { readonly from: number; readonly count: number };
}

/**
 * What this command uses of packages/trace-report. That package is compiled after
 * this one, as it reads traces by `vmexit/trace`; its bundle lies beside ours.
 */
interface TraceReport {
  writeReport(
    from: string,
    to: string,
    range: Request["range"],
    bundle: URL,
  ): Promise<{ readonly exits: number; readonly cut: string | undefined }>;
}

export async function traceReport(argv: readonly string[], { stdout, stderr }: TraceOutput): Promise<number> {
  const complain = (sentence: string) => void stderr.write(`vmexit trace report: ${sentence}\n`);
  if (argv.some((word) => /^--?h(elp)?$/.test(word))) {
    stdout.write(HELP);
    return OK;
  }
  const request = parse(argv);
  if (typeof request === "string") {
    complain(request);
    return USAGE;
  }
  const { file, output, range } = request;
  try {
    const { writeReport }: TraceReport = await import(built("bundle/trace-report.js").href);
    const { exits, cut } = await writeReport(file, output, range, built("bundle/"));
    stdout.write(`${output}: ${exits} ${exits === 1 ? "exit" : "exits"}\n`);
    if (cut !== undefined) complain(cut);
    return OK;
  } catch (error) {
    if (!isExpected(error)) throw error;
    complain(error.message);
    return FAILED;
  }
}

/** A sentence says why the words cannot be used. */
function parse(argv: readonly string[]): Request | string {
  let file: string | undefined;
  const values = new Map<string, string>();
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at];
    const [, name, attached] = /^--?([a-z]+)(?:=(.+))?$/.exec(word) ?? [];
    if (name === undefined) {
      if (file !== undefined) return `"${word}": there can be only one trace`;
      file = word;
      continue;
    }
    if (!OPTIONS.includes(name)) return `${word}: unknown option${didYouMean(name, OPTIONS, "-")}`;
    const value = attached ?? argv[++at];
    if (value === undefined) return `${word}: needs a value, as in ${EXAMPLES[name]}`;
    values.set(name, value);
  }
  const output = values.get("o");
  if (file === undefined) return "the trace is missing, as in vmexit trace report FILE -o report.html";
  if (output === undefined)
    return `the report's name is missing, as in vmexit trace report ${file} -o report.html`;
  const from = wholeNumber(values.get("from"), 1);
  const count = wholeNumber(values.get("steps"), DEFAULT_STEPS);
  if (from === undefined) return `-from ${values.get("from")}: not the number of an exit`;
  if (count === undefined || count > MAX_STEPS) {
    return `-steps ${values.get("steps")}: not a number from 0 to ${MAX_STEPS}`;
  }
  return { file, output, range: { from, count } };
}

const EXAMPLES: Readonly<Record<string, string>> = {
  o: "-o report.html",
  from: "-from 5000",
  steps: "-steps 20000",
};

function wholeNumber(text: string | undefined, otherwise: number): number | undefined {
  if (text === undefined) return otherwise;
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** An error of a file, and not a bug of this program. */
function isExpected(error: unknown): error is Error {
  // By its code: the other bundle has a TraceError of its own.
  return error instanceof Error && "code" in error && (error.code === "ETRACE" || "syscall" in error);
}
