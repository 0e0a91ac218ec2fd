/** The io thread of one machine: runs its tasks in a reactor. */
import type { Board } from "../../machine/board.ts";
import type { IoRole, Message, PartOrder, ThreadData } from "../shared.ts";
import { EpollPoller } from "./epoll-poller.ts";
import { ioGroup } from "./io-group.ts";
import type { OpenNetwork } from "./networks.ts";
import { Reactor } from "./reactor.ts";

/**
 * @param take returns the next order, if one was sent
 * @param openNetwork for a machine that has network cards
 */
export function runIoThread(
  board: Board,
  data: ThreadData,
  role: IoRole,
  post: (message: Message) => void,
  take: () => PartOrder | undefined,
  openNetwork: OpenNetwork | undefined,
): void {
  const poller = new EpollPoller();
  const reactor = new Reactor(poller, () => performance.now());
  reactor.add(ioGroup(board, data, role, post, take, openNetwork));
  reactor.run();
  poller.close();
}
