/**
 * What firmware does with a PC's PCI bus before it starts a kernel: BARs get
 * addresses, interrupt lines get inputs, RAM replaces ROM. For a kernel that is
 * started without firmware. It uses the ports that firmware uses.
 *
 * Source: PCI Local Bus 3.0, 6.2.5.1 (address maps); addresses and inputs as SeaBIOS
 * 1.16 chooses them, src/fw/pciinit.c.
 */
import type { AddressSpace } from "../bus/address-space.ts";
import type { AccessSize } from "../bus/io.ts";

const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
const FUNCTIONS = 256;

const PCI_VENDOR_ID = 0x00;
const PCI_COMMAND = 0x04;
const PCI_BASE_ADDRESS_0 = 0x10;
const PCI_INTERRUPT_LINE = 0x3c;
const PCI_INTERRUPT_PIN = 0x3d;
/** I/O, memory, bus master. */
const ENABLE = 0x7;
const BARS = 6;
const BAR_IO = 0x1;
const BAR_64 = 0x4;

const FIRST_PORT = 0xc000;
const FIRST_ADDRESS = 0xe000_0000;

export interface PciSetup {
  /** The input for each of the four interrupt lines. */
  readonly interrupts: readonly number[];
  /** The line of a pin: see InterruptRouter.lineOf. */
  readonly lineOf: (device: number, pin: number) => number;
}

interface Bar {
  readonly fn: number;
  readonly at: number;
  readonly isPorts: boolean;
  readonly isWide: boolean;
  readonly size: number;
}

export function assignPci(ports: AddressSpace, { interrupts, lineOf }: PciSetup): void {
  const found = Array.from({ length: FUNCTIONS }, (_, fn) => fn).filter((fn) => {
    return readConfig(ports, fn, PCI_VENDOR_ID, 2) !== 0xffff;
  });
  // The largest first, so that each is aligned behind the one before.
  const bars = found.flatMap((fn) => barsOf(ports, fn)).sort((a, b) => b.size - a.size);
  let [nextPort, nextAddress] = [FIRST_PORT, FIRST_ADDRESS];
  for (const { fn, at, isPorts, isWide, size } of bars) {
    const address = Math.ceil((isPorts ? nextPort : nextAddress) / size) * size;
    if (isPorts) nextPort = address + size;
    else nextAddress = address + size;
    writeConfig(ports, fn, at, 4, address);
    if (isWide) writeConfig(ports, fn, at + 4, 4, 0);
  }
  for (const fn of found) {
    const pin = readConfig(ports, fn, PCI_INTERRUPT_PIN, 1);
    if (pin !== 0) writeConfig(ports, fn, PCI_INTERRUPT_LINE, 1, interrupts[lineOf(fn >> 3, pin)]);
    writeConfig(ports, fn, PCI_COMMAND, 2, ENABLE);
  }
}

function barsOf(ports: AddressSpace, fn: number): Bar[] {
  const bars: Bar[] = [];
  for (let bar = 0; bar < BARS; bar++) {
    const at = PCI_BASE_ADDRESS_0 + 4 * bar;
    writeConfig(ports, fn, at, 4, 0xffff_ffff);
    const mask = readConfig(ports, fn, at, 4);
    if (mask === 0) continue;
    const isPorts = (mask & BAR_IO) !== 0;
    const isWide = !isPorts && (mask & BAR_64) !== 0;
    bars.push({ fn, at, isPorts, isWide, size: (~(mask & (isPorts ? ~0x3 : ~0xf)) >>> 0) + 1 });
    if (isWide) bar++;
  }
  return bars;
}

export function writeConfig(
  ports: AddressSpace,
  fn: number,
  at: number,
  size: AccessSize,
  value: number,
): void {
  ports.write(CONFIG_ADDRESS, 4, addressOf(fn, at));
  ports.write(CONFIG_DATA + (at & 3), size, value);
}

function readConfig(ports: AddressSpace, fn: number, at: number, size: AccessSize): number {
  ports.write(CONFIG_ADDRESS, 4, addressOf(fn, at));
  return ports.read(CONFIG_DATA + (at & 3), size);
}

function addressOf(fn: number, at: number): number {
  return (0x8000_0000 | (fn << 8) | (at & 0xfc)) >>> 0;
}
