/** The counters of a machine, one a line, for people and for grep: `exits.IO  5124`. */

/** What has to be known to read them. */
const NOTE = `exits are returns of KVM_RUN: most exits of the hardware are served by the host's kernel and never get here.
kernel is what it counts itself; what is 0 there is left out.
`;

export function statsText(stats: object): string {
  const rows = [...leaves(stats, "")].filter(
    ([name, value]) => !(name.startsWith("kernel.") && value === "0"),
  );
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("") + NOTE;
}

function* leaves(value: object, path: string): Generator<readonly [string, string]> {
  for (const [key, inner] of Object.entries(value)) {
    const name = path === "" ? key : `${path}.${key}`;
    if (typeof inner === "object" && inner !== null) yield* leaves(inner, name);
    else yield [name, String(inner)];
  }
}
