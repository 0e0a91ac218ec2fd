/**
 * `-readconfig FILE`: options in a file. A section is an option, a line below it a key:
 *
 *     [device "rng0"]
 *       driver = "virtio-rng-device"
 *
 * Source: QEMU 11.1, docs/config/ and qemu-options.hx (-readconfig); which sections are which options was tried
 * with QEMU 11.1.3.
 */
import { readFileSync } from "node:fs";
import { OptionError } from "../../base/errors.ts";

/** Sections whose name is not that of the option. */
const SECTIONS: ReadonlyMap<string, string> = new Map([
  ["memory", "m"],
  ["smp-opts", "smp"],
  ["boot-opts", "boot"],
]);

/** The key for what stands in quotes behind the name of a section. */
const ID_KEYS: ReadonlyMap<string, string> = new Map([["blockdev", "node-name"]]);

/** `argv` with the options of each file in the place of -readconfig. @throws {OptionError} for a file that is not one */
export function withConfigFiles(argv: readonly string[]): readonly string[] {
  const words: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const match = /^--?readconfig(?:=(.*))?$/s.exec(argv[at]);
    if (match === null) {
      words.push(argv[at]);
      continue;
    }
    const path = match[1] ?? argv[++at];
    if (path === undefined)
      throw new OptionError("-readconfig: needs a value, as in -readconfig machine.cfg");
    words.push(...optionsOf(read(path), path));
  }
  return words;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new OptionError(`-readconfig ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The words of a command line for the text of a file. @throws {OptionError} that names the line */
function optionsOf(text: string, path: string): string[] {
  const sections: { name: string; pairs: string[] }[] = [];
  text.split("\n").forEach((raw, index) => {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) return;
    const header = /^\[([a-z-]+)(?: "([^"]*)")?\]$/.exec(line);
    if (header !== null) {
      const [, name, id] = header;
      sections.push({ name, pairs: id === undefined ? [] : [`${ID_KEYS.get(name) ?? "id"}=${escaped(id)}`] });
      return;
    }
    const pair = /^([A-Za-z0-9._-]+)\s*=\s*"(.*)"$/.exec(line);
    const section = sections.at(-1);
    if (pair === null || section === undefined) {
      throw new OptionError(
        `-readconfig ${path}: line ${index + 1} is neither a section, as in [drive "ID"], nor a key, as in file = "disk.img"`,
      );
    }
    section.pairs.push(`${pair[1]}=${escaped(pair[2])}`);
  });
  return sections.flatMap(({ name, pairs }) => [`-${SECTIONS.get(name) ?? name}`, pairs.join(",")]);
}

/** A comma inside a value is written twice. */
function escaped(value: string): string {
  return value.replaceAll(",", ",,");
}
