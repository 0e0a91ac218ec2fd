/** The text of `-cpu help`, in the layout of QEMU 11.1. */
import { featureNames } from "./feature-words.ts";
import { namesAndTexts } from "./models.ts";

const LINE = 76;

export function cpuHelp(): string {
  const rows: [string, string][] = [
    ...namesAndTexts(),
    ["base", "base CPU model type with no features enabled"],
    ["host", "processor with all supported host features "],
    ["max", "Enables all features supported by the accelerator in the current host"],
  ];
  const models = rows.map(([name, text]) => `  ${name.padEnd(20)}  ${text}\n`).join("");
  return `Available CPUs:\n${models}\nRecognized CPUID flags:\n${wrapped(featureNames())}\n`;
}

/** A line ends where the next name would make it too long. */
function wrapped(names: readonly string[]): string {
  let text = "";
  let line = " ";
  for (const name of names) {
    if (line.length + name.length + 1 >= LINE) {
      text += `${line}\n`;
      line = " ";
    }
    line += ` ${name}`;
  }
  return `${text}${line}\n`;
}
