/**
 * The registers of a machine's parts as sections: the blocks of its arena, by
 * owner and layout. Nothing here knows what a register means.
 */
import type { Arena, Block } from "../base/arena.ts";
import type { Section } from "./sections.ts";
import { SnapshotError } from "./snapshot-error.ts";

const PREFIX = "part/";

/** Copies every block. @throws {Error} if a thread is inside a device: a bug of the caller */
export function saveParts(arena: Arena): Section[] {
  for (const lock of arena.locks) {
    if (!lock.tryAcquire()) throw new Error("a device is in use while its registers are saved");
    lock.release();
  }
  return named(arena.blocks).map(([name, { version, offset, length }]) => {
    return { name, version, bytes: new Uint8Array(arena.buffer, offset, length).slice() };
  });
}

/**
 * Fills every block from its section.
 *
 * @param path for messages; @param made which version of vmexit made the snapshot
 * @throws {SnapshotError} if sections and blocks are not the same; the arena is as before then
 */
export function loadParts(
  arena: Arena,
  sections: ReadonlyMap<string, Section>,
  path: string,
  made: string,
): void {
  const blocks = new Map(named(arena.blocks));
  for (const [name, { layout, owner, version, length }] of blocks) {
    const section = sections.get(name);
    if (section === undefined) throw new SnapshotError(path, `${owner}: its registers "${name}" are missing`);
    if (section.version !== version || section.bytes.length !== length) {
      throw new SnapshotError(
        path,
        `${owner}: its registers are "${layout}" version ${section.version} (${section.bytes.length} bytes), as vmexit ${made} had them; this one has version ${version} (${length} bytes)`,
      );
    }
  }
  for (const name of sections.keys()) {
    if (name.startsWith(PREFIX) && !blocks.has(name)) {
      throw new SnapshotError(path, `it has registers "${name}", which this machine does not`);
    }
  }
  for (const [name, { offset, length }] of blocks) {
    const bytes = sections.get(name)?.bytes ?? new Uint8Array();
    new Uint8Array(arena.buffer, offset, length).set(bytes);
  }
}

/** An owner may have several blocks of one layout: the queues of a device. */
function named(blocks: readonly Block[]): [name: string, block: Block][] {
  const seen = new Map<string, number>();
  return blocks.map((block) => {
    const name = `${PREFIX}${block.owner}/${block.layout}`;
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    return [count === 0 ? name : `${name}/${count}`, block];
  });
}
