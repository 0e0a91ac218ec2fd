/**
 * Names of the capabilities of KVM_CHECK_EXTENSION.
 *
 * Source: <linux/kvm.h>; what each means is in Linux api.rst under its name.
 */
import { KVM_CAP } from "./abi.ts";

/** "IRQCHIP" for KVM_CAP_IRQCHIP. */
export type CapabilityName = keyof typeof KVM_CAP;

/** Every capability that has a name here, with its number. */
export const capabilities: ReadonlyMap<string, number> = new Map(Object.entries(KVM_CAP));

/** The number of a capability, which may also be passed as a number. A name that is not known: -1. */
export function capabilityNumber(capability: CapabilityName | number): number {
  return typeof capability === "number" ? capability : (capabilities.get(capability) ?? -1);
}

/** "KVM_CAP_IRQCHIP" for 0. */
export function capabilityName(number: number): string {
  for (const [name, value] of capabilities) if (value === number) return `KVM_CAP_${name}`;
  return `KVM_CAP ${number}`;
}
