/** Device types whose code only those machines load that have one. */
import type { VirtioPart } from "./parts/virtio-mmio.ts";

/** By kind, as in a spec. */
export type LateParts = ReadonlyMap<string, VirtioPart<object>>;

const LATE: Readonly<Record<string, () => Promise<VirtioPart<object>>>> = {
  "virtio-net": async () => (await import("./parts/virtio-net.ts")).virtioNet,
};

/** @param kinds of the machine's devices */
export async function loadLateParts(kinds: readonly string[]): Promise<LateParts> {
  const parts = new Map<string, VirtioPart<object>>();
  for (const kind of new Set(kinds)) {
    if (Object.hasOwn(LATE, kind)) parts.set(kind, await LATE[kind]());
  }
  return parts;
}
