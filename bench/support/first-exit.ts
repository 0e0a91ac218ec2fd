/** When a machine of this process runs. */
import { setImmediate } from "node:timers/promises";
import type { VirtualMachine } from "vmexit";

/** Settles when the guest has made one more exit to user space: its first instructions have been executed. */
export async function nextExit(vm: VirtualMachine): Promise<number> {
  const before = vm.stats().totalExits;
  while (vm.stats().totalExits === before) await setImmediate();
  return performance.now();
}

/** Settles at the next byte on the console. */
export function nextOutput(vm: VirtualMachine): Promise<number> {
  return new Promise((resolve) => vm.serial.once("data", () => resolve(performance.now())));
}

/** Bytes of pages of guest RAM that a copy or its parent wrote, in this process. */
export function copiedRam(smaps: string): number {
  const maps = smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const ofRam = maps.filter((map) => /^\S+ \S+ \S+ \S+ \S+ +\/memfd:guest-ram/.test(map));
  return 1024 * ofRam.reduce((sum, map) => sum + Number(/^Anonymous: +(\d+) kB/m.exec(map)?.[1] ?? 0), 0);
}
