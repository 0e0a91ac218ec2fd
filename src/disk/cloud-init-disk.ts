/**
 * A seed for cloud-init, as its NoCloud data source wants it: a disk labelled cidata with user-data, meta-data and perhaps
 * network-config. CirrOS and others read the same.
 */
import type { DiskSource } from "./disk-source.ts";
import { isoImage } from "./iso9660.ts";

export interface CloudInitFiles {
  /** `#cloud-config` and YAML, or a script. Default: an empty `#cloud-config`. */
  readonly userData?: string | undefined;
  /** YAML. Default: an instance-id. */
  readonly metaData?: string | undefined;
  /** YAML. Default: the file is missing, and cloud-init asks for DHCP on the first card. */
  readonly networkConfig?: string | undefined;
}

const LABEL = "cidata";

export function cloudInitDisk({
  userData = "#cloud-config\n",
  metaData = "instance-id: i-vmexit\n",
  networkConfig,
}: CloudInitFiles): DiskSource {
  const files = new Map([
    ["meta-data", Buffer.from(metaData)],
    ["user-data", Buffer.from(userData)],
  ]);
  if (networkConfig !== undefined) files.set("network-config", Buffer.from(networkConfig));
  const image = isoImage(LABEL, files);
  return {
    size: image.length,
    readOnly: true,
    read: (offset, views) => {
      let at = offset;
      for (const view of views) {
        view.set(image.subarray(at, at + view.length));
        at += view.length;
      }
    },
  };
}
