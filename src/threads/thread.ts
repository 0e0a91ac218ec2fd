/**
 * The entry point of every thread of a machine: it waits for its role, carries it
 * out, and waits for the next one. See spare.ts for why the role comes late.
 */
import { parentPort, receiveMessageOnPort } from "node:worker_threads";
import type { Board } from "../machine/board.ts";
import { loadBoard } from "../machine/load-board.ts";
import type { OpenNetwork } from "./io/networks.ts";
import type { IoRole, Message, PartOrder, Role, ThreadData, TraceOrder } from "./shared.ts";
import { runVcpuThread } from "./vcpu-thread.ts";

if (parentPort === null) throw new Error("thread.js is for vmexit's own threads");
const port = parentPort;
const post = (message: Message) => port.postMessage(message);
// Without waiting: a thread with a role never returns to its event loop.
const take = <T extends TraceOrder | PartOrder>(): T | undefined => receiveMessageOnPort(port)?.message;

/** An order that came too late for the last role is ignored. */
function waitForRole(): void {
  port.once("message", (message: ThreadData | TraceOrder | PartOrder) => {
    if ("role" in message) void play(message, message.role);
    else waitForRole();
  });
}
waitForRole();

async function play(data: ThreadData, role: Role): Promise<void> {
  const board = await loadBoard(
    data.spec.board,
    data.spec.devices.map(({ kind }) => kind),
  );
  if (role.kind === "vcpu") runVcpuThread(board, data, role, post, take<TraceOrder>);
  else await runIo(board, data, role);
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
