/** Boards by name. A board's module is loaded only if a machine uses it. */
import type { Board } from "./board.ts";
import { loadLateParts } from "./late-parts.ts";

/**
 * Loads the board of that name, and what devices of these kinds need besides. A program with
 * a board of its own gives the "file:" URL of a module that exports `board`.
 * @throws {RangeError} if there is no board of that name
 */
export async function loadBoard(name: string, kinds: readonly string[]): Promise<Board> {
  switch (name) {
    case "microvm":
      return withParts((await import("./boards/microvm.ts")).microvm, kinds);
    case "pc":
      return withParts((await import("./boards/pc.ts")).pc, kinds);
    default:
      if (name.startsWith("file:")) return (await import(name)).board;
      throw new RangeError(`there is no board "${name}"`);
  }
}

async function withParts(board: Board, kinds: readonly string[]): Promise<Board> {
  const late = await loadLateParts(kinds);
  return late.size === 0 ? board : { ...board, parts: (spec) => board.parts(spec, late) };
}
