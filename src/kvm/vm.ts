/**
 * A VM: memory slots, interrupt controllers, doorbells, and its vCPUs.
 *
 * Source: Linux Documentation/virt/kvm/api.rst, section 4, "Type: vm ioctl".
 * Addresses are guest-physical; sizes and offsets are in bytes.
 */
import { EINVAL, EPERM } from "../base/errno.ts";
import { hex } from "../base/hex.ts";
import type { EventFd } from "../sys/event.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { type NativeKvmVm, native } from "../sys/native.ts";
import * as abi from "./abi.ts";
import { kvm_clock_data, kvm_irq_routing_entry, kvm_irqchip, kvm_pit_state2 } from "./abi.ts";
import { type CapabilityName, capabilityNumber } from "./capabilities.ts";
import { check } from "./errors.ts";
import { type Counters, openStats, readCounters, readStats, type Stats } from "./stats.ts";
import { Vcpu } from "./vcpu.ts";

export interface MemorySlot {
  /** From 0 to KVM_CAP_NR_MEMSLOTS - 1. */
  readonly slot: number;
  /** Where the guest sees it: a multiple of 4096. */
  readonly address: number;
  readonly ram: GuestRam;
  /** Where in `ram` it begins: a multiple of 4096, by default 0. */
  readonly offset?: number;
  /** A multiple of 4096, by default what is left of `ram`. */
  readonly size?: number;
  /** Remembers which pages the guest writes, for `getDirtyLog`. */
  readonly logDirtyPages?: boolean;
  /** A write by the guest exits as MMIO. */
  readonly readOnly?: boolean;
}

/** A memory slot as it was passed to the ioctl: struct kvm_userspace_memory_region. */
export interface RegisteredSlot {
  readonly slot: number;
  /** KVM_MEM_LOG_DIRTY_PAGES (1), KVM_MEM_READONLY (2). */
  readonly flags: number;
  readonly guestPhysAddr: number;
  /** Bytes. */
  readonly memorySize: number;
  /** The address of the memory in this process. */
  readonly userspaceAddr: number;
}

export interface Doorbell {
  readonly address: number;
  /** Width of the write in bytes: 1, 2, 4 or 8; 0 for any. */
  readonly length: number;
  /** If set, only a write of this value signals the event. */
  readonly datamatch?: number;
  /** A port, not memory. */
  readonly port?: boolean;
}

/** Where interrupts of one GSI go: a pin of an interrupt controller, or a message. */
export type GsiRoute =
  | { readonly gsi: number; readonly irqchip: number; readonly pin: number }
  | { readonly gsi: number; readonly msiAddress: number; readonly msiData: number };

export interface Clock {
  /** Nanoseconds of the guest's paravirtual clock. */
  readonly clock: bigint;
  readonly flags: number;
}

const ROUTE_WORDS = kvm_irq_routing_entry.sizeof / 4;

export class Vm {
  readonly #native: NativeKvmVm;
  readonly #slots = new Map<number, RegisteredSlot>();

  /** Use Kvm.createVm or Vm.attach. */
  constructor(handle: NativeKvmVm) {
    this.#native = handle;
  }

  /** The VM whose token another thread sent. @throws {KvmError} ENOENT if it is closed. */
  static attach(token: number): Vm {
    const handle = new native.KvmVm();
    check(handle.attach(token), "attach(VM)", "sharing a VM with a thread");
    return new Vm(handle);
  }

