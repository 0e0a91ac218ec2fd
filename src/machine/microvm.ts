/**
 * The microvm: what is where.
 *
 * Runs once in every thread. The threads agree because nothing here is random,
 * asynchronous or dependent on the host: the same spec over the same arena is
 * the same machine.
 */
import type { Arena } from "../base/arena.ts";
import type { Lock } from "../base/lock.ts";
import { ByteWide } from "../bus/byte-wide.ts";
import { ACPI_PM_PORTS, AcpiPm, AcpiPmState } from "../devices/acpi-pm.ts";
import { CMOS_PORTS, Cmos, CmosState } from "../devices/cmos.ts";
import { DEBUG_CONSOLE_PORTS as DEBUG_CONSOLE_LENGTH, DebugConsole } from "../devices/debug-console.ts";
import { DEBUG_EXIT_PORTS, DebugExit } from "../devices/debug-exit.ts";
import { I8042, I8042_COMMAND, I8042_DATA, I8042State } from "../devices/i8042.ts";
import { POST_CODE_PORTS, PostCode, PostCodeState } from "../devices/post-code.ts";
import { UART16550_PORTS, Uart16550, Uart16550State } from "../devices/uart16550.ts";
import { blkState, VirtioBlk } from "../virtio/blk/blk.ts";
import type { VirtioDevice } from "../virtio/device.ts";
import { QueueRunnerState } from "../virtio/queue/queue-runner.ts";
import {
  type QueueConfig,
  QueueConfigState,
  type QueueCursor,
  QueueCursorState,
} from "../virtio/queue/split-queue.ts";
import { VirtioRng } from "../virtio/rng.ts";
import { VirtioMmio, VirtioMmioState } from "../virtio/transport/mmio.ts";
import { DEBUG_CONSOLE, type Host } from "./host.ts";
import { type AccessCounts, Machine, type Plugged } from "./machine.ts";
import * as map from "./memory-map.ts";
import type { MachineSpec } from "./spec.ts";

/** A virtio device on its transport, with all that its two threads share. */
export interface VirtioSlot {
  readonly name: string;
  readonly device: VirtioDevice;
  readonly transport: VirtioMmio;
  readonly lock: Lock;
  readonly configs: readonly QueueConfig[];
  readonly cursors: readonly QueueCursor[];
  readonly runner: ReturnType<typeof QueueRunnerState.view>;
}

export interface Microvm {
  readonly machine: Machine;
  readonly serials: readonly Plugged<Uart16550>[];
  readonly pm: Plugged<AcpiPm>;
  readonly virtio: readonly VirtioSlot[];
  /** By drive; the first slots are theirs. */
  readonly disks: readonly VirtioBlk[];
}

/** Bytes of shared state that a machine of this spec may need, with room to spare. */
export function stateBytes(spec: MachineSpec): number {
  const queues = spec.drives.reduce((sum, drive) => sum + drive.queues, 1);
  return 65536 + queues * 2048 + spec.devices.length * 256;
}

/** Where virtio device `slot` is. */
export function virtioPlace(slot: number): { address: number; size: number; irq: number } {
  return {
    address: map.VIRTIO_MMIO + slot * map.VIRTIO_MMIO_STRIDE,
    size: map.VIRTIO_MMIO_STRIDE,
    irq: map.VIRTIO_IRQS[slot],
  };
}

/** Virtio devices in the order of their slots: drives first. */
export function virtioDevices(spec: MachineSpec): number {
  return spec.drives.length + (spec.rng ? 1 : 0);
}

export function assembleMicrovm(spec: MachineSpec, arena: Arena, host: Host, counts: AccessCounts): Microvm {
  const machine = new Machine(arena, host.driveIrq, counts);
  const ports = (address: number, length: number, offset = 0) =>
    ({ space: "ports", address, length, offset }) as const;
  const byteWide = (chip: ConstructorParameters<typeof ByteWide>[0]) => new ByteWide(chip);

  const serials = map.SERIAL.slice(0, spec.serialPorts).map(({ name, port, irq }, n) => {
    const regs = machine.take(Uart16550State, name);
    const chip = new Uart16550(regs, machine.line(irq, name), host.console(n), host.receiverReady(n));
    return machine.add(name, chip, [ports(port, UART16550_PORTS)], byteWide);
  });

  const cmos = new Cmos(machine.take(CmosState, "cmos"), host.clock);
  machine.add("cmos", cmos, [ports(map.CMOS_PORT, CMOS_PORTS)], byteWide);

  const keyboardLine = machine.line(map.I8042_IRQ, "i8042");
  const i8042 = new I8042(machine.take(I8042State, "i8042"), keyboardLine, host.power);
  machine.add(
    "i8042",
    i8042,
    [ports(map.I8042_DATA_PORT, 1, I8042_DATA), ports(map.I8042_COMMAND_PORT, 1, I8042_COMMAND)],
    byteWide,
  );

  const sci = machine.line(map.SCI_IRQ, "acpi-pm");
  const acpiPm = new AcpiPm(machine.take(AcpiPmState, "acpi-pm"), sci, host.power, host.clock);
  const pm = machine.add("acpi-pm", acpiPm, [ports(map.ACPI_PM_PORT, ACPI_PM_PORTS)]);

  const postCode = new PostCode(machine.take(PostCodeState, "post-code"));
  machine.add("post-code", postCode, [ports(map.POST_CODE_PORT, POST_CODE_PORTS)], byteWide);
  const debugPorts = map.DEBUG_CONSOLE_PORTS.map((port) => ports(port, DEBUG_CONSOLE_LENGTH));
  machine.add("debug-console", new DebugConsole(host.console(DEBUG_CONSOLE)), debugPorts, byteWide);
  machine.add("debug-exit", new DebugExit(host.power), [ports(map.DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS)]);

  const virtio: VirtioSlot[] = [];
  const addVirtio = (name: string, device: VirtioDevice) => {
    const slot = virtio.length;
    const place = virtioPlace(slot);
    const regs = machine.take(VirtioMmioState, name);
    const configs = device.queueSizes.map(() => machine.take(QueueConfigState, name));
    const cursors = device.queueSizes.map(() => machine.take(QueueCursorState, name));
    const runner = machine.take(QueueRunnerState, name);
    const transport = new VirtioMmio(device, regs, configs, {
      interrupt: host.interrupt(slot),
      notify: host.notify(slot),
      queuesReset: host.queuesReset(slot),
      page: host.registerPage?.(slot),
      acknowledged: host.acknowledged?.(slot),
    });
    const { lock } = machine.add(name, transport, [
      { space: "memory", address: place.address, length: place.size },
    ]);
    virtio.push({ name, device, transport, lock, configs, cursors, runner });
  };
  const disks = spec.drives.map((drive, n) => {
    const name = `virtio-blk${n}`;
    const state = blkState(drive.queues, (layout) => machine.take(layout, name));
    const disk = new VirtioBlk(drive, state, host.disk?.(n, name));
    addVirtio(name, disk);
    return disk;
  });
  if (spec.rng) addVirtio("virtio-rng", new VirtioRng(host.entropy?.()));

  // Last, so that a device of the program's own cannot move anything above.
  spec.devices.forEach(({ name, space, address, length }, n) => {
    const place = { space: space === "port" ? "ports" : "memory", address, length } as const;
    machine.add(name, host.ownDevice(n), [place]);
  });

  return { machine, serials, pm, virtio, disks };
}
