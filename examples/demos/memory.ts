/**
 * What a guest uses as memory: a lazy mapping of this process, shown through slots.
 *
 * A page is allocated at its first access (mincore(2) shows it). The same bytes can be
 * shown twice. A slot can be read-only. KVM records which pages the guest wrote.
 *
 * Guest: memory.s. Source: Linux api.rst, 4.35 KVM_SET_USER_MEMORY_REGION, 4.8 KVM_GET_DIRTY_LOG,
 * 4.133 KVM_GET_STATS_FD; mincore(2).
 */
import {
  exitName,
  GuestRam,
  KVM_EXIT_HLT,
  KVM_EXIT_MMIO,
  Kvm,
  type MemorySlot,
  type RegsChange,
  type Vcpu,
  type Vm,
} from "vmexit/kvm";
import type { Out } from "./demos.ts";
import { startFlat } from "./flat-mode.ts";
import { Guest } from "./guest.ts";
import { heading, hex, table } from "./print.ts";

const PAGE = 4096;
const MIB = 1024 * 1024;
const END = 2 ** 32; // the end of what a 32-bit guest can address

// The mapping: 8 MiB for RAM, then 128 KiB for ROM, at these offsets.
const RAM_SIZE = 8 * MIB;
const ROM_SIZE = 128 * 1024;
const ROM_BYTE = 0xea;

// Guest-physical addresses.
const RAM_SLOT = 0;
const TOUCHED = 1 * MIB; // the first page that the guest writes
const TOUCHED_PAGES = 64;
const ALIAS = 0x1000_0000;
const ROM = END - ROM_SIZE; // where a PC has its firmware
const WRITTEN_PAGES = [300, 301, 307, 1024];

/** KVM's counters of faults in a guest's memory. Not every kernel has all of them. */
const COUNTERS = ["pf_taken", "pf_fixed", "pf_emulate"];

export async function demo(out: Out): Promise<void> {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  vm.setTssAddr(0xfffb_d000); // three free pages, for older Intel processors
  using ram = GuestRam.create(RAM_SIZE + ROM_SIZE);
  const memory = new Uint8Array(ram.map(0, ram.size));
  const slots: (MemorySlot & { name: string; size: number })[] = [
    { name: "RAM", slot: RAM_SLOT, address: 0, ram, size: RAM_SIZE, logDirtyPages: true },
    { name: "RAM, once more", slot: 1, address: ALIAS, ram, size: MIB },
    { name: "ROM", slot: 2, address: ROM, ram, offset: RAM_SIZE, size: ROM_SIZE, readOnly: true },
  ];
  for (const slot of slots) vm.setUserMemoryRegion(slot);
  using cpu = vm.createVcpu(0);
  const guest = new Guest("memory");
  addressTree(slots, ram, out);

  heading(out, "Lazy: a page is allocated at its first access");
  const rows: (string | number)[][] = [["", "resident pages", ...COUNTERS]];
  const residence = (when: string) => rows.push([when, ram.resident() / PAGE, ...counters(cpu)]);
  const mapped = ram.size / PAGE;
  residence(`${mapped} pages mapped, none touched`);
  memory.set(guest.bytes, guest.origin);
  residence("this program has put the guest there");
  const touch = () => run(cpu, guest.entry, { rdi: TOUCHED, rcx: TOUCHED_PAGES });
  touch();
  residence(`the guest has written to ${TOUCHED_PAGES} pages`);
  touch();
  residence("the same once more");
  table(out, rows);

  heading(out, "A slot is a window: the same byte at two addresses");
  run(cpu, guest.symbol("store"), { rdi: ALIAS + 0x2000, rax: 0x1234_5678 });
  const seen = new DataView(memory.buffer).getUint32(0x2000, true);
  out(
    `The guest stored 0x12345678 at ${hex(ALIAS + 0x2000)}; at offset 0x2000 of the mapping is ${hex(seen)}.`,
  );

  heading(out, "A read-only slot: loads are loads, stores are exits");
  memory.fill(ROM_BYTE, RAM_SIZE);
  const { rax } = run(cpu, guest.symbol("replace"), { rdi: ROM + 0x10 }, (address, value) =>
    out(`MMIO exit: the guest writes ${hex(value)} to ${hex(address)}. This program ignores it.`),
  );
  out(
    `The guest read ${hex(rax & 0xffn)} before and ${hex((rax >> 8n) & 0xffn)} after; neither was an exit.`,
  );

  heading(out, "The dirty log: the pages that the guest wrote since the log was last read");
  dirtyPages(vm); // clears the log
  for (const page of WRITTEN_PAGES) run(cpu, guest.symbol("store"), { rdi: page * PAGE, rax: 1 });
  memory[500 * PAGE] = 1;
  out(`The guest wrote to the pages ${WRITTEN_PAGES.join(", ")}, this program to page 500.`);
  out(`Logged: ${dirtyPages(vm).join(", ")}.`);
  out(`Read again: ${dirtyPages(vm).join(", ") || "none"}.`);
}

/** Prints addresses on the left, slots on the right. Between the slots there is nothing. */
function addressTree(
  slots: readonly (MemorySlot & { name: string; size: number })[],
  ram: GuestRam,
  out: Out,
): void {
  const range = (from: number, to: number) => `${hex(from, 8)}-${hex(to - 1, 8)}`;
  const rows = [["guest-physical addresses", "", "slot", "shows of the mapping", "in this process", "flags"]];
  let end = 0;
  for (const { address, size, name, slot, offset = 0, readOnly, logDirtyPages } of slots) {
    if (address > end) rows.push([`├─ ${range(end, address)}`, "nothing: MMIO", "none"]);
    end = address + size;
    const flags = [readOnly ? "read-only" : "", logDirtyPages ? "log dirty pages" : ""].join("");
    const host = hex(ram.hostAddress + offset);
    const shown = range(offset, offset + size);
    rows.push([`${end === END ? "└" : "├"}─ ${range(address, end)}`, name, `${slot}`, shown, host, flags]);
  }
  heading(out, "The address tree, and the slots behind it");
  table(out, rows);
}

/** Runs the guest's routine at `entry` to its HLT; calls `stored` for each store that exits. */
function run(cpu: Vcpu, entry: number, regs: RegsChange, stored?: (address: number, value: number) => void) {
  startFlat(cpu, entry);
  cpu.changeRegs(regs);
  for (;;) {
    const reason = cpu.run();
    if (reason === KVM_EXIT_HLT) return cpu.getRegs();
    const { mmio } = cpu.exit;
    if (reason !== KVM_EXIT_MMIO || !mmio.isWrite || stored === undefined) {
      throw new Error(`unexpected exit ${exitName(reason)}`);
    }
    stored(mmio.address, mmio.low);
  }
}

function counters(cpu: Vcpu): (number | string)[] {
  const stats = cpu.stats();
  return COUNTERS.map((name) => Number(stats.get(name) ?? Number.NaN)).map((n) =>
    Number.isNaN(n) ? "-" : n,
  );
}

/** The pages of the RAM slot that were written since the last call. Clears the log. */
function dirtyPages(vm: Vm): number[] {
  const pages = RAM_SIZE / PAGE;
  const bitmap = new Uint8Array(pages / 8);
  vm.getDirtyLog(RAM_SLOT, bitmap);
  return Array.from({ length: pages }, (_, page) => page).filter(
    (page) => bitmap[page >> 3] & (1 << (page & 7)),
  );
}
