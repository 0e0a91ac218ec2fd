/** Which device answers at which address of a machine, as data and as text. */
import type { AddressSpace } from "../bus/address-space.ts";
import type { RamRegion } from "../memory/guest-memory.ts";
import type { MapRange } from "../trace/format.ts";

/** I/O ports, then memory; lowest address first. What KVM itself answers (its interrupt controllers) is not listed. */
export function addressMap(
  ports: AddressSpace,
  memory: AddressSpace,
  ram: readonly RamRegion[],
): readonly MapRange[] {
  const devices = (space: MapRange["space"], { windows }: AddressSpace) =>
    windows.map(({ name, address, length }): MapRange => ({ space, name, address, length, what: "device" }));
  const regions = ram.map(
    ({ address, size }): MapRange => ({ space: "memory", name: "ram", address, length: size, what: "ram" }),
  );
  const inMemory = [...regions, ...devices("memory", memory)].sort((a, b) => a.address - b.address);
  return [...devices("port", ports), ...inMemory];
}

/** One range a line. */
export function addressMapText(map: readonly MapRange[]): string {
  const lines = (space: MapRange["space"]) => {
    const rows = map.filter((range) => range.space === space);
    const width = Math.max(0, ...rows.map((range) => rangeText(range).length));
    return rows.map((range) => `${rangeText(range).padEnd(width)}  ${range.name}\n`).join("");
  };
  return `${lines("port")}${lines("memory")}`;
}

function rangeText({ address, length }: MapRange): string {
  const first = `0x${address.toString(16)}`;
  return length === 1 ? first : `${first}-0x${(address + length - 1).toString(16)}`;
}
