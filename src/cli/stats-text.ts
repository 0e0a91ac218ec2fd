/** The counters of a machine, one a line, for people and for grep: `exits.io  5124`. */

export function statsText(stats: object): string {
  const rows = [...leaves(stats, "")];
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("");
}

function* leaves(value: object, path: string): Generator<readonly [string, string]> {
  for (const [key, inner] of Object.entries(value)) {
    const name = path === "" ? key : `${path}.${key}`;
    if (typeof inner === "object" && inner !== null) yield* leaves(inner, name);
    else yield [name, String(inner)];
  }
}
