/** Machines that begin with a kernel or with firmware. */
import type { VmOptions } from "../config/machine.ts";
import { loadExtras } from "./load-extras.ts";
import { openMachine } from "./open-machine.ts";
import { checkOptions } from "./validate.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/**
 * Makes a machine, ready to start: its memory holds the kernel or the firmware, its threads
 * wait. Nothing of the guest has run.
 *
 * @throws {OptionError} for options that cannot be, {BootError} for a kernel or
 *   initrd that cannot be started, {SystemError} for files and KVM, {ImageError}
 *   and {NbdError} for disks.
 */
export async function createVm(options: VmOptions): Promise<VirtualMachine> {
  return openMachine(await loadExtras(checkOptions(await withSeed(options))));
}

/** The seed of cloud-init is one more drive. What the options say of it is checked before it is made. */
async function withSeed(options: VmOptions): Promise<VmOptions> {
  if (options.cloudInit === undefined) return options;
  const { cloudInit } = checkOptions(options);
  if (cloudInit === undefined) return options;
  const { cloudInitDisk } = await import("../disk/cloud-init-disk.ts");
  return {
    ...options,
    drives: [...(options.drives ?? []), { source: cloudInitDisk(cloudInit), readOnly: true }],
  };
}
