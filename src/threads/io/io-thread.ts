/** The io thread of one machine: runs its tasks in a reactor. */
import { BusyPoll } from "./busy-poll.ts";
import { EpollPoller } from "./epoll-poller.ts";
import { ioGroup } from "./io-group.ts";
import { Reactor } from "./reactor.ts";

/** @param parts what ioGroup makes its tasks from */
export function runIoThread(...parts: Parameters<typeof ioGroup>): void {
  const [, , { polling }] = parts;
  const poller = new EpollPoller();
  const clock = () => performance.now();
  const reactor = new Reactor(poller, clock, new BusyPoll(clock, polling));
  reactor.add(ioGroup(...parts));
  reactor.run();
  poller.close();
}
