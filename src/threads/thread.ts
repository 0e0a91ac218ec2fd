/**
 * The entry point of every thread of a machine: it waits for its role, carries it
 * out, and waits for the next one. See spare.ts for why the role comes late.
 */
import { parentPort, receiveMessageOnPort } from "node:worker_threads";
import type { Board } from "../machine/board.ts";
import { loadBoard } from "../machine/load-board.ts";
import { saveCode } from "../sys/code-cache.ts";
import { type Delivery, type IdleMessage, Inbox, type SeatMessage, type SeatOrder } from "./inbox.ts";
import type { OpenNetwork } from "./io/networks.ts";
import type { IoRole, Message, PartOrder, Role, ThreadData, TraceOrder } from "./shared.ts";
import { runVcpuThread } from "./vcpu-thread.ts";

if (parentPort === null) throw new Error("thread.js is for vmexit's own threads");
const port = parentPort;
const post = (message: Message) => port.postMessage(message);
// Without waiting: a thread with a role never returns to its event loop.
const take = <T extends TraceOrder | PartOrder | Delivery>(): T | undefined =>
  receiveMessageOnPort(port)?.message;

/** An order that came too late for the last role is ignored. */
function waitForRole(): void {
  port.once("message", (message: ThreadData | TraceOrder | PartOrder | Delivery) => {
    if ("role" in message) void play(message, message.role);
    else if ("seat" in message && message.kind === "seat") void serve(message);
    else waitForRole();
  });
}
waitForRole();

const boardOf = ({ spec }: ThreadData) =>
  loadBoard(
    spec.board,
    spec.devices.map(({ kind }) => kind),
  );

/** Serves several machines, until the last one has ended. */
async function serve(first: SeatOrder): Promise<void> {
  const inbox = new Inbox(take<Delivery>);
  const send = (message: SeatMessage) => port.postMessage(message);
  if (first.data.role.kind === "vcpu") {
    const { serveVcpus } = await import("./serve-vcpus.ts");
    await serveVcpus(first, inbox, send, boardOf);
  } else {
    const { serveIo } = await import("./io/serve-io.ts");
    await serveIo(first, inbox, send, boardOf, networksFor);
  }
  waitForRole();
  const idle: IdleMessage = {};
  port.postMessage(idle);
}

async function play(data: ThreadData, role: Role): Promise<void> {
  const board = await boardOf(data);
  if (role.kind === "vcpu") {
    runVcpuThread(board, data, role, post, take<TraceOrder>);
    saveCode(); // only now: what serves exits is compiled, which an io thread does not do
  } else await runIo(board, data, role);
  waitForRole();
  post({ kind: "free" });
}

/** Loaded only for this role: a vCPU thread does not need the modules for disks. */
async function runIo(board: Board, data: ThreadData, role: IoRole): Promise<void> {
  const { runIoThread } = await import("./io/io-thread.ts");
  runIoThread(board, data, role, post, take<PartOrder>, await networksFor(role));
}

async function networksFor({ networks }: IoRole): Promise<OpenNetwork | undefined> {
  if (networks.size === 0) return undefined;
  const { openNetwork } = await import("./io/networks.ts");
  return openNetwork;
}
