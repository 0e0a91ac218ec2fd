/** Ports of a PC that are little more than a byte: see devices/system-ports.ts. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { dmaControllers, Latches, LatchesState, PortA, PortAState } from "../../devices/system-ports.ts";
import type { Part } from "../part.ts";

export const portA: Part<object> = {
  kind: "port-a",
  assemble: (slot) => ({ lock: slot.add(new ByteWide(new PortA(slot.take(PortAState), slot.ports.power))) }),
};

export const apm: Part<object> = {
  kind: "apm",
  assemble: (slot) => ({ lock: slot.add(new ByteWide(new Latches(slot.take(LatchesState)))) }),
};

export const dma: Part<object> = {
  kind: "dma",
  assemble: (slot) => ({ lock: slot.add(new ByteWide(dmaControllers(slot.take(LatchesState)))) }),
};
