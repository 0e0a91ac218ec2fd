/** What the user wants to boot, and the memory that the guest has. */
import type { ByteSource, MemoryRange } from "./plan.ts";

export interface BootRequest {
  readonly kernel: ByteSource;
  /** The kernel's name in messages. */
  readonly kernelName: string;
  /** The kernel's path, if it is a file. Multiboot passes it to the guest. */
  readonly kernelPath?: string;
  /** Only its length is used here: the file goes into RAM without passing through JavaScript. */
  readonly initrd?: { readonly size: number; readonly name: string; readonly path?: string };
  readonly cmdline: string;
  /** The guest-physical memory map, without overlaps: the guest's E820 map. */
  readonly memory: readonly MemoryRange[];
  /** Guest-physical address of the ACPI RSDP, 0 if there is none. */
  readonly rsdp: number;
  /** Given for a flat binary: it is loaded at `address` and entered there in real mode. */
  readonly flat?: { readonly address: number };
}
