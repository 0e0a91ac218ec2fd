/** The counters of a machine, one per line, for users and for grep: `exits.IO  5124`. */

const NOTE = `exits are returns of KVM_RUN: the host's kernel handles most exits of the hardware itself.
kernel has the counters of that kernel, without those that are 0.
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
