/** The table of snapshots that info and snapshot print. Source: QEMU 7.2, block/qapi.c (bdrv_snapshot_dump). */
import type { StoredSnapshot } from "../../images/qcow2/snapshot-table.ts";
import { sizeText } from "./sizes.ts";

export function snapshotTable(snapshots: readonly StoredSnapshot[]): string {
  const lines = snapshots.map((snapshot) =>
    row(
      snapshot.id,
      snapshot.name,
      sizeText(snapshot.vmStateSize),
      dateText(snapshot.seconds),
      clockText(snapshot.vmClock),
      String(icountOf(snapshot) ?? ""),
    ),
  );
  return `Snapshot list:\n${[row("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT"), ...lines].join("\n")}\n`;
}

/** Instructions that the guest had executed, where somebody counted. Behind the extra data that is known. */
export function icountOf({ otherExtra }: StoredSnapshot): bigint | undefined {
  if (otherExtra.length < 8) return undefined;
  const count = new DataView(otherExtra.buffer, otherExtra.byteOffset).getBigInt64(0);
  return count === -1n ? undefined : count;
}

function row(id: string, tag: string, size: string, date: string, clock: string, icount: string): string {
  const words = `${id.padEnd(9)} ${tag.padEnd(16)} ${size.padStart(8)}`;
  return `${words}${date.padStart(20)}${clock.padStart(13)}${icount.padStart(11)}`;
}

/** In local time. */
function dateText(seconds: number): string {
  const date = new Date(seconds * 1000);
  const days = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${days} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":")}`;
}

function clockText(nanoseconds: number): string {
  const seconds = Math.floor(nanoseconds / 1_000_000_000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(two).join(":");
  return `${parts}.${String(Math.floor(nanoseconds / 1_000_000) % 1000).padStart(3, "0")}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
