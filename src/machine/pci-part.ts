/**
 * Puts a part on a PCI bus as one function. Its configuration space, the chips
 * behind its BARs and its interrupt pin have one lock: what one of them decides
 * for another cannot change halfway.
 *
 * Lock order: the lock of the configuration ports, a function's, the interrupt
 * router's.
 */
import type { Lock } from "../base/lock.ts";
import type { MovingWindow } from "../bus/address-space.ts";
import type { IoDevice, IrqLine } from "../bus/io.ts";
import { LevelLineState } from "../bus/irq.ts";
import type { FunctionAddress, PciBus } from "../pci/bus.ts";
import { ConfigSpace, type FunctionSpec, PciConfigState } from "../pci/config-space.ts";
import { InterruptRouter } from "../pci/interrupt-router.ts";
import type { Description } from "./describe/description.ts";
import type { Made, Place, Plug, Slot } from "./part.ts";

/** What a part gets from the board, besides what every part gets. */
export interface PciSlot extends Slot {
  readonly address: FunctionAddress;
  /** Adds a function of that kind to the bus. Call it first, once. */
  configure(spec: FunctionSpec): ConfigSpace;
  /** The function's lock. */
  readonly lock: Lock;
  /** Connects a chip, under the function's lock, to the window that BAR `bar` places. */
  addBar(bar: number, chip: IoDevice): void;
  /** The same for a window that other registers of the function place. */
  addPlaced(space: "ports" | "memory", chip: IoDevice, place: MovingWindow["place"]): void;
  /** The function's interrupt pin. Set it under the function's lock. */
  intx(): IrqLine;
  readonly router: InterruptRouter;
}

/** A part that is a PCI function. */
export interface PciPart<C> {
  readonly kind: string;
  assemble(slot: PciSlot, config: C): Made;
  describe?(place: Place, config: C, address: FunctionAddress): Description;
}

/** A bus with its interrupt lines, as one thread assembles it. `router` is there once the part that has it is assembled. */
export interface PciSegment {
  readonly bus: PciBus;
  router: InterruptRouter | undefined;
}

/** @param place of windows that do not move, if the part has any */
export function plugPci<C>(
  segment: PciSegment,
  part: PciPart<C>,
  name: string,
  address: FunctionAddress,
  config: C,
  place: Place = { windows: [] },
): Plug {
  return {
    name,
    place,
    assemble: (slot) => part.assemble(pciSlot(segment, address, slot), config),
    describe: () => part.describe?.(place, config, address) ?? {},
  };
}

function pciSlot({ bus, router }: PciSegment, address: FunctionAddress, slot: Slot): PciSlot {
  if (router === undefined) throw new RangeError(`${slot.name}: the bus has no interrupt lines yet`);
  let config: ConfigSpace | undefined;
  let lock: Lock | undefined;
  let pin: IntxPin | undefined;
  const configured = (): { config: ConfigSpace; lock: Lock } => {
    if (config === undefined || lock === undefined)
      throw new RangeError(`${slot.name} is not a function yet`);
    return { config, lock };
  };
  return {
    ...slot,
    address,
    router,
    get lock() {
      return configured().lock;
    },
    configure(spec) {
      config = new ConfigSpace(slot.take(PciConfigState), spec, {
        moved: slot.ports.moved,
        connectIntx: (connected) => pin?.connect(connected),
      });
      lock = slot.addHidden(config);
      if (config.interruptPin !== 0) {
        const line = router.source(
          InterruptRouter.lineOf(address.device, config.interruptPin),
          slot.take(LevelLineState),
        );
        pin = new IntxPin(config, line);
      }
      bus.add(address, { config, lock });
      return config;
    },
    addBar(bar, chip) {
      const { config, lock } = configured();
      const spec = config.bars[bar];
      if (spec === undefined) throw new RangeError(`${slot.name} has no BAR ${bar}`);
      slot.addMoving(spec.space, chip, () => config.bar(bar), lock, lock);
    },
    addPlaced(space, chip, place) {
      const { lock } = configured();
      slot.addMoving(space, chip, place, lock, lock);
    },
    intx() {
      if (pin === undefined) throw new RangeError(`${slot.name} has no interrupt pin`);
      return pin;
    },
  };
}

/** An interrupt pin, which the guest can disconnect: Status shows its level, the line gets it unless it is disabled. */
class IntxPin implements IrqLine {
  readonly #config: ConfigSpace;
  readonly #line: IrqLine;

  constructor(config: ConfigSpace, line: IrqLine) {
    this.#config = config;
    this.#line = line;
  }

  set(asserted: boolean): void {
    this.#config.showInterrupt(asserted);
    this.#line.set(asserted && this.#config.intxConnected);
  }

  connect(connected: boolean): void {
    this.#line.set(connected && this.#config.showsInterrupt);
  }
}
