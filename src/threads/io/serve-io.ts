/** A thread that serves the devices of several machines: begins their roles, and runs until the last one has ended. */
import type { Board } from "../../machine/board.ts";
import { EventFd } from "../../sys/event.ts";
import { CONTROL_WORDS, Control, END, RUN } from "../control.ts";
import type { Inbox, SeatMessage, SeatOrder } from "../inbox.ts";
import { beginSeats, type SeatPort } from "../serve-seats.ts";
import type { IoRole, ThreadData } from "../shared.ts";
import { freeViews } from "../views.ts";
import { BusyPoll } from "./busy-poll.ts";
import { EpollPoller } from "./epoll-poller.ts";
import { GuardedTask } from "./guarded-task.ts";
import { ioGroup } from "./io-group.ts";
import type { OpenNetwork } from "./networks.ts";
import { Reactor, type TaskGroup } from "./reactor.ts";

/** @param post sends a message to the owner of a seat */
export async function serveIo(
  first: SeatOrder,
  inbox: Inbox,
  post: (message: SeatMessage) => void,
  boardOf: (data: ThreadData) => Promise<Board>,
  networksFor: (role: IoRole) => Promise<OpenNetwork | undefined>,
): Promise<void> {
  const { role } = first.data;
  if (role.kind !== "io") return;
  const poller = new EpollPoller();
  const clock = () => performance.now();
  const reactor = new Reactor(poller, clock, new BusyPoll(clock, role.polling));
  const wake = EventFd.attach(first.wake);
  /** A new seat, or one that has ended. */
  let hasChanged = false;
  const thread = threadGroup(wake, () => {
    hasChanged = true;
  });
  reactor.add(thread);

  let seats = 0;
  const begin = async ({ data }: SeatOrder, port: SeatPort) => {
    const { role } = data;
    if (role.kind !== "io") return;
    const take = () => {
      const order = port.takeOrder();
      return order !== undefined && "part" in order ? order : undefined;
    };
    const board = await boardOf(data);
    const networks = await networksFor(role);
    const group = ioGroup(board, data, role, port.post, take, networks);
    const tasks = group.tasks.map((task) => new GuardedTask(task, port.failed));
    const ended = () => {
      group.ended?.();
      seats--;
      hasChanged = true;
      wake.signal(); // without its last seat the thread is not to sleep
      port.free();
    };
    seats++;
    reactor.add({ ...group, tasks, ended });
  };
  await beginSeats(first, inbox, post, begin);
  while (seats > 0) {
    reactor.step();
    if (!hasChanged) continue;
    await freeViews();
    hasChanged = false;
    await beginSeats(inbox.takeSeat(), inbox, post, begin);
  }
  thread.control.request(END);
  reactor.run();
  poller.close();
  wake.close();
}

/** The thread itself, which is woken for new seats. */
function threadGroup(wake: EventFd, drainInbox: () => void): TaskGroup {
  const control = new Control(new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS)));
  control.request(RUN);
  return { control, tasks: [], wake, drainInbox, parked() {} };
}
