/**
 * The kernel's side of a machine: a VM with its interrupt controllers, RAM,
 * vCPUs, and the events that carry doorbells and interrupts past JavaScript.
 */
import { KvmError } from "../kvm/errors.ts";
import type { Counters } from "../kvm/stats.ts";
import { Kvm } from "../kvm/system.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import * as map from "../machine/memory-map.ts";
import { type VirtioSlot, virtioDevices, virtioPlace } from "../machine/microvm.ts";
import type { MachineSpec } from "../machine/spec.ts";
import { countDirty, dirtyBitmapBytes } from "../memory/dirty.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { EventFd } from "../sys/event.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import { registerPagesBytes } from "../threads/register-pages.ts";
import type { Doorbell } from "../virtio/transport/transport.ts";
import type { CheckedOptions } from "./validate.ts";

/** api.rst 8.35. By number: headers before Linux 5.18 do not know it. */
const KVM_CAP_PMU_CAPABILITY = 212;
const KVM_PMU_CAP_DISABLE = 1;

interface Closable {
  close(): void;
}

export class Board {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly ram: GuestRam;
  readonly memory: GuestMemory;
  readonly vcpus: readonly Vcpu[];
  /** Wakes the io thread. */
  readonly ioWake: EventFd;
  /** By virtio device and queue. */
  readonly doorbells: EventFd[][] = [];
  /** What the guest reads of its virtio devices without an exit. */
  readonly registerPages: GuestRam | undefined;
  /** By virtio device, if there are pages: rings when the driver acknowledges an interrupt. */
  readonly acknowledgements: EventFd[] = [];
  readonly #ram: MachineSpec["ram"];
  readonly #open: Closable[] = [];

  /** @throws {SystemError} what the kernel refused; nothing is left open then. */
  constructor(options: CheckedOptions, spec: MachineSpec) {
    this.#ram = spec.ram;
    try {
      this.kvm = this.#keep(Kvm.open(options.kvm));
      this.vm = this.#keep(this.kvm.createVm());
      this.vm.setTssAddr(map.TSS);
      this.vm.setIdentityMapAddr(map.IDENTITY_MAP);
      this.vm.createIrqchip();
      // CPUID shows no performance counters; AMD's oldest have no bit there to hide them by.
      if (this.kvm.checkExtension(KVM_CAP_PMU_CAPABILITY) > 0) {
        this.vm.enableCap(KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
      }
      this.ram = this.#keep(GuestRam.create(options.memory, { backing: options.memoryBacking }));
      spec.ram.forEach((region, slot) => {
        this.vm.setUserMemoryRegion({ slot, ram: this.ram, ...region });
      });
      this.memory = new GuestMemory(this.ram, spec.ram);
      this.vcpus = Array.from({ length: spec.cpus }, (_, id) => this.#keep(this.vm.createVcpu(id)));
      this.ioWake = this.#keep(EventFd.create());
      this.registerPages = this.#showRegisters(spec);
      this.counters(); // opens them: once a vCPU runs, its own can no longer be
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Turns each queue's doorbell into an event: the guest's write returns to it without leaving the kernel. */
  connectQueues(virtio: readonly VirtioSlot[]): void {
    virtio.forEach(({ transport }, slot) => {
      this.doorbells.push(transport.doorbells().map((doorbell) => this.#ring(slot, doorbell)));
      if (this.registerPages === undefined) return;
      this.acknowledgements.push(this.#ring(slot, transport.acknowledgement));
    });
  }

  /**
   * Makes KVM remember which pages the guest writes, or no longer. It then maps
   * small pages and write-protects them, so the guest gets slower.
   */
  logDirtyPages(on: boolean): void {
    this.#ram.forEach((region, slot) => {
      this.vm.setUserMemoryRegion({ slot, ram: this.ram, ...region, logDirtyPages: on });
    });
  }

  /** Pages that the guest's CPUs wrote since the last call, by granule: see countDirty. What devices wrote is not seen. */
  takeDirtyPages(): [granule: number, pages: number][] {
    return this.#ram.flatMap(({ address, size }, slot) => {
      const bitmap = new Uint8Array(dirtyBitmapBytes(size));
      this.vm.getDirtyLog(slot, bitmap);
      return countDirty(bitmap, address);
    });
  }

  /** KVM's counters of the VM and its vCPUs; undefined if the host's kernel has none (before Linux 5.14). */
  counters(): { vm: Counters; vcpus: Counters[] } | undefined {
    try {
      return { vm: this.vm.counters(), vcpus: this.vcpus.map((vcpu) => vcpu.counters()) };
    } catch (error) {
      if (error instanceof KvmError) return undefined;
      throw error;
    }
  }

  close(): void {
    // vCPUs before the VM, the VM before its memory.
    for (const thing of this.#open.reverse()) thing.close();
    this.#open.length = 0;
  }

  /**
   * Shows the guest memory where its virtio devices are, to read but not to write: a load of a register is no exit,
   * a store is one as before. Nor is the store by which a driver acknowledges that buffers were used: with both, an
   * interrupt costs no exit. Undefined where KVM has no read-only memory: there both are exits.
   */
  #showRegisters(spec: MachineSpec): GuestRam | undefined {
    const devices = virtioDevices(spec);
    if (devices === 0 || this.vm.checkExtension("READONLY_MEM") === 0) return undefined;
    const pages = this.#keep(GuestRam.create(registerPagesBytes(devices)));
    const { address } = virtioPlace(0);
    this.vm.setUserMemoryRegion({ slot: spec.ram.length, address, ram: pages, readOnly: true });
    return pages;
  }

  #ring(slot: number, { offset, ...store }: Doorbell): EventFd {
    const event = this.#keep(EventFd.create());
    this.vm.ioeventfd(event, { address: virtioPlace(slot).address + offset, ...store });
    return event;
  }

  #keep<T extends Closable>(thing: T): T {
    this.#open.push(thing);
    return thing;
  }
}
