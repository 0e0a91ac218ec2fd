/**
 * Makes KVM's objects match the registers of a machine: computes the kernel map,
 * compares it with what KVM has, and applies the difference. The thread that
 * changed a register calls it, before the guest's write completes.
 *
 * Memory that moves is removed before it is added at its new address, so for a
 * moment another CPU of the guest finds no memory at either. Hardware does not
 * decode an address during such a change either.
 */
import { LINE_ROUTES } from "../kvm/interrupt-routes.ts";
import type { RegisteredSlot, Vm } from "../kvm/vm.ts";
import { type KernelMap, kernelMap } from "../machine/kernel-map.ts";
import { type DoorbellWish, RAM, type SlotWish } from "../machine/kernel-wishes.ts";
import type { Machine } from "../machine/machine.ts";
import type { DirtySink } from "../memory/dirty-sink.ts";
import type { EventFd } from "../sys/event.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import {
  type BellEntry,
  type KernelTable,
  MAX_BELLS,
  MAX_MESSAGES,
  MAX_SLOTS,
  type MessageEntry,
  type SlotEntry,
} from "./kernel-table.ts";

export interface KernelObjects {
  /** All but close: see Vm. */
  readonly vm: Pick<
    Vm,
    "setUserMemoryRegion" | "deleteMemorySlot" | "ioeventfd" | "removeIoeventfd" | "setGsiRouting"
  >;
  /** By name, RAM first: see Board.memories. */
  readonly memories: ReadonlyMap<string, GuestRam>;
  /** Event `bell` of the machine. */
  bell(bell: number): EventFd;
}

export class KernelSide {
  readonly #objects: KernelObjects;
  readonly #table: KernelTable;
  readonly #dirty: DirtySink | undefined;
  readonly #names: readonly string[];

  /** @param dirty where KVM's log of a slot goes that is removed */
  constructor(objects: KernelObjects, table: KernelTable, dirty?: DirtySink) {
    this.#objects = objects;
    this.#table = table;
    this.#dirty = dirty;
    this.#names = [...objects.memories.keys()];
  }

  /** Makes KVM's objects what the machine's registers say now. @throws {KvmError} what KVM refused */
  reconcile(machine: Machine): void {
    const { lock } = this.#table;
    lock.acquire();
    try {
      // Under the lock, so that the later of two changes is applied last.
      const map = kernelMap(machine);
      this.#applySlots(map);
      this.#applyBells(map, machine.bells);
      this.#applyMessages(map.messages);
    } finally {
      lock.release();
    }
  }

  /** Switches KVM's log of written RAM pages on or off. */
  logDirtyPages(machine: Machine, on: boolean): void {
    this.#table.logging = on;
    this.reconcile(machine);
  }

  /** The memory slots by number, with the arguments of KVM_SET_USER_MEMORY_REGION. */
  get slots(): readonly RegisteredSlot[] {
    const slots: RegisteredSlot[] = [];
    for (let slot = 0; slot < MAX_SLOTS; slot++) {
      const entry = this.#table.slot(slot);
      if (entry === undefined) continue;
      const { address: guestPhysAddr, size: memorySize, readOnly, logged } = entry;
      const userspaceAddr = this.#memory(entry).hostAddress + entry.offset;
      slots.push({
        slot,
        flags: (logged ? 1 : 0) | (readOnly ? 2 : 0),
        guestPhysAddr,
        memorySize,
        userspaceAddr,
      });
    }
    return slots;
  }

  #applySlots({ slots }: KernelMap): void {
    const table = this.#table;
    const wanted = slots.flatMap((wish) => this.#entry(wish) ?? []);
    const kept = new Set<SlotEntry>();
    for (let number = 0; number < MAX_SLOTS; number++) {
      const present = table.slot(number);
      if (present === undefined) continue;
      const wish = wanted.find((entry) => !kept.has(entry) && isSamePlace(entry, present));
      if (wish === undefined) {
        // Its log goes with it, so all of it counts as written: registers like PAM move RAM rarely.
        if (present.logged) this.#dirty?.mark(present.offset, present.size);
        this.#objects.vm.deleteMemorySlot(number);
        table.setSlot(number, undefined);
        continue;
      }
      kept.add(wish);
      if (wish.logged !== present.logged) this.#setSlot(number, wish);
    }
    for (const wish of wanted) if (!kept.has(wish)) this.#setSlot(this.#freeSlot(), wish);
  }

