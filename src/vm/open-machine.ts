/** From checked options to a machine: its board, and what the options connect it to. */
import { loadBoard } from "../machine/load-board.ts";
import { choosePowerOn } from "./choose-power-on.ts";
import { Drives } from "./drives.ts";
import { Networks } from "./networks.ts";
import type { PowerOn } from "./power-on.ts";
import { type CheckedOptions, deviceKinds } from "./validate.ts";
import { VirtualMachine } from "./virtual-machine.ts";

/**
 * @param begin how it begins, if not as its options alone have it; its drives are open then
 * @throws as createVm; nothing is left open then
 */
export async function openMachine(
  options: CheckedOptions,
  begin: (start: PowerOn, drives: Drives) => PowerOn = (start) => start,
): Promise<VirtualMachine> {
  const board = await loadBoard(options.machine, deviceKinds(options));
  const start = await choosePowerOn(options);
  const drives = await Drives.open(options.drives);
  let networks = Networks.none;
  try {
    networks = await Networks.open(options.network, options.vsock);
    return new VirtualMachine(board, options, drives, begin(start, drives), networks);
  } catch (error) {
    drives.close();
    await networks.close();
    throw error;
  }
}
