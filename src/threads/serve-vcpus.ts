/** A thread that serves vCPUs of several machines: begins their roles, and runs until the last one has ended. */
import { ExitQueue } from "../kvm/exit-queue.ts";
import type { Board } from "../machine/board.ts";
import { type Inbox, type SeatMessage, type SeatOrder, seatFailure } from "./inbox.ts";
import type { ThreadData, VcpuRole } from "./shared.ts";
import { VcpuServer } from "./vcpu-server.ts";
import { VcpuSide } from "./vcpu-side.ts";
import { freeViews } from "./views.ts";

/** @param post sends a message to the owner of a seat */
export async function serveVcpus(
  first: SeatOrder,
  inbox: Inbox,
  post: (message: SeatMessage) => void,
  boardOf: (data: ThreadData) => Promise<Board>,
): Promise<void> {
  const queue = ExitQueue.attach(first.wake);
  const server = new VcpuServer(queue);
  const begin = async ({ seat, data }: SeatOrder, role: VcpuRole) => {
    const ended = () => {
      inbox.forget(seat);
      post({ seat, message: { kind: "free" } });
    };
    const failed = (error: unknown) => post({ seat, message: seatFailure(error) });
    const take = () => {
      const order = inbox.takeOrder(seat);
      return order !== undefined && "ring" in order ? order : undefined;
    };
    try {
      const board = await boardOf(data);
      const side = new VcpuSide(board, data, role, (message) => post({ seat, message }), take);
      server.add(seat, { side, ended, failed });
    } catch (error) {
      failed(error);
      ended();
    }
  };
  const beginAll = async (order: SeatOrder | undefined) => {
    for (let next = order; next !== undefined; next = inbox.takeSeat()) {
      const { role } = next.data;
      if (role.kind === "vcpu") await begin(next, role);
    }
  };
  await beginAll(first);
  while (server.size > 0) {
    if (!server.step()) continue;
    await freeViews();
    await beginAll(inbox.takeSeat());
  }
  queue.close();
}
