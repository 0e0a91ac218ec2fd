/** What the functions that change an open image (resize.ts, snapshots.ts) use of it: a Qcow2Image has all of this. */
import type { DiskImage } from "../../disk/image.ts";
import type { HostFile } from "../../sys/file.ts";
import type { ClusterMap } from "./cluster-map.ts";
import type { Eraser } from "./eraser.ts";
import type { Header } from "./header.ts";
import type { Metadata } from "./metadata.ts";

export interface Qcow2Parts extends DiskImage {
  readonly file: HostFile;
  readonly header: Header;
  readonly metadata: Metadata;
  readonly map: ClusterMap;
  readonly eraser: Eraser;
}