  #entry({ memory, readOnly, ...range }: SlotWish): SlotEntry | undefined {
    const index = this.#names.indexOf(memory);
    if (index < 0) return undefined; // KVM has no read-only memory here: the guest's reads exit
    return { ...range, memory: index, readOnly, logged: memory === RAM && this.#table.logging };
  }

  #setSlot(number: number, slot: SlotEntry): void {
    const { address, offset, size, readOnly, logged } = slot;
    const ram = this.#memory(slot);
    this.#objects.vm.setUserMemoryRegion({
      slot: number,
      ...{ address, ram, offset, size, readOnly },
      logDirtyPages: logged,
    });
    this.#table.setSlot(number, slot);
  }

  #freeSlot(): number {
    for (let number = 0; number < MAX_SLOTS; number++) {
      if (this.#table.slot(number) === undefined) return number;
    }
    throw new RangeError(`the machine wants more than ${MAX_SLOTS} memory slots`);
  }

  #memory({ memory }: SlotEntry): GuestRam {
    const ram = this.#objects.memories.get(this.#names[memory]);
    if (ram === undefined) throw new RangeError(`there is no memory ${memory}`);
    return ram;
  }

  /** @param count bells that the machine's parts have taken */
  #applyBells({ doorbells }: KernelMap, count: number): void {
    if (count > MAX_BELLS) throw new RangeError(`the machine wants more than ${MAX_BELLS} doorbells`);
    const { vm } = this.#objects;
    const wanted = new Map(doorbells.map((wish) => [wish.bell, wish]));
    const moved: DoorbellWish[] = [];
    for (const bell of wanted.keys()) {
      if (bell >= count) throw new RangeError(`a part wants bell ${bell}; the machine has ${count}`);
    }
    for (let bell = 0; bell < count; bell++) {
      const present = this.#table.bell(bell);
      const wish = wanted.get(bell);
      if (present !== undefined && (wish === undefined || !isSameBell(wish, present))) {
        vm.removeIoeventfd(this.#objects.bell(bell), doorbellOf(present));
        this.#table.setBell(bell, undefined);
      }
      if (wish !== undefined && this.#table.bell(bell) === undefined) moved.push(wish);
    }
    // After all old ones are removed: two may have changed places.
    for (const { bell, address, length, datamatch, port = false } of moved) {
      const entry = { address, length, datamatch, port };
      vm.ioeventfd(this.#objects.bell(bell), doorbellOf(entry));
      this.#table.setBell(bell, entry);
    }
  }

  #applyMessages(messages: readonly MessageEntry[]): void {
    const present = this.#table.messages;
    if (messages.length > MAX_MESSAGES) {
      throw new RangeError(`the machine wants more than ${MAX_MESSAGES} message routes`);
    }
    const isSame =
      present.length === messages.length && messages.every((wish, n) => isSameMessage(wish, present[n]));
    if (isSame) return;
    const routes = messages.map(({ gsi, address, data }) => ({ gsi, msiAddress: address, msiData: data }));
    this.#objects.vm.setGsiRouting([...LINE_ROUTES, ...routes]);
    this.#table.messages = messages;
  }
}

function doorbellOf({ address, length, datamatch, port }: BellEntry) {
  return { address, length, port, ...(datamatch === undefined ? {} : { datamatch }) };
}

function isSamePlace(a: SlotEntry, b: SlotEntry): boolean {
  return (
    a.memory === b.memory &&
    a.offset === b.offset &&
    a.address === b.address &&
    a.size === b.size &&
    a.readOnly === b.readOnly
  );
}

function isSameBell(wish: DoorbellWish, present: BellEntry): boolean {
  return (
    wish.address === present.address &&
    wish.length === present.length &&
    wish.datamatch === present.datamatch &&
    (wish.port ?? false) === present.port
  );
}

function isSameMessage(a: MessageEntry, b: MessageEntry): boolean {
  return a.gsi === b.gsi && a.address === b.address && a.data === b.data;
}
