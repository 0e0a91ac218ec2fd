/** What of a trace's frames and connections a report shows: sums, and the first of them one by one. */
import { type ConnectionRecord, type FrameRecord, NetworkCounting } from "vmexit/trace";
import { MAX_CONNECTIONS, MAX_EVENTS, type NetworkData, type NetworkEventRow } from "./report-data.ts";

export class NetworkRecorder {
  /** Frames that the trace has lost. */
  lost = 0;
  readonly #counting = new NetworkCounting();
  readonly #events: NetworkEventRow[] = [];
  #more = 0;

  add(record: FrameRecord | ConnectionRecord): void {
    this.#counting.add(record);
    if (this.#events.length >= MAX_EVENTS) this.#more++;
    else this.#events.push(eventOf(record));
  }

  toData(): NetworkData | undefined {
    const counted = this.#counting.result(MAX_CONNECTIONS);
    if (counted === undefined) return undefined;
    return { ...counted, events: this.#events, more: this.#more, lost: this.lost };
  }
}

function eventOf(record: FrameRecord | ConnectionRecord): NetworkEventRow {
  const { t, card } = record;
  if (record.kind === "frame") {
    const { direction, text, length } = record;
    return { t, card, direction, text, length };
  }
  const { protocol, target, verdict, detail } = record;
  const text = `${protocol} ${target}: ${verdict}${detail === undefined ? "" : ` (${detail})`}`;
  return { t, card, direction: "decision", text, length: 0 };
}
