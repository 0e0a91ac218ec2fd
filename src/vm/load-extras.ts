/** What most machines do not have: its code is loaded only for those that do. */
import { OptionError } from "../base/errors.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {OptionError} for a CPU that does not exist, nodes that do not fit the machine, or a file that cannot be read */
export async function loadExtras(options: CheckedOptions): Promise<CheckedOptions> {
  return {
    ...options,
    ...(await cpuOf(options)),
    ...(await numaOf(options)),
    ...(await userFilesOf(options)),
  };
}

/** The contents of files that the guest finds. */
async function userFilesOf(options: CheckedOptions): Promise<Partial<CheckedOptions>> {
  if (options.fwCfg.length + options.smbios.length === 0) return {};
  return (await import("./user-files.ts")).readUserFiles(options);
}

/** The CPU, by the text that names it. */
async function cpuOf({ cpu }: CheckedOptions): Promise<Pick<CheckedOptions, "cpuChoice">> {
  if (cpu === "host" || cpu === "max") return {};
  const { customCpu } = await import("../machine/cpu/custom-cpu.ts");
  return { cpuChoice: customCpu(cpu, (sentence) => new OptionError(`cpu: ${sentence}`)) };
}

/** The tables of its nodes. */
async function numaOf(options: CheckedOptions): Promise<Pick<CheckedOptions, "acpiTables">> {
  if (options.numa.length === 0) return {};
  return { acpiTables: (await import("./numa-tables.ts")).numaTables(options) };
}
