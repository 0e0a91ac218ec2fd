/** Boards by name. A board's module is loaded only if a machine uses it. */
import type { Board } from "./board.ts";

/**
 * Loads the board of that name. A program with a board of its own gives the
 * "file:" URL of a module that exports `board`.
 * @throws {RangeError} if there is no board of that name
 */
export async function loadBoard(name: string): Promise<Board> {
  switch (name) {
    case "microvm":
      return (await import("./boards/microvm.ts")).microvm;
    case "pc":
      return (await import("./boards/pc.ts")).pc;
    default:
      if (name.startsWith("file:")) return (await import(name)).board;
      throw new RangeError(`there is no board "${name}"`);
  }
}
