/** Chooses how a machine begins. What starts firmware is loaded only for a machine that has it. */
import { BootOrigin } from "./boot-origin.ts";
import type { PowerOn } from "./power-on.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {OptionError} if there is no firmware where it is searched */
export async function choosePowerOn(options: CheckedOptions): Promise<PowerOn> {
  if (options.kernel !== undefined) {
    const start: PowerOn = { origin: (note) => new BootOrigin(options, note) };
    return options.fwCfg.length === 0
      ? start
      : (await import("./user-files.ts")).withUserFiles(start, options);
  }
  const { firmwarePowerOn } = await import("./firmware-origin.ts");
  return firmwarePowerOn(options);
}
