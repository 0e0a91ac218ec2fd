/** The table of snapshots that info and snapshot print. Source: QEMU 11.1, block/qapi.c (bdrv_snapshot_dump). */
import type { StoredSnapshot } from "../../images/qcow2/snapshot-table.ts";
import { localTime, twoDigits } from "../local-time.ts";
import { sizeText } from "./sizes.ts";

export function snapshotTable(snapshots: readonly StoredSnapshot[]): string {
  const lines = snapshots.map((snapshot) =>
    row(
      snapshot.id,
      snapshot.name,
      sizeText(snapshot.vmStateSize),
      localTime(new Date(snapshot.seconds * 1000)),
      clockText(snapshot.vmClock),
      String(icountOf(snapshot) ?? "--"),
    ),
  );
  return `Snapshot list:\n${[row("ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT"), ...lines].join("\n")}\n`;
}

/** Instructions that the guest had executed, if they were counted. */
export function icountOf({ otherExtra }: StoredSnapshot): bigint | undefined {
  if (otherExtra.length < 8) return undefined;
  const count = new DataView(otherExtra.buffer, otherExtra.byteOffset).getBigInt64(0);
  return count === -1n ? undefined : count;
}

function row(id: string, tag: string, size: string, date: string, clock: string, icount: string): string {
  const words = `${id.padEnd(7)} ${tag.padEnd(16)} ${size.padStart(8)}`;
  return `${words} ${date.padStart(19)} ${clock.padStart(15)} ${icount.padStart(10)}`;
}

function clockText(nanoseconds: number): string {
  const seconds = Math.floor(nanoseconds / 1_000_000_000);
  const hours = String(Math.floor(seconds / 3600)).padStart(4, "0");
  const parts = [hours, twoDigits(Math.floor(seconds / 60) % 60), twoDigits(seconds % 60)].join(":");
  return `${parts}.${String(Math.floor(nanoseconds / 1_000_000) % 1000).padStart(3, "0")}`;
}
