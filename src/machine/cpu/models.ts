/**
 * The CPU models by name: those of QEMU 11.1, each with its versions.
 *
 * Source: what a guest of QEMU 11.1.3 sees of each (test/unit/machine/cpu/), and the manuals named
 * in feature-words.ts. A model without a version is its version 1, as on QEMU's machine types of today.
 */
import { type CpuDefinition, type CpuModel, versionsOf } from "./model.ts";
import { AMD_MODELS } from "./models-amd.ts";
import { INTEL_MODELS } from "./models-intel.ts";
import { NEW_INTEL_MODELS } from "./models-intel-new.ts";

const MODELS: readonly CpuModel[] = [...INTEL_MODELS, ...NEW_INTEL_MODELS, ...AMD_MODELS];

function modelNamed(name: string): CpuModel {
  const model = MODELS.find((each) => each.name === name);
  if (model === undefined) throw new RangeError(`there is no CPU model ${name}`);
  return model;
}

/** Every version of every model. */
function allDefinitions(): CpuDefinition[] {
  return MODELS.flatMap((model) => versionsOf(model, modelNamed));
}

/** The model of that name or alias; undefined if there is none. */
export function findDefinition(name: string): CpuDefinition | undefined {
  return allDefinitions().find((each) => {
    return each.name === name || each.alias === name || each.name === `${name}-v1`;
  });
}

/** Every name with what `-cpu help` says of it, in its order: sorted by byte, a model before its versions. */
export function namesAndTexts(): [name: string, text: string][] {
  const rows: [string, string][] = [];
  for (const model of MODELS) {
    rows.push([model.name, "(alias configured by machine type)"]);
    for (const { name, alias, id, note } of versionsOf(model, modelNamed)) {
      rows.push([name, note === undefined ? id : `${id} [${note}]`]);
      if (alias !== undefined) rows.push([alias, `(alias of ${name})`]);
    }
  }
  return rows.sort(([a], [b]) => (a < b ? -1 : 1));
}
