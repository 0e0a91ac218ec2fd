/** The kernel command line as a guest gets it: ASCII, ended by a zero byte, no longer than the kernel reads. */
import { CMDLINE } from "./low-memory.ts";
import { BootError, type Placement } from "./plan.ts";

/**
 * @param limit     characters that the kernel reads, without the terminating zero
 * @throws {BootError} for a text that the guest would not get as it was written.
 */
export function placeCmdline(cmdline: string, limit: number, kernelName: string): Placement {
  const text = encodeCmdline(cmdline, Math.min(limit, CMDLINE.size - 1), kernelName);
  const data = new Uint8Array(text.length + 1);
  data.set(text);
  return { what: CMDLINE.what, address: CMDLINE.address, size: data.length, data };
}

/**
 * The characters without a terminating zero, at most `room` of them.
 * @throws {BootError} for a text that the guest would not get as it was written.
 */
export function encodeCmdline(cmdline: string, room: number, kernelName: string): Uint8Array {
  if (cmdline.length > room) {
    throw new BootError(
      `command line: ${cmdline.length} characters, and ${kernelName} takes at most ${room}; the rest would be lost`,
    );
  }
  const data = new Uint8Array(cmdline.length);
  for (let i = 0; i < cmdline.length; i++) {
    const code = cmdline.charCodeAt(i);
    if (code === 0) {
      throw new BootError(`command line: a NUL at character ${i + 1} would end it there`);
    }
    if (code > 0x7e) {
      throw new BootError(
        `command line: ${JSON.stringify(String.fromCodePoint(cmdline.codePointAt(i) ?? code))} at character ${i + 1} is not ASCII`,
      );
    }
    data[i] = code;
  }
  return data;
}
