/**
 * A thread of its own for a vCPU: makes its copy of the machine, then runs the guest
 * whenever it is asked to. It does not return to its event loop before the machine
 * ends: it posts messages, and takes orders only by `take`.
 */
import type { Board } from "../machine/board.ts";
import type { Message, ThreadData, TraceOrder, VcpuRole } from "./shared.ts";
import { VcpuSide } from "./vcpu-side.ts";

/** @param take returns the next order, if one was sent */
export function runVcpuThread(
  board: Board,
  data: ThreadData,
  role: VcpuRole,
  post: (message: Message) => void,
  take: () => TraceOrder | undefined,
): void {
  const side = new VcpuSide(board, data, role, post, take);
  while (side.control.sleepWhileParked()) side.run();
  side.close();
}
