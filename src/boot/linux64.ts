/**
 * Starts a bzImage by the 64-bit boot protocol, or by the 32-bit one if the
 * kernel has no 64-bit entry (all before protocol 2.12, and 32-bit kernels).
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol" and
 * "32-bit Boot Protocol". The real-mode setup code is not run.
 */
import { hex } from "../base/hex.ts";
import { GIB, PAGE } from "../base/units.ts";
import { parseSetupHeader, type SetupHeader } from "./bzimage.ts";
import { placeCmdline } from "./cmdline.ts";
import { initrdPages, placeInitrd } from "./initrd.ts";
import { BOOT_DATA, ONE_MIB, ZERO_PAGE } from "./low-memory.ts";
import { BootError, type BootPlan, type Placement } from "./plan.ts";
import { checkPlacements, notEnoughRam, Ram, type Range } from "./ram.ts";
import type { BootRequest } from "./request.ts";
import { placeZeroPage } from "./zero-page.ts";

/** From the start of the protected-mode code to its 64-bit entry. */
const ENTRY_64 = 0x200;
/** The identity mapping at entry, and the reach of 32-bit code, end here. */
const FOUR_GIB = 4 * GIB;

export function planLinux(request: BootRequest): BootPlan {
  const { kernel, kernelName, memory, rsdp } = request;
  const header = parseSetupHeader(kernel, kernelName);
  const ram = new Ram(memory);
  if (!ram.holds(BOOT_DATA)) {
    throw new BootError(`${kernelName}: Linux needs RAM below 640 KiB to be started in`);
  }
  const cmdline = placeCmdline(request.cmdline, header.cmdlineSize, kernelName);
  const { loadAddress, runtime } = placeKernel(header, ram, request);
  const image: Placement = {
    what: "kernel",
    address: loadAddress,
    size: header.code.length,
    data: { file: "kernel", ...header.code },
  };
  const placements = [cmdline, image];
  const initrd =
    request.initrd &&
    placeInitrd(request.initrd, ram, Math.min(header.initrdAddrMax, FOUR_GIB - 1), [image, runtime]);
  if (initrd !== undefined) placements.push(initrd);
  placements.push(placeZeroPage({ header, loadAddress, cmdline: cmdline.address, initrd, rsdp, memory }));
  checkPlacements(placements, ram, kernelName);
  return {
    protocol: "bzImage",
    placements,
    entry: header.has64BitEntry
      ? { mode: "long64", rip: loadAddress + ENTRY_64, registers: { rsi: ZERO_PAGE.address } }
      : { mode: "protected32", rip: loadAddress, registers: { rsi: ZERO_PAGE.address } },
  };
}

/** The load address of the code, and the memory in which the kernel unpacks itself. */
function placeKernel(
  header: SetupHeader,
  ram: Ram,
  { kernelName, initrd }: BootRequest,
): { loadAddress: number; runtime: Range } {
  const { relocatable, kernelAlignment, initSize: size } = header;
  const address = relocatable
    ? Math.ceil(header.prefAddress / kernelAlignment) * kernelAlignment
    : header.prefAddress;
  const loadAddress = relocatable ? address : header.code32Start;
  for (const start of [address, loadAddress]) {
    if (start < ONE_MIB || start + size > FOUR_GIB) {
      throw new BootError(
        `${kernelName}: the kernel requires ${hex(size)} bytes at ${hex(start)}, which is not between 1 MiB and 4 GiB`,
      );
    }
  }
  if (ram.holds({ address, size })) return { loadAddress, runtime: { address, size } };
  // Only upwards: loaded lower than pref_address, a 64-bit kernel still moves itself there.
  const elsewhere = relocatable ? ram.lowest(size, kernelAlignment, address) : -1;
  if (elsewhere < 0) {
    const end = address + size;
    const needed = Math.ceil(end / PAGE) * PAGE + initrdPages(initrd);
    throw new BootError(
      `${kernelName}: the kernel unpacks itself to ${hex(address)} and up to ${hex(end)}: ${notEnoughRam(ram, needed)}`,
    );
  }
  return { loadAddress: elsewhere, runtime: { address: elsewhere, size } };
}
