/**
 * Whether a machine that was made from options is the one that a snapshot is of:
 * what its guest can see of it must be the same.
 */

/** Fields of a device's configuration that the guest cannot see. */
const OF_THE_HOST = new Set([
  ...["file", "source", "format", "otherFiles", "cacheBytes", "snapshot", "cache", "aio", "discard"],
  ...["detectZeroes", "rerror", "werror", "throttling", "id", "bootOrder", "bootMenu", "bootStrict", "uuid"],
]);
const CD_DRIVES = new Set<unknown>(["ide-cd", "scsi-cd"]);
/** Of a CD drive, whose registers say what was in it: the spec is of when the machine was switched on. */
const OF_THE_MEDIUM = new Set(["size", "blockSize", "trayOpen"]);

/** @returns the first difference, as a phrase that names the field; undefined if there is none */
export function specDifference(saved: unknown, made: object): string | undefined {
  // What was saved went through JSON, which knows no `undefined`.
  const now: unknown = JSON.parse(JSON.stringify(made));
  return difference(saved, now, "");
}

function difference(saved: unknown, now: unknown, path: string, isOfCd = false): string | undefined {
  if (!isObject(saved) || !isObject(now)) {
    if (Object.is(saved, now)) return undefined;
    // What the version that saved did not know, and this machine does not have.
    if (saved === undefined && now === false) return undefined;
    return `${path} is ${shown(saved)} in the snapshot, and ${shown(now)} in this machine`;
  }
  const isCd = isOfCd || CD_DRIVES.has(Reflect.get(now, "kind"));
  for (const key of new Set([...Object.keys(saved), ...Object.keys(now)])) {
    if (OF_THE_HOST.has(key) || (isCd && OF_THE_MEDIUM.has(key))) continue;
    const inner = path === "" ? key : /^\d+$/.test(key) ? `${path}[${key}]` : `${path}.${key}`;
    const found = difference(Reflect.get(saved, key), Reflect.get(now, key), inner, isCd);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function shown(value: unknown): string {
  return isObject(value) ? "something" : value === undefined ? "missing" : JSON.stringify(value);
}