  /** Names this VM in every thread; valid until its last handle closes. */
  get token(): number {
    return check(this.#native.token(), "token(VM)", "sharing a VM with a thread");
  }

  /** As Kvm.checkExtension, for this VM. @see api.rst, 4.4 KVM_CHECK_EXTENSION */
  checkExtension(capability: CapabilityName | number): number {
    const result = this.#native.checkExtension(capabilityNumber(capability));
    return check(result, "ioctl(KVM_CHECK_EXTENSION)", `asking KVM for capability ${capability}`);
  }

  /** @see api.rst, 4.37 KVM_ENABLE_CAP and section 7 */
  enableCap(capability: CapabilityName | number, argument = 0): void {
    const result = this.#native.enableCap(capabilityNumber(capability), argument);
    check(result, "ioctl(KVM_ENABLE_CAP)", `enabling capability ${capability}`);
  }

  /** Three pages below 4 GiB that Intel's real mode needs, outside of every slot. @see api.rst, 4.36 KVM_SET_TSS_ADDR */
  setTssAddr(address: number): void {
    check(this.#native.setTssAddr(address), "ioctl(KVM_SET_TSS_ADDR)", "placing the real-mode TSS");
  }

  /** One page for the same purpose. @see api.rst, 4.40 KVM_SET_IDENTITY_MAP_ADDR */
  setIdentityMapAddr(address: number): void {
    const result = this.#native.setIdentityMapAddr(address);
    check(result, "ioctl(KVM_SET_IDENTITY_MAP_ADDR)", "placing the real-mode page table");
  }

  /**
   * Shows memory to the guest, or changes a slot's flags or address. The memory
   * stays mapped as long as a slot of an open VM or vCPU shows it.
   *
   * @throws {KvmError} EEXIST if it overlaps another slot; EINVAL if unaligned or outside the RAM.
   * @see api.rst, 4.35 KVM_SET_USER_MEMORY_REGION
   */
  setUserMemoryRegion(region: MemorySlot): void {
    const { slot, address, ram, offset = 0, size = ram.size - offset } = region;
    const flags =
      (region.logDirtyPages ? abi.KVM_MEM_LOG_DIRTY_PAGES : 0) | (region.readOnly ? abi.KVM_MEM_READONLY : 0);
    check(
      // A size of 0 means deletion to KVM; here it is a mistake.
      size === 0 ? EINVAL : this.#native.setUserMemoryRegion(slot, flags, address, ram.native, offset, size),
      "ioctl(KVM_SET_USER_MEMORY_REGION)",
      `mapping ${size} bytes at ${hex(address)} in slot ${slot}`,
    );
    const userspaceAddr = ram.hostAddress + offset;
    this.#slots.set(slot, { slot, flags, guestPhysAddr: address, memorySize: size, userspaceAddr });
  }

  /** The slots that this handle registered, lowest number first. */
  get memorySlots(): readonly RegisteredSlot[] {
    return [...this.#slots.values()].sort((a, b) => a.slot - b.slot);
  }

  /** Takes a slot's memory from the guest. @throws {KvmError} EINVAL if the slot is empty. */
  deleteMemorySlot(slot: number): void {
    const result = this.#native.setUserMemoryRegion(slot, 0, 0, undefined, 0, 0);
    check(result, "ioctl(KVM_SET_USER_MEMORY_REGION)", `deleting slot ${slot}`);
    this.#slots.delete(slot);
  }

  /**
   * The pages that the guest wrote since the last call: bit 0 of byte 0 is the
   * slot's first page.
   *
   * @param bitmap is filled; one bit for each page, rounded up to 8 bytes
   * @throws {KvmError} ENOENT for an empty slot or one that does not log; EINVAL if the bitmap is too small.
   * @see api.rst, 4.8 KVM_GET_DIRTY_LOG
   */
  getDirtyLog(slot: number, bitmap: Uint8Array): void {
    const result = this.#native.getDirtyLog(slot, bitmap);
    check(result, "ioctl(KVM_GET_DIRTY_LOG)", `asking which pages of slot ${slot} changed`);
  }

  /**
   * Logs writes to these pages again. Needed only after
   * `enableCap("MANUAL_DIRTY_LOG_PROTECT2", 1)`: `getDirtyLog` then leaves the log as it is, and a
   * reader can take a large slot in pieces.
   *
   * @param bitmap    of the pages from `firstPage` on, as `getDirtyLog` fills it
   * @param firstPage a multiple of 64
   * @param pages     a multiple of 64, or up to the end of the slot
   * @throws {KvmError} EINVAL for a range that the slot does not have; ENOENT as for `getDirtyLog`.
   * @see api.rst, 4.117 KVM_CLEAR_DIRTY_LOG
   */
  clearDirtyLog(slot: number, bitmap: Uint8Array, firstPage: number, pages: number): void {
    const result = this.#native.clearDirtyLog(slot, bitmap, firstPage, pages);
    check(result, "ioctl(KVM_CLEAR_DIRTY_LOG)", `clearing the log of ${pages} pages of slot ${slot}`);
  }

  /** PIC, IOAPIC, and a local APIC in every vCPU made from now on. @see api.rst, 4.24 KVM_CREATE_IRQCHIP */
  createIrqchip(): void {
    check(this.#native.createIrqchip(), "ioctl(KVM_CREATE_IRQCHIP)", "making the interrupt controllers");
  }

  /** The i8254 timer; needs the interrupt controllers. @see api.rst, 4.71 KVM_CREATE_PIT2 */
  createPit2(flags = 0): void {
    check(this.#native.createPit2(flags), "ioctl(KVM_CREATE_PIT2)", "making the timer");
  }

  /** Sets the level of an interrupt line. From any thread. @see api.rst, 4.25 KVM_IRQ_LINE */
  irqLine(gsi: number, level: boolean | number): void {
    const result = this.#native.irqLine(gsi, level ? 1 : 0);
    if (result < 0) check(result, "ioctl(KVM_IRQ_LINE)", `setting interrupt line ${gsi}`);
  }

  /**
   * One interrupt at an edge-triggered input. From any thread; the calling thread delivers it. For an
   * irqfd of an interrupt controller's pin, a kernel thread would deliver it.
   */
  pulseIrqLine(gsi: number): void {
    const result = this.#native.pulseIrqLine(gsi);
    if (result < 0) check(result, "ioctl(KVM_IRQ_LINE)", `pulsing interrupt line ${gsi}`);
  }

  /**
   * Interrupts the guest whenever the event is signalled.
   *
   * @param resample is signalled when the guest has handled a level-triggered interrupt
   * @see api.rst, 4.75 KVM_IRQFD
   */
  irqfd(event: EventFd, gsi: number, resample?: EventFd): void {
    const flags = resample === undefined ? 0 : abi.KVM_IRQFD_FLAG_RESAMPLE;
    const result = this.#native.irqfd(event.native, gsi, flags, resample?.native);
    check(result, "ioctl(KVM_IRQFD)", `connecting an event to interrupt ${gsi}`);
  }

  removeIrqfd(event: EventFd, gsi: number): void {
    const result = this.#native.irqfd(event.native, gsi, abi.KVM_IRQFD_FLAG_DEASSIGN);
    check(result, "ioctl(KVM_IRQFD)", `disconnecting an event from interrupt ${gsi}`);
  }

  /** Signals the event when the guest writes there, without an exit. @see api.rst, 4.59 KVM_IOEVENTFD */
  ioeventfd(event: EventFd, doorbell: Doorbell): void {
    this.#ioeventfd(event, doorbell, 0, "placing a doorbell");
  }

  removeIoeventfd(event: EventFd, doorbell: Doorbell): void {
    this.#ioeventfd(event, doorbell, abi.KVM_IOEVENTFD_FLAG_DEASSIGN, "removing a doorbell");
  }

  /** Replaces all routes. @see api.rst, 4.52 KVM_SET_GSI_ROUTING */
  setGsiRouting(routes: readonly GsiRoute[]): void {
    const words = new Uint32Array(routes.length * ROUTE_WORDS);
    routes.forEach((route, i) => {
      const put = (offset: number, value: number) => {
        words[i * ROUTE_WORDS + offset / 4] = value;
      };
      put(kvm_irq_routing_entry.gsi, route.gsi);
      if ("pin" in route) {
        put(kvm_irq_routing_entry.type, abi.KVM_IRQ_ROUTING_IRQCHIP);
        put(kvm_irq_routing_entry.irqchip_irqchip, route.irqchip);
        put(kvm_irq_routing_entry.irqchip_pin, route.pin);
      } else {
        put(kvm_irq_routing_entry.type, abi.KVM_IRQ_ROUTING_MSI);
        put(kvm_irq_routing_entry.msi_address_lo, route.msiAddress);
        put(kvm_irq_routing_entry.msi_address_hi, Math.floor(route.msiAddress / 2 ** 32));
        put(kvm_irq_routing_entry.msi_data, route.msiData);
      }
    });
    check(this.#native.setGsiRouting(words), "ioctl(KVM_SET_GSI_ROUTING)", "routing interrupts");
  }

  /**
   * Sends a message-signalled interrupt. False if the guest blocks it, or has no
   * CPU of that id, for which KVM returns -1.
   *
   * @see api.rst, 4.71 KVM_SIGNAL_MSI
   */
  signalMsi(address: number, data: number): boolean {
    const result = this.#native.signalMsi(address, data);
    if (result === EPERM) return false;
    return check(result, "ioctl(KVM_SIGNAL_MSI)", "sending an MSI") > 0;
  }

  /** @see api.rst, 4.29 KVM_GET_CLOCK */
  getClock(): Clock {
    const data = new DataView(new ArrayBuffer(kvm_clock_data.sizeof));
    check(this.#native.getClock(bytesOf(data)), "ioctl(KVM_GET_CLOCK)", "reading the guest's clock");
    return {
      clock: data.getBigUint64(kvm_clock_data.clock, true),
      flags: data.getUint32(kvm_clock_data.flags, true),
    };
  }

  /** Sets the guest's clock, in nanoseconds. @see api.rst, 4.30 KVM_SET_CLOCK */
  setClock(clock: bigint): void {
    const data = new DataView(new ArrayBuffer(kvm_clock_data.sizeof));
    data.setBigUint64(kvm_clock_data.clock, clock, true);
    check(this.#native.setClock(bytesOf(data)), "ioctl(KVM_SET_CLOCK)", "setting the guest's clock");
  }

  /** struct kvm_irqchip of KVM_IRQCHIP_*, as bytes to keep. @see api.rst, 4.26 KVM_GET_IRQCHIP */
  getIrqchip(chip: number): Uint8Array {
    const data = new DataView(new ArrayBuffer(kvm_irqchip.sizeof));
    data.setUint32(kvm_irqchip.chip_id, chip, true);
    check(this.#native.getIrqchip(bytesOf(data)), "ioctl(KVM_GET_IRQCHIP)", "saving interrupt controllers");
    return bytesOf(data);
  }

  /** Restores what getIrqchip returned. @see api.rst, 4.27 KVM_SET_IRQCHIP */
  setIrqchip(bytes: Uint8Array): void {
    check(this.#native.setIrqchip(bytes), "ioctl(KVM_SET_IRQCHIP)", "restoring interrupt controllers");
  }

  /** struct kvm_pit_state2, as bytes to keep. @see api.rst, 4.72 KVM_GET_PIT2 */
  getPit2(): Uint8Array {
    const bytes = new Uint8Array(kvm_pit_state2.sizeof);
    check(this.#native.getPit2(bytes), "ioctl(KVM_GET_PIT2)", "saving the timer");
    return bytes;
  }

  /** Restores what getPit2 returned. @see api.rst, 4.73 KVM_SET_PIT2 */
  setPit2(bytes: Uint8Array): void {
    check(this.#native.setPit2(bytes), "ioctl(KVM_SET_PIT2)", "restoring the timer");
  }

  /** Cuts the i8254 off from its interrupt, or connects it again. A VM without one has none to cut off. */
  replacePit(replaced: boolean): void {
    const bytes = new Uint8Array(kvm_pit_state2.sizeof);
    if (this.#native.getPit2(bytes) < 0) return;
    const view = new DataView(bytes.buffer);
    const flags = view.getUint32(kvm_pit_state2.flags, true) & ~abi.KVM_PIT_FLAGS_HPET_LEGACY;
    view.setUint32(kvm_pit_state2.flags, flags | (replaced ? abi.KVM_PIT_FLAGS_HPET_LEGACY : 0), true);
    this.setPit2(bytes);
  }

  /** KVM's counters of this VM. @see api.rst, 4.133 KVM_GET_STATS_FD */
  stats(): Stats {
    return readStats((offset, out) => this.#readStats(offset, out), "vm");
  }

  /** Those of them that only grow. */
  counters(): Counters {
    return readCounters((offset, out) => this.#readStats(offset, out), "vm");
  }

  /** Opens them. */
  openCounters(): void {
    openStats((offset, out) => this.#readStats(offset, out));
  }

  /**
   * A CPU in the state after power-on.
   *
   * @param id its APIC id
   * @throws {KvmError} EEXIST if there is one with this id; EINVAL beyond KVM_CAP_MAX_VCPU_ID.
   * @see api.rst, 4.7 KVM_CREATE_VCPU
   */
  createVcpu(id: number): Vcpu {
    const handle = new native.KvmVcpu();
    check(this.#native.createVcpu(handle, id), "ioctl(KVM_CREATE_VCPU)", `creating vCPU ${id}`);
    return new Vcpu(handle);
  }

  /** Closes this handle. The VM ends when its last handle and vCPU are closed. Closing twice does nothing. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #readStats(offset: number, out: Uint8Array): number {
    return check(this.#native.readStats(offset, out), "ioctl(KVM_GET_STATS_FD)", "reading KVM's statistics");
  }

  #ioeventfd(event: EventFd, doorbell: Doorbell, flags: number, doing: string): void {
    const { address, length, datamatch, port = false } = doorbell;
    const all = flags | (port ? abi.KVM_IOEVENTFD_FLAG_PIO : 0);
    const result = this.#native.ioeventfd(event.native, address, length, datamatch, all);
    check(result, "ioctl(KVM_IOEVENTFD)", `${doing} at ${hex(address)}`);
  }
}

function bytesOf(data: DataView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
