/**
 * The thread of a RemoteDisk: it owns the connection, and executes requests.
 * Whatever happens here, there is an answer: the other thread sleeps until then.
 */

import { parentPort, workerData } from "node:worker_threads";
import { EIO } from "../base/errno.ts";
import { errnoOf, sourceFacts } from "../disk/disk-source.ts";
import { connectNbd } from "./connect.ts";
import type { NbdDisk } from "./nbd-disk.ts";
import {
  BLOCK_SIZE,
  CallMemory,
  EXTENT_HOLE,
  EXTENT_LENGTH,
  EXTENT_ZERO,
  putSentence,
  READ_ONLY,
  type RemoteCall,
  type RemoteStart,
  SIZE,
} from "./remote-disk.ts";

if (parentPort === null) throw new Error("remote-thread.js is for vmexit's own threads");
const port = parentPort;
const { buffer, name }: RemoteStart = workerData;
const memory = new CallMemory(buffer);
const { numbers, data } = memory;
/** Data that is read ahead. */
let ahead: { offset: number; bytes: Uint8Array; done: Promise<boolean> } | undefined;

process.once("exit", () => memory.call.end(EIO));

void start().catch((error: unknown) => {
  putSentence(memory, error instanceof Error ? error.message : String(error));
  memory.call.reply(EIO);
});

async function start(): Promise<void> {
  const disk = await connectNbd(name);
  const { size, blockSize, readOnly } = sourceFacts(disk);
  numbers[SIZE] = size;
  numbers[BLOCK_SIZE] = blockSize;
  numbers[READ_ONLY] = readOnly ? 1 : 0;
  port.on("message", (call: RemoteCall) => {
    if (call.kind === "prefetch") {
      prefetch(disk, call);
      return;
    }
    perform(disk, call).then(
      () => memory.call.reply(0),
      (error: unknown) => memory.call.reply(errnoOf(error)),
    );
  });
  memory.call.reply(0);
}

function prefetch(disk: NbdDisk, { offset, length }: RemoteCall): void {
  const bytes = new Uint8Array(length);
  const done = disk.read(offset, [bytes]).then(
    () => true,
    () => false, // the read that needs it reports the error
  );
  ahead = { offset, bytes, done };
}

/** Answers a read from data that was read ahead. False if that is another range. */
async function takeAhead(offset: number, length: number): Promise<boolean> {
  const fetched = ahead;
  ahead = undefined;
  if (fetched?.offset !== offset || fetched.bytes.length !== length || !(await fetched.done)) return false;
  data.set(fetched.bytes);
  return true;
}

/** Requests with an answer: all except "prefetch". */
async function perform(disk: NbdDisk, { kind, offset, length, mayUnmap }: RemoteCall): Promise<void> {
  if (kind !== "read" && kind !== "extentAt") ahead = undefined; // the data may have changed
  switch (kind) {
    case "read":
      if (await takeAhead(offset, length)) return;
      return disk.read(offset, [data.subarray(0, length)]);
    case "write":
      return disk.write(offset, [data.subarray(0, length)]);
    case "flush":
      return disk.flush();
    case "discard":
      return disk.discard(offset, length);
    case "writeZeroes":
      return disk.writeZeroes(offset, length, mayUnmap);
    case "extentAt": {
      const extent = await disk.extentAt(offset, length);
      numbers[EXTENT_LENGTH] = extent.length;
      numbers[EXTENT_ZERO] = extent.zero ? 1 : 0;
      numbers[EXTENT_HOLE] = extent.hole ? 1 : 0;
      return;
    }
    case "close":
      return disk.close();
  }
}
