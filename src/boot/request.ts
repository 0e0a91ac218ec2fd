/** What the user wants booted, and the memory there is to boot it in. */
import type { ByteSource, MemoryRange } from "./plan.ts";

export interface BootRequest {
  readonly kernel: ByteSource;
  /** The kernel's name in messages. */
  readonly kernelName: string;
  /** The kernel's file, where it is one. Multiboot tells it to the guest. */
  readonly kernelPath?: string;
  /** Only its length matters here: the file goes into RAM without passing through JavaScript. */
  readonly initrd?: { readonly size: number; readonly name: string; readonly path?: string };
  readonly cmdline: string;
  /** The guest-physical memory map, without overlaps; guests see it as their E820 map. */
  readonly memory: readonly MemoryRange[];
  /** Guest-physical address of the ACPI RSDP, 0 if there is none. */
  readonly rsdp: number;
  /** Says that the kernel is a flat binary, loaded at `address` and entered there in real mode. */
  readonly flat?: { readonly address: number };
}
