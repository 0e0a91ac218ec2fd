import { expect, test } from "vitest";
import { Arena } from "../../../src/base/arena.ts";
import { AddressSpace } from "../../../src/bus/address-space.ts";
import { ByteWide } from "../../../src/bus/byte-wide.ts";
import { Guarded } from "../../../src/bus/guarded.ts";
import type { AccessSize, IoDevice } from "../../../src/bus/io.ts";
import { ACPI_PM_PORTS, AcpiPm, AcpiPmState } from "../../../src/devices/acpi-pm.ts";
import { CMOS_PORTS, Cmos, CmosState } from "../../../src/devices/cmos.ts";
import { DEBUG_CONSOLE_PORTS, DebugConsole } from "../../../src/devices/debug-console.ts";
import { DEBUG_EXIT_PORTS, DebugExit } from "../../../src/devices/debug-exit.ts";
import { I8042, I8042_COMMAND, I8042_DATA, I8042State } from "../../../src/devices/i8042.ts";
import { POST_CODE_PORTS, PostCode, PostCodeState } from "../../../src/devices/post-code.ts";
import { UART16550_PORTS, Uart16550, Uart16550State } from "../../../src/devices/uart16550.ts";
import { World } from "../../support/device-promises.ts";
import { isHeld } from "../../support/locks.ts";
import { random } from "../../support/random.ts";

/** A PC's ports, as close together as they come, so that wide accesses straddle devices. */
function machine() {
  const world = new World();
  const arena = new Arena(new SharedArrayBuffer(16384));
  const ports = new AddressSpace("ports", arena.takeCounters(32, "ports"));
  const uart = new Uart16550(arena.take(Uart16550State, "com1"), world.irq, world.tx, world.signal);
  const pm = new AcpiPm(arena.take(AcpiPmState, "pm"), world.irq, world.power, world.clock);
  const i8042 = new I8042(arena.take(I8042State, "i8042"), world.irq, world.power);
  const cmos = new Cmos(arena.take(CmosState, "cmos"), world.clock);
  const post = new PostCode(arena.take(PostCodeState, "post"));

  const guard = (device: IoDevice) => new Guarded(new ByteWide(device), arena.takeLock("lock"));
  const keyboard = guard(i8042);
  const parts: [string, number, number, IoDevice, number?][] = [
    ["i8042 data", 0x10, 1, keyboard, I8042_DATA],
    ["i8042 command", 0x14, 1, keyboard, I8042_COMMAND],
    ["cmos", 0x15, CMOS_PORTS, guard(cmos)],
    ["post", 0x17, POST_CODE_PORTS, guard(post)],
    ["com1", 0x18, UART16550_PORTS, guard(uart)],
    ["pm", 0x22, ACPI_PM_PORTS, new Guarded(pm, arena.takeLock("lock"))],
    ["exit", 0x32, DEBUG_EXIT_PORTS, new DebugExit(world.power)],
    ["console", 0x37, DEBUG_CONSOLE_PORTS, new DebugConsole(world.tx)],
  ];
  for (const [name, address, length, device, offset = 0] of parts) {
    ports.add({ name, address, length, device, offset });
    device.reset();
  }
  return { world, arena, ports, uart, pm };
}

test.each([1, 2, 3, 4, 5, 6, 7, 8, 0xbadc0de, 0xfeedface])(
  "random accesses to everything, seed %i",
  (seed) => {
    const { world, arena, ports, uart, pm } = machine();
    const next = random(seed);
    const sizes: AccessSize[] = [1, 2, 4];
    for (let i = 0; i < 20_000; i++) {
      const port = Math.floor(next() * 0x40);
      const size = sizes[Math.floor(next() * 3)];
      const value = Math.floor(next() * 2 ** (8 * size));
      const kind = next();
      if (kind < 0.5) {
        ports.write(port, size, value);
      } else if (kind < 0.9) {
        const got = ports.read(port, size);
        if (!(Number.isInteger(got) && got >= 0 && got < 2 ** (8 * size))) {
          expect.unreachable(`read of ${size} bytes at ${port} gave ${got}`);
        }
      } else if (kind < 0.98) {
        uart.receive(value & 0xff);
      } else {
        pm.pressPowerButton();
      }
      world.timeMs += next() * 100;
    }
    expect(arena.locks.some(isHeld)).toBe(false);
    for (const line of world.log) {
      if (!/^(irq (true|false)|tx \d{1,3}|signal|off|reset|exit \d{1,3})$/.test(line))
        expect.unreachable(line);
    }
  },
);
