/** The kernel command line in guest memory: ASCII with a terminating zero, no longer than the kernel reads. */
import { CMDLINE } from "./low-memory.ts";
import { BootError, type Placement } from "./plan.ts";

/**
 * @param limit     characters that the kernel reads, without the terminating zero
 * @throws {BootError} for a text that would not reach the guest unchanged.
 */
export function placeCmdline(cmdline: string, limit: number, kernelName: string): Placement {
  const text = encodeCmdline(cmdline, Math.min(limit, CMDLINE.size - 1), kernelName);
  const data = new Uint8Array(text.length + 1);
  data.set(text);
  return { what: CMDLINE.what, address: CMDLINE.address, size: data.length, data };
}

/**
 * The characters without a terminating zero, at most `room` of them.
 * @throws {BootError} for a text that would not reach the guest unchanged.
 */
export function encodeCmdline(cmdline: string, room: number, kernelName: string): Uint8Array {
  if (cmdline.length > room) {
    throw new BootError(`command line: ${cmdline.length} characters; ${kernelName} accepts at most ${room}`);
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
