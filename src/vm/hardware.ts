/**
 * The kernel objects of one power cycle: a VM with its interrupt controllers, RAM
 * and the board's other memories, vCPUs, and the event descriptors of doorbells.
 * The kernel map decides where each memory is and which write signals which
 * event: see machine/kernel-map.ts.
 */
import { PAGE } from "../base/units.ts";
import { KVM_PIT_SPEAKER_DUMMY } from "../kvm/abi.ts";
import type { CpuidEntry } from "../kvm/cpuid.ts";
import { KvmError } from "../kvm/errors.ts";
import { LINE_ROUTES } from "../kvm/interrupt-routes.ts";
import type { Counters } from "../kvm/stats.ts";
import { Kvm } from "../kvm/system.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import type { Board } from "../machine/board.ts";
import { RAM } from "../machine/kernel-wishes.ts";
import * as map from "../machine/memory-map.ts";
import type { MachineSpec } from "../machine/spec.ts";
import { placeOf, topologyOf } from "../machine/topology.ts";
import { DirtyMap } from "../memory/dirty-map.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { EventFd } from "../sys/event.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import type { CheckedOptions } from "./validate.ts";

/** api.rst 8.35. By number: headers before Linux 5.18 do not know it. */
const KVM_CAP_PMU_CAPABILITY = 212;
const KVM_PMU_CAP_DISABLE = 1;

/** What is mapped at a time. */
const PREALLOC_BYTES = 2 ** 30;

/** By KVM's path. What differs from CPU to CPU of a host, guests do not see. */
const supportedCpuids = new Map<string, readonly CpuidEntry[]>();

interface Closable {
  close(): void;
}

export class Hardware {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly ram: GuestRam;
  readonly memory: GuestMemory;
  /** By name, RAM first. Where KVM has no read-only memory, such memories are missing: the guest's reads then exit. */
  readonly memories: ReadonlyMap<string, GuestRam>;
  readonly vcpus: readonly Vcpu[];
  /** Wakes the io thread. */
  readonly ioWake: EventFd;
  /** By number: see Slot.bells. */
  readonly bells: EventFd[] = [];
  /** What the monitor itself writes to RAM. */
  readonly dirtyMap: DirtyMap;
  readonly dirty: SharedArrayBuffer;
  readonly #open: Closable[] = [];

  /**
   * @param ram what the machine has for RAM; new and empty without it
   * @param own memories of the board that are not new and empty either, by name
   * @throws {SystemError} what the kernel refused; nothing is left open then.
   */
  constructor(
    options: Pick<
      CheckedOptions,
      "kvm" | "memory" | "memoryBacking" | "cpuChoice" | "hugePages" | "prealloc"
    >,
    board: Board,
    spec: MachineSpec,
    ram = newRam(options),
    own: ReadonlyMap<string, GuestRam> = new Map(),
  ) {
    try {
      this.ram = this.#keep(ram);
      this.kvm = this.#keep(Kvm.open(options.kvm));
      this.vm = this.#keep(this.kvm.createVm());
      this.vm.setTssAddr(map.TSS);
      this.vm.setIdentityMapAddr(map.IDENTITY_MAP);
      this.vm.createIrqchip();
      this.vm.setGsiRouting(LINE_ROUTES);
      // With port 0x61, through which guests gate channel 2 to measure time.
      if (spec.pit) this.vm.createPit2(KVM_PIT_SPEAKER_DUMMY);
      // CPUID hides performance counters, but AMD's oldest ones have no CPUID bit.
      if (this.kvm.checkExtension(KVM_CAP_PMU_CAPABILITY) > 0) {
        this.vm.enableCap(KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
      }
      this.memory = new GuestMemory(this.ram, spec.ram);
      this.dirty = new SharedArrayBuffer(DirtyMap.bytes(options.memory));
      this.dirtyMap = new DirtyMap(this.dirty);
      this.memories = new Map([[RAM, this.ram], ...this.#memoriesOf(board, spec, own)]);
      const topology = topologyOf(spec);
      this.vcpus = Array.from({ length: spec.cpus }, (_, index) => {
        return this.#keep(this.vm.createVcpu(placeOf(topology, index).apicId));
      });
      for (const capability of options.cpuChoice?.capabilities ?? []) {
        for (const vcpu of this.vcpus) vcpu.enableCap(capability);
      }
      this.ioWake = this.#keep(EventFd.create());
      this.#openCounters();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What KVM supports here, which it takes a millisecond to find out. */
  get supportedCpuid(): readonly CpuidEntry[] {
    const { path } = this.kvm;
    const supported = supportedCpuids.get(path) ?? this.kvm.supportedCpuid();
    supportedCpuids.set(path, supported);
    return supported;
  }

  /** Creates the events that the parts of the machine have reserved. @throws {SystemError} EMFILE */
  makeBells(count: number): void {
    while (this.bells.length < count) this.bells.push(this.#keep(EventFd.create()));
  }

  /** Event `number` of the machine. */
  readonly bell = (number: number): EventFd => this.bells[number];

  /** What a snapshot copies of it. */
  get parts() {
    const { kvm, vm, vcpus, ram, memory, memories } = this;
    return { kvm, vm, vcpus, ram, memory, memories };
  }

  /** KVM's counters of the VM and its vCPUs; undefined if the host's kernel has none (before Linux 5.14). */
  counters(): { vm: Counters; vcpus: Counters[] } | undefined {
    return ifThereAre(() => ({
      vm: this.vm.counters(),
      vcpus: this.vcpus.map((vcpu) => vcpu.counters()),
    }));
  }

  close(): void {
    // vCPUs before the VM, the VM before its memory.
    for (const thing of this.#open.reverse()) thing.close();
    this.#open.length = 0;
  }

  #memoriesOf(board: Board, spec: MachineSpec, own: ReadonlyMap<string, GuestRam>): [string, GuestRam][] {
    for (const memory of own.values()) this.#keep(memory);
    const readOnly = new Set(
      board
        .kernel?.(spec)
        .slots?.filter((slot) => slot.readOnly)
        .map((slot) => slot.memory),
    );
    const canBeReadOnly = this.vm.checkExtension("READONLY_MEM") > 0;
    return Object.entries(board.memories?.(spec) ?? {})
      .filter(([name]) => canBeReadOnly || !readOnly.has(name))
      .map(([name, size]) => [name, own.get(name) ?? this.#keep(GuestRam.create(size))]);
  }

  /** Those of a vCPU cannot be opened once it runs. */
  #openCounters(): void {
    ifThereAre(() => {
      for (const owner of [this.vm, ...this.vcpus]) owner.openCounters();
    });
  }

  #keep<T extends Closable>(thing: T): T {
    this.#open.push(thing);
    return thing;
  }
}

function ifThereAre<T>(counters: () => T): T | undefined {
  try {
    return counters();
  } catch (error) {
    if (error instanceof KvmError) return undefined;
    throw error;
  }
}

type RamOptions = Pick<CheckedOptions, "memory" | "memoryBacking" | "hugePages" | "prealloc">;

/** @throws {SystemError} ENOMEM if the host has not enough memory, or not enough huge pages */
function newRam({ memory, memoryBacking, hugePages, prealloc }: RamOptions): GuestRam {
  const ram = GuestRam.create(memory, { backing: memoryBacking, hugePages });
  if (!prealloc) return ram;
  for (let at = 0; at < memory; at += PREALLOC_BYTES) {
    const bytes = new Uint8Array(ram.map(at, Math.min(PREALLOC_BYTES, memory - at)));
    for (let page = 0; page < bytes.length; page += PAGE) bytes[page] = 0;
  }
  return ram;
}
