/**
 * The text that names a CPU: QEMU's -cpu, `MODEL[,+FEATURE][,-FEATURE][,KEY=VALUE]...`.
 *
 * Source: QEMU 11.1, docs/system/qemu-cpu-models, and what it was seen to accept and to say.
 */
import type { OptionError } from "../../base/errors.ts";
import { didYouMean } from "../../base/errors.ts";
import { featureName, VMX_FEATURES } from "./feature-words.ts";
import { HYPER_V, HYPER_V_NEEDS, type HyperVName, OTHER_HYPER_V } from "./hyper-v.ts";
import type { CpuDefinition } from "./model.ts";
import { findDefinition, namesAndTexts } from "./models.ts";

export interface CpuRequest {
  /** The model, or all that KVM supports on this host. */
  readonly model: CpuDefinition | "host";
  /** Features that were asked for, and that must not be there. */
  readonly on: ReadonlySet<string>;
  readonly off: ReadonlySet<string>;
  readonly properties: CpuProperties;
  readonly hyperV: ReadonlyMap<HyperVName, number>;
  /** What was accepted and changes nothing, in sentences. */
  readonly notes: readonly string[];
}

export interface CpuProperties {
  readonly check?: boolean;
  readonly enforce?: boolean;
  readonly kvm?: boolean;
  readonly migratable?: boolean;
  readonly hostPhysBits?: boolean;
  readonly physBits?: number;
  readonly level?: number;
  readonly xlevel?: number;
  readonly family?: number;
  readonly model?: number;
  readonly stepping?: number;
  readonly vendor?: string;
  readonly modelId?: string;
}

type Complain = (sentence: string) => OptionError;

type Property = keyof CpuProperties;

/** Keys with on or off. */
const FLAGS: ReadonlyMap<string, Property> = new Map<string, Property>([
  ["check", "check"],
  ["enforce", "enforce"],
  ["kvm", "kvm"],
  ["migratable", "migratable"],
  ["host-phys-bits", "hostPhysBits"],
]);
type NumberRange = readonly [field: Property, least: number, most: number];
/** Keys with a number, and its range. */
const NUMBERS: ReadonlyMap<string, NumberRange> = new Map<string, NumberRange>([
  ["phys-bits", ["physBits", 32, 52]],
  ["level", ["level", 0, 0xff]],
  ["xlevel", ["xlevel", 0, 0x8000_00ff]],
  ["family", ["family", 0, 0x10e]],
  ["model", ["model", 0, 0xff]],
  ["stepping", ["stepping", 0, 0xf]],
]);

/** Bits that follow the guest's control registers. */
const DYNAMIC: ReadonlyMap<string, string> = new Map([
  ["osxsave", "CR4.OSXSAVE"],
  ["ospke", "CR4.PKE"],
]);

/** Keys that say what is so anyway. */
const TRUE_ANYWAY: ReadonlyMap<string, readonly string[]> = new Map([
  ["pmu", ["off"]],
  ["lmce", ["off"]],
  ["xen-vapic", ["off"]],
  ["hv-passthrough", ["off"]],
  ["hv-enforce-cpuid", ["off"]],
  ["start-powered-off", ["off"]],
  ["legacy-cache", ["off", "on"]],
  ["tcg-cpuid", ["off", "on"]],
  ["vmware-cpuid-freq", ["off", "on"]],
  ["fill-mtrr-mask", ["off", "on"]],
  ["cpuid-0xb", ["on"]],
  ["l3-cache", ["on"]],
  ["kvm-pv-enforce-cpuid", ["off"]],
  ["full-cpuid-auto-level", ["on"]],
  ["host-cache-info", ["off"]],
]);

