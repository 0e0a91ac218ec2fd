/**
 * The failures of KVM, as sentences a stranger can act on.
 */
import { SystemError } from "../sys/errors.ts";

/** Common failures, and advice for each. Keyed by call and -errno; `open` is for any path. */
const ADVICE: Readonly<Record<string, string>> = {
  "open -2":
    "Is the kvm_intel or kvm_amd module loaded, and virtualization enabled in the firmware? In a container, start it with --device /dev/kvm.",
  "open -6": "Is the kvm_intel or kvm_amd module loaded, and virtualization enabled in the firmware?",
  "open -13": "Add this user to the group that owns /dev/kvm: sudo usermod -aG kvm $USER",
  "open -19": "Is the kvm_intel or kvm_amd module loaded, and virtualization enabled in the firmware?",
  "open -1": "In a container, start it with --device /dev/kvm.",
  "open -25": "This is not a KVM device.",
  "ioctl(KVM_CREATE_VM) -16":
    "Does another hypervisor (VirtualBox, VMware) own this machine's virtualization?",
  "ioctl(KVM_CREATE_VM) -12": "The host has no memory left.",
  "ioctl(KVM_SET_USER_MEMORY_REGION) -17": "The range overlaps one that another slot has.",
  "ioctl(KVM_SET_USER_MEMORY_REGION) -22":
    "Address, offset and size must be multiples of 4096 and inside the RAM, and the slot's number below KVM_CAP_NR_MEMSLOTS.",
  "ioctl(KVM_CREATE_VCPU) -17": "There is a vCPU with this id.",
  "ioctl(KVM_CREATE_VCPU) -22":
    "The id is beyond KVM_CAP_MAX_VCPU_ID, or there are as many vCPUs as KVM allows.",
  "ioctl(KVM_CREATE_IRQCHIP) -17": "The VM has one.",
  "ioctl(KVM_CREATE_IRQCHIP) -22": "The interrupt controllers have to be made before the first vCPU.",
  "ioctl(KVM_IOEVENTFD) -17": "Another event waits for the same access.",
  "ioctl(KVM_IRQFD) -16": "The event raises an interrupt already.",
  "ioctl(KVM_RUN) -14": "The guest used memory that the host could not give, or page tables outside of RAM.",
  "ioctl(KVM_RUN) -16": "Another thread is inside this vCPU.",
};

export class KvmError extends SystemError {
  override readonly name = "KvmError";
}

/** Passes a native result on, or throws. `doing` completes the sentence "vmexit was …". */
export function check(result: number, call: string, doing: string): number {
  if (result < 0) fail(result, call, doing);
  return result;
}

/** Throws the KvmError for a native result below 0. */
export function fail(result: number, call: string, doing: string): never {
  const key = `${call.replace(/^open\(.*\)$/, "open")} ${result}`;
  throw new KvmError(result, call, doing, ADVICE[key] ?? GENERAL[result]);
}

const GENERAL: Readonly<Record<number, string>> = {
  [-9]: "It is closed.",
  [-16]: "Another thread is using it.",
  [-25]: "This KVM does not know the call.",
};
