/**
 * A board of four parts, for tests: what a PCI bus will need, without PCI. A
 * module of its own, as the threads of a machine load it too; `lib` is dist/ for
 * them, for tests of the sources it is src/.
 *
 *   port 0x510      a base register (4 bytes): where the window and the memory of `bar` are, or 0
 *   bar             a window of 4 KiB at the base; it reads as MAGIC
 *   bar's doorbell  a write to base + 0x800 signals an event and does not exit
 *   bar's memory    a page of "vram" at base + 0x1000, that the guest reads and writes without an exit
 *   serial, pm, debug-exit as on the microvm
 */
export const BASE_PORT = 0x510;
export const DOORBELL = 0x800;
export const VRAM = 0x1000;
export const MAGIC = 0x1234_5678;
const PAGE = 0x1000;

/**
 * @param lib the modules that it is made of
 * @returns {import("../../src/machine/board.ts").Board}
 */
export function movingBoard({ layout, plug, serialPort, acpiPm, debugExit }) {
  const BarState = layout("bar", 1, { base: "u32" });

  /** @type {import("../../src/machine/part.ts").Part<object>} */
  const bar = {
    kind: "bar",
    assemble(slot) {
      const regs = slot.take(BarState);
      const bell = slot.bells(1);
      const notify = slot.ports.notify(slot.name);
      const config = {
        read: () => regs.base,
        write(_offset, size, value) {
          if (size !== 4) return undefined;
          regs.base = (value & ~(PAGE - 1)) >>> 0;
          return slot.ports.moved;
        },
        reset() {
          regs.base = 0;
        },
      };
      const window = {
        read: () => MAGIC,
        write: () => notify.notify(0),
        reset() {},
      };
      const lock = slot.add(config);
      const place = () => ({ address: regs.base, length: regs.base === 0 ? 0 : PAGE });
      slot.addMoving("memory", window, place, lock);
      return {
        lock,
        kernel() {
          const { base } = regs;
          if (base === 0) return {};
          return {
            slots: [{ memory: "vram", offset: 0, address: base + VRAM, size: PAGE, readOnly: false }],
            doorbells: [{ bell, address: base + DOORBELL, length: 4 }],
          };
        },
      };
    },
  };

  return {
    name: "moving",
    parts: () => [
      plug(serialPort, "com1", { windows: [port(0x3f8, 8)], gsi: 4 }, {}),
      plug(acpiPm, "acpi-pm", { windows: [port(0x600, 16)], gsi: 9 }, {}),
      plug(debugExit, "debug-exit", { windows: [port(0xf4, 4)] }, {}),
      plug(bar, "bar", { windows: [port(BASE_PORT, 4)] }, {}),
    ],
    memories: () => ({ vram: PAGE }),
  };
}

function port(address, length) {
  return { space: "ports", address, length };
}
