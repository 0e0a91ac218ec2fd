/**
 * A device with a window in the guest's memory: each load and store there is an
 * exit. Then RAM takes the place of the window, and the same guest runs without an
 * exit.
 *
 * Guest: mmio.s. Source: api.rst, section 5, KVM_EXIT_MMIO; 4.35
 * KVM_SET_USER_MEMORY_REGION.
 */
import { exitName, GuestRam, KVM_EXIT_HLT, KVM_EXIT_MMIO, type Vcpu } from "vmexit/kvm";
import { bareMachine, startAt } from "./bare-machine.ts";
import type { Out } from "./demos.ts";
import { Guest } from "./guest.ts";
import { heading, hex, table } from "./print.ts";

/** What a load returns where no device answers: on a bus that nothing drives, all lines read as 1. */
const NOBODY = 0xffff_ffff;

/** A chip that squares numbers. It knows the offsets of its registers, and no address. */
class Squarer {
  static readonly ID = 0;
  static readonly OPERAND = 4;
  static readonly SQUARE = 8;
  static readonly registers = ["ID", "OPERAND", "SQUARE"];

  #operand = 0;

  /** Four bytes at `offset`, a multiple of 4. */
  load(offset: number): number {
    switch (offset) {
      case Squarer.ID:
        return new DataView(new TextEncoder().encode("SQR1").buffer).getUint32(0, true);
      case Squarer.OPERAND:
        return this.#operand;
      case Squarer.SQUARE:
        return Math.imul(this.#operand, this.#operand) >>> 0;
      default:
        return NOBODY;
    }
  }

  store(offset: number, value: number): void {
    if (offset === Squarer.OPERAND) this.#operand = value;
  }
}

export async function demo(out: Out): Promise<void> {
  const guest = new Guest("mmio");
  const window = { address: guest.symbol("SEGMENT") * 16, length: guest.symbol("LENGTH") };
  using machine = bareMachine(guest);
  const { vm, cpu, memory } = machine;
  out(`RAM: ${hex(0)} to ${hex(memory.length - 1)}, memory slot 0.`);
  out(
    `The device's window: ${hex(window.address)} to ${hex(window.address + window.length - 1)}, no slot at all.`,
  );

  heading(out, "With the device");
  const device = new Squarer();
  print(out, runUntilHlt(cpu, guest, window, device));
  printResults(out, guest, memory);

  heading(out, "With RAM in its place");
  using ram = GuestRam.create(window.length);
  new Uint8Array(ram.map(0, ram.size)).set(new TextEncoder().encode("RAM!"));
  vm.setUserMemoryRegion({ slot: 1, address: window.address, ram });
  out(
    `Slot 1 shows ${window.length} bytes of RAM at ${hex(window.address)}. The same guest once more, from its start:`,
  );
  out("");
  startAt(cpu, guest.entry);
  print(out, runUntilHlt(cpu, guest, window, device));
  printResults(out, guest, memory);
}

/** Serves the window until the guest halts; returns a row for each exit. */
function runUntilHlt(
  cpu: Vcpu,
  guest: Guest,
  window: { address: number; length: number },
  device: Squarer,
): string[][] {
  const rows: string[][] = [];
  for (;;) {
    const reason = cpu.run();
    if (reason === KVM_EXIT_HLT) return [...rows, [exitName(reason)]];
    if (reason !== KVM_EXIT_MMIO) throw new Error(`unexpected exit ${exitName(reason)}`);
    const { mmio } = cpu.exit;
    const offset = mmio.address - window.address;
    const inside = offset < window.length;
    const register = offset & ~3; // a load of part of a register returns that part
    const shift = (offset & 3) * 8;
    if (!mmio.isWrite) mmio.low = inside ? device.load(register) >>> shift : NOBODY;
    else if (inside && mmio.length === 4) device.store(offset, mmio.low);
    const name = Squarer.registers[register >> 2];
    rows.push([
      exitName(reason),
      mmio.isWrite ? "store" : "load",
      hex(mmio.address),
      `${mmio.length}`,
      mmio.isWrite ? `← ${hex(mmio.low)}` : `→ ${hex(mmio.low)}`,
      !inside ? "outside" : `+${offset} ${name ?? "no register"}`,
      guest.sourceAt(Number(cpu.getRegs().rip)) ?? "",
    ]);
  }
}

/** The values that the guest loaded, as it stored them in its RAM. */
function printResults(out: Out, guest: Guest, memory: Uint8Array): void {
  const found = new DataView(memory.buffer, guest.symbol("RESULTS"));
  const id = new TextDecoder().decode(memory.subarray(found.byteOffset, found.byteOffset + 4));
  out("");
  out("The guest found:");
  table(out, [
    ["ID", `"${id}"`],
    ["SQUARE of 12", `${found.getUint32(4, true)}`],
    ["SQUARE after inc OPERAND", `${found.getUint32(8, true)}`],
    ["the second byte of ID", `'${String.fromCharCode(found.getUint8(12))}'`],
    ["where there is no register", hex(found.getUint32(16, true), 8)],
    ["across the window's end", hex(found.getUint32(20, true), 8)],
  ]);
}

/** Prints a line for each exit, and the number of exits. */
function print(out: Out, exits: readonly string[][]): void {
  table(out, [["reason", "", "address", "size", "data", "register", "RIP is at"], ...exits]);
  const loads = exits.filter(([, direction]) => direction === "load").length;
  const stores = exits.filter(([, direction]) => direction === "store").length;
  out(`  Loads that left the guest: ${loads}; stores: ${stores}.`);
}
