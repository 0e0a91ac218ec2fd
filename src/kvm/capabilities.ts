/**
 * Names of the capabilities of KVM_CHECK_EXTENSION.
 *
 * Source: <linux/kvm.h>; what each means is in Linux api.rst under its name.
 */
import * as abi from "./abi.ts";

type CapNames = Extract<keyof typeof abi, `KVM_CAP_${string}`>;

/** "IRQCHIP" for KVM_CAP_IRQCHIP. */
export type CapabilityName = CapNames extends `KVM_CAP_${infer Name}` ? Name : never;

const NUMBERS: ReadonlyMap<string, number> = new Map(
  Object.entries(abi).flatMap(([name, value]): [string, number][] =>
    name.startsWith("KVM_CAP_") && typeof value === "number" ? [[name.slice("KVM_CAP_".length), value]] : [],
  ),
);

/** Every capability that has a name here, with its number. */
export const capabilities: ReadonlyMap<string, number> = NUMBERS;

/** The number of a capability, which may also be passed as a number. */
export function capabilityNumber(capability: CapabilityName | number): number {
  return typeof capability === "number" ? capability : (NUMBERS.get(capability) ?? -1);
}

/** "KVM_CAP_IRQCHIP" for 0. */
export function capabilityName(number: number): string {
  for (const [name, value] of NUMBERS) if (value === number) return `KVM_CAP_${name}`;
  return `KVM_CAP ${number}`;
}
