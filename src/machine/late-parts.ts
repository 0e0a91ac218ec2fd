/** Device types whose code only those machines load that have one. */
import type { Part } from "./part.ts";
import type { HpetConfig } from "./parts/hpet.ts";
import type { VirtioPart } from "./parts/virtio-mmio.ts";
import type { PciPart } from "./pci-part.ts";

/** A virtio device, for the transport that the board has, a function for a PCI bus, or a part with a place of its own. */
export type LatePart =
  | { readonly virtio: VirtioPart<object> }
  | { readonly pci: PciPart<object> }
  | { readonly part: Part<HpetConfig> };

/** By kind, as in a spec. */
export type LateParts = ReadonlyMap<string, LatePart>;

const LATE: Readonly<Record<string, () => Promise<LatePart>>> = {
  "virtio-scsi": async () => ({ virtio: (await import("./parts/virtio-scsi.ts")).virtioScsi }),
  "virtio-net": async () => ({ virtio: (await import("./parts/virtio-net.ts")).virtioNet }),
  hpet: async () => ({ part: (await import("./parts/hpet.ts")).hpet }),
  "virtio-vsock": async () => ({ virtio: (await import("./parts/virtio-vsock.ts")).virtioVsock }),
  e1000: async () => ({ pci: (await import("./parts/e1000.ts")).e1000 }),
};

/** @param kinds of the machine's devices */
export async function loadLateParts(kinds: readonly string[]): Promise<LateParts> {
  const parts = new Map<string, LatePart>();
  for (const kind of new Set(kinds)) {
    if (Object.hasOwn(LATE, kind)) parts.set(kind, await LATE[kind]());
  }
  return parts;
}
