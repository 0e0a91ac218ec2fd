/**
 * How the files of an image are opened. By default by name, where and when the
 * image is opened. A machine opens the files of its drives once, before it starts:
 * what it found then is kept, and other threads attach to it. So its io thread
 * opens nothing (a sandbox may forbid that), and after a reset a drive is still
 * the file that it was.
 */
import { statSync } from "node:fs";
import { HostFile, type HostFileOptions, type SharedFile } from "../sys/file.ts";
import { hostPath } from "../sys/host-path.ts";
import { type OtherFiles, resolveOtherFile } from "./other-file.ts";

export interface Files {
  /** @throws {SystemError} if it cannot be opened */
  open(path: string, options: Pick<HostFileOptions, "readOnly" | "direct">): HostFile;
  /** Two paths of one file have one identity. @throws {SystemError} */
  identity(path: string): string;
  /** The path of a file that an image names: see resolveOtherFile. @throws {ImageError} */
  resolve(image: string, name: string, top: string, policy: OtherFiles, what: string): string;
}

export const HOST_FILES: Files = {
  open: (path, options) => HostFile.open(path, options),
  identity(path) {
    const { dev, ino } = statSync(hostPath(path), { bigint: true });
    return `${dev}:${ino}`;
  },
  resolve: resolveOtherFile,
};

/** What was found, as data: it is sent to the thread that uses the files. */
export interface FoundFiles {
  readonly opened: ReadonlyMap<string, SharedFile>;
  readonly identities: ReadonlyMap<string, string>;
  readonly resolved: ReadonlyMap<string, string>;
}

/** Opens each file once, and keeps it open until it is closed itself. */
export class KeptFiles implements Files {
  readonly #kept = new Map<string, HostFile>();
  readonly #identities = new Map<string, string>();
  readonly #resolved = new Map<string, string>();

  open(path: string, options: Pick<HostFileOptions, "readOnly" | "direct">): HostFile {
    const key = keyOf(path, options);
    const kept = this.#kept.get(key) ?? HostFile.open(path, options);
    this.#kept.set(key, kept);
    return HostFile.attach(kept.shared);
  }

  identity(path: string): string {
    return taken(this.#identities, path, () => HOST_FILES.identity(path));
  }

  resolve(image: string, name: string, top: string, policy: OtherFiles, what: string): string {
    return taken(this.#resolved, resolvedKey(image, name, what), () =>
      HOST_FILES.resolve(image, name, top, policy, what),
    );
  }

  get found(): FoundFiles {
    const opened = new Map([...this.#kept].map(([key, file]) => [key, file.shared]));
    return { opened, identities: this.#identities, resolved: this.#resolved };
  }

  close(): void {
    for (const file of this.#kept.values()) file.close();
    this.#kept.clear();
  }
}

/** The files that another thread found. Nothing else can be opened. */
export function attachFiles({ opened, identities, resolved }: FoundFiles): Files {
  return {
    open: (path, options) => HostFile.attach(found(opened, keyOf(path, options), path)),
    identity: (path) => found(identities, path, path),
    resolve: (image, name, _top, _policy, what) => found(resolved, resolvedKey(image, name, what), name),
  };
}

function keyOf(path: string, { readOnly = false, direct = false }: HostFileOptions): string {
  return `${readOnly ? "r" : "w"}${direct ? "d" : "-"} ${path}`;
}

function resolvedKey(image: string, name: string, what: string): string {
  return [image, name, what].join("\0");
}

function taken(map: Map<string, string>, key: string, make: () => string): string {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}

function found<V>(map: ReadonlyMap<string, V>, key: string, path: string): V {
  const value = map.get(key);
  if (value === undefined) throw new Error(`${path} was not among the files that the machine opened`);
  return value;
}
