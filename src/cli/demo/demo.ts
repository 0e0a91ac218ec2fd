/**
 * `vmexit demo [NAME]`: lists the demos, or runs one.
 *
 * The demos are programs that use the package as any other program does
 * (examples/demos/). They are loaded from dist/demos/, compiled.
 */

import type { Writable } from "node:stream";
import { didYouMean } from "../../base/errors.ts";
import { FAILED, OK, OUTPUT_CLOSED, USAGE } from "../exit-status.ts";
import { built } from "../package.ts";

/** A demo in the list. */
interface DemoEntry {
  readonly name: string;
  readonly sentence: string;
}

/** The compiled demos. */
export interface DemoShelf {
  list(): Promise<readonly DemoEntry[]>;
  /** Runs a demo of the list to its end; `out` takes each line. */
  run(name: string, out: (line: string) => void): Promise<void>;
}

export async function demoCommand(
  argv: readonly string[],
  shelf: DemoShelf,
  stdout: Writable,
  stderr: Writable,
): Promise<number> {
  try {
    const demos = await shelf.list();
    const [word, ...more] = argv;
    if (word === undefined || /^--?h(elp)?$/.test(word)) {
      stdout.write(help(demos));
      return OK;
    }
    const complain = (sentence: string) => {
      stderr.write(`vmexit demo: ${sentence}\n\n${help(demos)}`);
      return USAGE;
    };
    const names = demos.map(({ name }) => name);
    if (!names.includes(word)) return complain(`unknown demo "${word}"${didYouMean(word, names)}`);
    if (more.length > 0) return complain(`"${more[0]}": a demo takes no options`);
    const ran = shelf.run(word, (line) => stdout.write(`${line}\n`)).then(() => OK);
    return await Promise.race([ran, readerClosed(stdout)]);
  } catch (error) {
    stderr.write(`vmexit demo: ${error instanceof Error ? error.message : String(error)}\n`);
    return FAILED;
  }
}

/** Resolves when the reader of `output` has closed it. */
function readerClosed(output: Writable): Promise<number> {
  return new Promise((resolve, reject) => {
    output.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EPIPE" ? resolve(OUTPUT_CLOSED) : reject(error),
    );
  });
}

function help(demos: readonly DemoEntry[]): string {
  const width = Math.max(...demos.map(({ name }) => name.length));
  const lines = demos.map(({ name, sentence }) => `  ${name.padEnd(width)}  ${sentence}\n`).join("");
  return `Usage: vmexit demo NAME

Each demo runs a tiny guest on /dev/kvm and shows what happens at its entries and exits:

${lines}
The sources are in examples/demos/, and pages that explain them in docs/demos/.
`;
}

/** The demos of this package. */
export const packagedDemos: DemoShelf = {
  list: async () => {
    try {
      const { DEMOS }: { DEMOS: readonly DemoEntry[] } = await import(compiled("demos").href);
      return DEMOS;
    } catch (error) {
      throw new Error("the demos are not built; run npm run build", { cause: error });
    }
  },
  run: async (name, out) => {
    const module: { demo(out: (line: string) => void): Promise<void> } = await import(compiled(name).href);
    await module.demo(out);
  },
};

function compiled(name: string): URL {
  return built(`demos/${name}.js`);
}
