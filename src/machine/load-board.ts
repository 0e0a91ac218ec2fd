/** Boards by name, each loaded only where a machine has it. */
import type { Board } from "./board.ts";

/**
 * The board of that name. Only this one is loaded. A program that makes machines
 * of its own kind names a module of its own by a "file:" URL; it exports `board`.
 * @throws {RangeError} if there is none of that name
 */
export async function loadBoard(name: string): Promise<Board> {
  switch (name) {
    case "microvm":
      return (await import("./boards/microvm.ts")).microvm;
    default:
      if (name.startsWith("file:")) return (await import(name)).board;
      throw new RangeError(`there is no board "${name}"`);
  }
}
