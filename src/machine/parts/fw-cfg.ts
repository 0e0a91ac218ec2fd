/** QEMU's firmware configuration device. Its items are in a memory of the board. */
import { findFwCfgItem } from "../../boot/fw-cfg.ts";
import { FW_CFG_PORTS, FwCfg, FwCfgState } from "../../devices/fw-cfg.ts";
import type { Part } from "../part.ts";
import { FW_CFG } from "../pc-memories.ts";

export interface FwCfgConfig {
  /** There is something in it. */
  readonly hasContents: boolean;
}

export const fwCfg: Part<FwCfgConfig> = {
  kind: "fw-cfg",
  assemble(slot) {
    const { ports } = slot;
    const contents = ports.boardMemory(FW_CFG);
    const chip = new FwCfg(slot.take(FwCfgState), (key) => contents && findFwCfgItem(contents, key), {
      read(address, length) {
        const memory = ports.ram?.().memory;
        return memory === undefined || memory.translate(address, length) < 0
          ? undefined
          : memory.read(address, length);
      },
      write(address, bytes) {
        const ram = ports.ram?.();
        const offset = ram?.memory.translate(address, bytes.length) ?? -1;
        if (ram === undefined || offset < 0) return false;
        ram.memory.write(address, bytes);
        ram.dirty.mark(offset, bytes.length);
        return true;
      },
    });
    return { lock: slot.add(chip) };
  },
  describe: ({ windows: [{ address }] }, { hasContents }) =>
    hasContents ? { fwCfg: { port: address, ports: FW_CFG_PORTS } } : {},
};
