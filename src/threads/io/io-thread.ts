/** The io thread of one machine: runs its tasks in a reactor. */
import { EpollPoller } from "./epoll-poller.ts";
import { ioGroup } from "./io-group.ts";
import { Reactor } from "./reactor.ts";

/** @param role what ioGroup makes its tasks from */
export function runIoThread(...role: Parameters<typeof ioGroup>): void {
  const poller = new EpollPoller();
  const reactor = new Reactor(poller, () => performance.now());
  reactor.add(ioGroup(...role));
  reactor.run();
  poller.close();
}
