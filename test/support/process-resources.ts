/** What this process has open and mapped, to see that a test left nothing behind. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Descriptors of KVM and of what the addon opens besides. */
export function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return /kvm|guest-ram|eventfd|eventpoll/.test(target) ? [target] : [];
    } catch {
      return []; // the folder's own descriptor is gone by now
    }
  });
}

/** Mappings of guest RAM and of kvm_run pages. */
export function guestMappings(): string[] {
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => /guest-ram|kvm-vcpu/.test(line));
}

/** Lets what was closed go: V8 frees the memory of a detached ArrayBuffer in the next turns of the event loop. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
