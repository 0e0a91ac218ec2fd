/** `-trace net`: what the guest's networks carry and decide, a line for each frame and each decision. */
import type { ConnectionRecord, FrameRecord } from "../../trace/format.ts";
import type { RecordSource } from "./trace-file.ts";

/** Prints until the trace ends. */
export async function printNetwork(records: RecordSource, notice: (text: string) => void): Promise<void> {
  for await (const record of records) {
    if (record.kind === "frame") notice(frameLine(record));
    else if (record.kind === "connection") notice(connectionLine(record));
    else if (record.kind === "end" && record.lostFrames !== undefined) {
      notice(`vmexit: ${record.lostFrames} more frames were not printed: they came too fast\n`);
    }
  }
}

/** "<" is what the guest sends, ">" what it receives, "*" a decision of its network. */
function frameLine({ t, card, direction, length, text }: FrameRecord): string {
  return `net ${seconds(t)} ${card} ${direction === "out" ? "<" : ">"} ${text} (${length} bytes)\n`;
}

function connectionLine({ t, card, protocol, target, verdict, detail }: ConnectionRecord): string {
  return `net ${seconds(t)} ${card} * ${protocol} ${target}: ${verdict}${detail === undefined ? "" : ` (${detail})`}\n`;
}

function seconds(ns: number): string {
  return (ns / 1e9).toFixed(6);
}
