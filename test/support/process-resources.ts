/** The open descriptors and mappings of this process, to check that a test leaves none. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Descriptors of KVM, and others that the addon opens. */
export function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return /kvm|guest-ram|eventfd|eventpoll/.test(target) ? [target] : [];
    } catch {
      return []; // the folder's own descriptor is closed already
    }
  });
}

/** Mappings of guest RAM and of kvm_run pages. */
export function guestMappings(): string[] {
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => /guest-ram|kvm-vcpu/.test(line));
}

/** Waits until closed resources are freed: V8 frees a detached ArrayBuffer in the next turns of the event loop. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
