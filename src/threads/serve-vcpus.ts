/** A thread that serves vCPUs of several machines: begins their roles, and runs until the last one has ended. */
import { ExitQueue } from "../kvm/exit-queue.ts";
import type { Board } from "../machine/board.ts";
import type { Inbox, SeatMessage, SeatOrder } from "./inbox.ts";
import { beginSeats, type SeatPort } from "./serve-seats.ts";
import type { ThreadData } from "./shared.ts";
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
  const begin = async ({ seat, data }: SeatOrder, port: SeatPort) => {
    const { role } = data;
    if (role.kind !== "vcpu") return;
    const take = () => {
      const order = port.takeOrder();
      return order !== undefined && "ring" in order ? order : undefined;
    };
    const side = new VcpuSide(await boardOf(data), data, role, port.post, take);
    server.add(seat, { side, ended: port.free, failed: port.failed });
  };
  await beginSeats(first, inbox, post, begin);
  while (server.size > 0) {
    if (!server.step()) continue;
    await freeViews();
    await beginSeats(inbox.takeSeat(), inbox, post, begin);
  }
  queue.close();
}
