/**
 * A flat binary: loaded at an address, entered there in real mode.
 *
 * CS, DS, ES and SS all start at the binary's own paragraph, as in a .COM
 * file, so that a program assembled for offset 0 finds its data. The stack
 * grows down from the end of that 64 KiB segment, or of RAM.
 */
import { hex } from "../base/hex.ts";
import { ONE_MIB } from "./low-memory.ts";
import { BootError, type BootPlan, type Placement } from "./plan.ts";
import { checkPlacements, Ram } from "./ram.ts";
import type { BootRequest } from "./request.ts";

const SEGMENT = 0x1_0000;

export function planFlat(request: BootRequest, address: number): BootPlan {
  const { kernel, kernelName, initrd, cmdline, memory } = request;
  if (!Number.isInteger(address) || address < 0 || address >= ONE_MIB) {
    throw new BootError(
      `${kernelName}: a flat binary starts in real mode, below 1 MiB, not at ${hex(address)}`,
    );
  }
  if (kernel.size === 0) throw new BootError(`${kernelName}: the file is empty`);
  if (initrd !== undefined) {
    throw new BootError(`${initrd.name}: a flat binary cannot have an initrd; it has no means to find it`);
  }
  if (cmdline !== "") {
    throw new BootError(
      `${kernelName}: a flat binary cannot have a command line; it has no means to find it`,
    );
  }
  const ram = new Ram(memory);
  const image: Placement = {
    what: "flat binary",
    address,
    size: kernel.size,
    data: { file: "kernel", offset: 0, length: kernel.size },
  };
  checkPlacements([image], ram, kernelName);
  const base = address - (address % 16);
  const room = Math.min(SEGMENT, ram.endAt(address) - base);
  const stack = Math.floor((room - 1) / 2) * 2; // even, and at most 0xfffe: SP has 16 bits
  return {
    protocol: "flat",
    placements: [image],
    entry: { mode: "real16", rip: address, registers: { rsp: stack } },
  };
}