/** @throws what `complain` makes, for a model or a key that is not there */
export function parseCpu(text: string, complain: Complain): CpuRequest {
  const [name, ...words] = text.split(",");
  const model = findModel(name, complain);
  const on = new Set<string>();
  const off = new Set<string>();
  const properties: Record<string, unknown> = {};
  const hyperV = new Map<HyperVName, number>();
  const notes: string[] = [];

  const setFeature = (written: string, value: boolean): boolean => {
    const follows = DYNAMIC.get(written);
    if (follows !== undefined) {
      notes.push(`${written} changes nothing: CPUID shows it when the guest has set ${follows}`);
      return true;
    }
    const feature = featureName(written);
    if (feature === undefined) return false;
    if (VMX_FEATURES.includes(feature)) {
      notes.push(`${feature} changes nothing: the guest sees the VMX features that KVM has`);
      return true;
    }
    on.delete(feature);
    off.delete(feature);
    (value ? on : off).add(feature);
    return true;
  };
  const unknown = (key: string): OptionError => complain(`Property '${name}-x86_64-cpu.${key}' not found`);

  for (const word of words) {
    const sign = word[0];
    if (sign === "+" || sign === "-") {
      const written = word.slice(1);
      if (setHyperV(hyperV, written, sign === "+" ? "on" : "off", complain)) continue;
      if (!setFeature(written, sign === "+")) throw unknown(written);
      continue;
    }
    const equals = word.indexOf("=");
    const key = (equals < 0 ? word : word.slice(0, equals)).replaceAll("_", "-");
    const value = equals < 0 ? "on" : word.slice(equals + 1);
    if (setHyperV(hyperV, key, value, complain)) continue;
    if (setProperty(properties, key, value, complain)) continue;
    const truths = TRUE_ANYWAY.get(key);
    if (truths !== undefined) {
      if (truths.includes(value)) continue;
      throw complain(`${key}=${value} is not possible: it is always ${truths[0]}`);
    }
    if (OTHER_HYPER_V.includes(key)) {
      throw complain(`${key} is not supported; of Hyper-V there are ${HYPER_V.join(", ")}`);
    }
    if (featureName(key) === undefined && !DYNAMIC.has(key)) throw unknown(key);
    setFeature(key, isOn(key, value, complain));
  }
  for (const name of hyperV.keys()) {
    const missing = HYPER_V_NEEDS.get(name)?.find((needed) => !hyperV.has(needed));
    if (missing !== undefined) throw complain(`${name} requires ${missing}`);
  }
  return { model, on, off, properties, hyperV, notes };
}

function findModel(name: string, complain: Complain): CpuDefinition | "host" {
  if (name === "host" || name === "max") return "host";
  if (name === "base") return BASE;
  const found = findDefinition(name);
  if (found !== undefined) return found;
  const names = namesAndTexts().map(([each]) => each);
  throw complain(`unable to find CPU model '${name}'${didYouMean(name, names)}; -cpu help lists them`);
}

const BASE: CpuDefinition = {
  name: "base",
  vendor: "GenuineIntel",
  signature: [0, 0, 0],
  levels: [0, 0],
  id: "",
  features: new Set(),
};

function setProperty(into: Record<string, unknown>, key: string, value: string, complain: Complain): boolean {
  const flag = FLAGS.get(key);
  if (flag !== undefined) {
    into[flag] = isOn(key, value, complain);
    return true;
  }
  const range = NUMBERS.get(key);
  if (range !== undefined) {
    const [field, least, most] = range;
    const number = /^(0x[0-9a-f]+|\d+)$/i.test(value) ? Number(value) : Number.NaN;
    if (Number.isNaN(number)) throw complain(`Parameter '${key}' expects a number`);
    if (number < least || number > most) {
      throw complain(`${key}=${value} is out of range; give a number from ${least} to ${most}`);
    }
    into[field] = number;
    return true;
  }
  if (key === "vendor") {
    if (!/^[\x20-\x7e]{12}$/.test(value))
      throw complain("Property 'vendor' needs 12 characters, as in AuthenticAMD");
    into.vendor = value;
    return true;
  }
  if (key === "model-id") {
    into.modelId = value;
    return true;
  }
  return false;
}

function setHyperV(into: Map<HyperVName, number>, key: string, value: string, complain: Complain): boolean {
  const dashed = key.replaceAll("_", "-");
  const name = HYPER_V.find((each) => each === dashed);
  if (name === undefined) return false;
  if (name === "hv-spinlocks") {
    const retries = Number(value);
    if (!Number.isInteger(retries) || retries < 0xfff || retries > 0xffff_ffff) {
      throw complain(`hv-spinlocks=${value} is out of range; give a number of at least 0xfff, as in 0x1fff`);
    }
    into.set(name, retries);
  } else if (isOn(key, value, complain)) into.set(name, 1);
  else into.delete(name);
  return true;
}

function isOn(key: string, value: string, complain: Complain): boolean {
  if (value === "on") return true;
  if (value === "off") return false;
  throw complain(`Parameter '${key}' expects 'on' or 'off'`);
}
