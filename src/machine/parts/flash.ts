/**
 * A flash chip at a fixed address. While it is in read mode the guest sees its bytes as memory that it cannot
 * write; after a command all accesses exit, until it is in read mode again.
 */
import { Flash, FlashState } from "../../devices/flash.ts";
import type { Part } from "../part.ts";

export interface FlashConfig {
  /** The board's memory that has its bytes. */
  readonly memory: string;
  readonly readOnly: boolean;
}

export const flash: Part<FlashConfig> = {
  kind: "flash",
  assemble(slot, { memory, readOnly }) {
    const { ports, place } = slot;
    const { address, length } = place.windows[0];
    const chip = new Flash(slot.take(FlashState), {
      bytes: ports.boardMemory(memory),
      readOnly,
      modeChanged: ports.moved,
    });
    const slots = [{ memory, offset: 0, address, size: length, readOnly: true }];
    return { lock: slot.add(chip), kernel: () => (chip.readsArray ? { slots } : {}) };
  },
};
