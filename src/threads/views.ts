/** The views of mappings on a thread that serves several machines. */
import { setImmediate } from "node:timers/promises";

/** V8 frees a detached ArrayBuffer, and with it the mapping, in one of the next turns of the event loop. */
const TURNS = 3;

/** Gives the event loop the turns in which the memory of a machine that has ended goes. */
export async function freeViews(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await setImmediate();
}
