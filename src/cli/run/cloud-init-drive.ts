/** The drive that `-cloud-init` adds. */
import { readFile } from "node:fs/promises";
import type { DriveOptions } from "../../config/devices/virtio-blk.ts";
import { cloudInitDisk } from "../../disk/cloud-init-disk.ts";
import type { CloudInitPaths } from "./request.ts";

export async function cloudInitDrive(paths: CloudInitPaths): Promise<DriveOptions> {
  const [userData, metaData, networkConfig] = await Promise.all(
    [paths["user-data"], paths["meta-data"], paths["network-config"]].map((path) =>
      path === undefined ? undefined : readFile(path, "utf8"),
    ),
  );
  return { source: cloudInitDisk({ userData, metaData, networkConfig }), readOnly: true };
}
