/** The CPU of a machine, by the text that names it. Its code and tables are loaded only if it is not the host's. */
import { OptionError } from "../base/errors.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {OptionError} for a model or a property that does not exist */
export async function loadCpu(options: CheckedOptions): Promise<CheckedOptions> {
  const { cpu } = options;
  if (cpu === "host" || cpu === "max") return options;
  const { customCpu } = await import("../machine/cpu/custom-cpu.ts");
  return { ...options, cpuChoice: customCpu(cpu, (sentence) => new OptionError(`cpu: ${sentence}`)) };
}
