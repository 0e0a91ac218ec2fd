/** The shape of the table of CPU models, and what a row means once the rows that it builds on are added. */

export interface CpuModel {
  readonly name: string;
  /** As CPUID has it. Guests see the vendor of the host instead, unless -cpu says vendor=: see custom-cpu.ts. */
  readonly vendor: "GenuineIntel" | "AuthenticAMD" | "HygonGenuine" | "CentaurHauls";
  /** Family, model, stepping. */
  readonly signature: Signature;
  /** The last basic, extended, and Zhaoxin leaf. */
  readonly levels: Levels;
  /** The name that the CPU says of itself; version 1 has it. */
  readonly id: string;
  readonly avx10?: number;
  /** Caches of its own: a row of caches.ts. */
  readonly caches?: string;
  /** Leaf 0x1F is shown even if a socket is one die. */
  readonly dies?: true;
  /** The features are those of version 1 of that model, ... */
  readonly like?: string;
  /** ... and these, ... */
  readonly adds?: string;
  /** ... without these. */
  readonly drops?: string;
  /** From version 2 on: what is not as in the version before. */
  readonly versions?: readonly CpuVersion[];
}

type Signature = readonly [family: number, model: number, stepping: number];
type Levels = readonly [basic: number, extended: number, zhaoxin?: number];

export interface CpuVersion
  extends Partial<
    Pick<CpuModel, "signature" | "levels" | "id" | "avx10" | "caches" | "dies" | "adds" | "drops">
  > {
  /** Another name of this version. */
  readonly alias?: string;
  /** What -cpu help says in brackets. */
  readonly note?: string;
}

/** One version of a model, complete. */
export interface CpuDefinition extends Omit<CpuModel, "like" | "adds" | "drops" | "versions"> {
  /** "SandyBridge-v2" */
  readonly name: string;
  readonly alias?: string;
  readonly note?: string;
  readonly features: ReadonlySet<string>;
}

/** All versions of `model`, the first one first. */
export function versionsOf(model: CpuModel, find: (name: string) => CpuModel): CpuDefinition[] {
  const { like: _like, adds: _adds, drops: _drops, versions = [], ...rest } = model;
  const first: CpuDefinition = { ...rest, name: `${model.name}-v1`, features: featuresOf(model, find) };
  const all = [first];
  for (const { adds, drops, alias, note, ...changed } of versions) {
    const before = all[all.length - 1];
    const { alias: _alias, note: _note, ...kept } = before;
    all.push({
      ...kept,
      ...changed,
      ...(alias === undefined ? {} : { alias }),
      ...(note === undefined ? {} : { note }),
      name: `${model.name}-v${all.length + 1}`,
      features: changedSet(before.features, adds, drops),
    });
  }
  return all;
}

function featuresOf({ like, adds, drops }: CpuModel, find: (name: string) => CpuModel): ReadonlySet<string> {
  return changedSet(like === undefined ? new Set() : featuresOf(find(like), find), adds, drops);
}

function changedSet(before: ReadonlySet<string>, adds?: string, drops?: string): ReadonlySet<string> {
  const features = new Set(before);
  for (const name of adds?.split(" ") ?? []) features.add(name);
  for (const name of drops?.split(" ") ?? []) features.delete(name);
  return features;
}
