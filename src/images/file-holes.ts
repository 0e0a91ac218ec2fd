/** Holes of the host's file. */
import type { HostFile } from "../sys/file.ts";

/** A run of a file that is a hole, or is not. */
export interface FileRun {
  readonly hole: boolean;
  /** Bytes. */
  readonly length: number;
}

/** The run that begins at `offset`, at most `most` bytes long. */
export function fileRunAt(file: HostFile, offset: number, most: number): FileRun {
  const nextData = file.nextData(offset);
  if (nextData > offset) return { hole: true, length: Math.min(most, nextData - offset) };
  const end = file.nextHole(offset);
  return { hole: false, length: end > offset ? Math.min(most, end - offset) : most };
}
