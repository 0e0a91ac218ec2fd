/** A virtio device on PCI without a bus: its chips over their registers, and a driver of either interface. */
import { Lock } from "../../src/base/lock.ts";
import { Guarded } from "../../src/bus/guarded.ts";
import { Msix, MsixState } from "../../src/pci/msix.ts";
import type { DeviceReport, VirtioDevice } from "../../src/virtio/device.ts";
import { QueueRunner, QueueRunnerState } from "../../src/virtio/queue/queue-runner.ts";
import { QueueConfigState, QueueCursorState } from "../../src/virtio/queue/split-queue.ts";
import * as spec from "../../src/virtio/spec.ts";
import { VirtioPci, VirtioPciState } from "../../src/virtio/transport/pci.ts";
import { modernCapabilities, PciWindowState } from "../../src/virtio/transport/pci-capabilities.ts";
import {
  PciInterrupts,
  PciInterruptsState,
  PciQueueVectorState,
} from "../../src/virtio/transport/pci-interrupts.ts";
import { VirtioPciLegacy } from "../../src/virtio/transport/pci-legacy.ts";
import * as pci from "../../src/virtio/transport/pci-registers.ts";
import { blank, DriverQueue, RAM, type TestMemory } from "./virtio-driver.ts";

export const MODERN_BAR = 4;
const MSIX_CONTROL = 2;

export class PciPlugged {
  readonly memory: TestMemory;
  readonly reports: DeviceReport[] = [];
  readonly runner: QueueRunner;
  readonly transport: VirtioPci;
  readonly legacyChip: VirtioPciLegacy;
  readonly msix: Msix;
  readonly capability;
  readonly capabilities;
  readonly modern: Guarded;
  readonly legacy: Guarded;
  readonly regs = blank(VirtioPciState);
  readonly configs;
  /** What was sent, as "address data". */
  readonly messages: string[] = [];
  /** The level of the line. */
  line = false;
  readonly notified: number[] = [];
  resetsAwaited = 0;
  moves = 0;

  constructor(device: VirtioDevice, memory: TestMemory, vectors = device.queueSizes.length + 1) {
    this.memory = memory;
    this.configs = device.queueSizes.map(() => blank(QueueConfigState));
    const lock = new Lock(new Int32Array(new SharedArrayBuffer(4)), 0);
    const send = (address: number, data: number) =>
      void this.messages.push(`${address.toString(16)} ${data.toString(16)}`);
    this.msix = new Msix(blank(MsixState), vectors, { send });
    const interrupts = new PciInterrupts(
      blank(PciInterruptsState),
      device.queueSizes.map(() => blank(PciQueueVectorState)),
      this.msix,
      {
        set: (asserted) => {
          this.line = asserted;
        },
      },
    );
    this.capability = this.msix.capability(0x98, 1, () => interrupts.update());
    const wiring = {
      interrupts,
      notify: { notify: (queue: number) => void this.notified.push(queue) },
      queuesReset: {
        settle: () => {
          this.resetsAwaited++;
          this.runner.settleEpoch();
        },
      },
      moved: { settle: () => void this.moves++ },
    };
    this.transport = new VirtioPci(device, this.regs, this.configs, wiring);
    this.legacyChip = new VirtioPciLegacy(device, this.transport, this.regs, this.configs, wiring);
    this.capabilities = modernCapabilities(MODERN_BAR, this.transport, blank(PciWindowState));
    this.modern = new Guarded(this.transport, lock);
    this.legacy = new Guarded(this.legacyChip, lock);
    this.runner = new QueueRunner({
      name: "test0",
      device,
      transport: this.transport,
      configs: this.configs,
      cursors: device.queueSizes.map(() => blank(QueueCursorState)),
      state: blank(QueueRunnerState),
      memory,
      lock,
      report: (report) => void this.reports.push(report),
    });
    this.msix.reset();
    this.transport.reset();
    this.runner.settleEpoch(); // as the io thread does before it serves a queue
  }

  get status(): number {
    return this.modern.read(pci.DEVICE_STATUS, 1);
  }

  set status(value: number) {
    this.modern.write(pci.DEVICE_STATUS, 1, value);
    this.runner.settleEpoch();
  }

  get isr(): number {
    return this.modern.read(pci.ISR_WINDOW, 1);
  }

  /** Steps 1 to 6 of 3.1.1, with all that the device offers. True if it accepted. */
  negotiate(): boolean {
    this.status = 0;
    this.status = spec.ACKNOWLEDGE;
    this.status = spec.ACKNOWLEDGE | spec.DRIVER;
    for (const word of [0, 1]) {
      this.modern.write(pci.DEVICE_FEATURE_SELECT, 4, word);
      this.modern.write(pci.DRIVER_FEATURE_SELECT, 4, word);
      this.modern.write(pci.DRIVER_FEATURE, 4, this.modern.read(pci.DEVICE_FEATURE, 4));
    }
    this.status = spec.ACKNOWLEDGE | spec.DRIVER | spec.FEATURES_OK;
    return (this.status & spec.FEATURES_OK) !== 0;
  }

  setQueue(index: number, queue: DriverQueue, vector?: number): void {
    const { modern } = this;
    modern.write(pci.QUEUE_SELECT, 2, index);
    modern.write(pci.QUEUE_SIZE, 2, queue.size);
    if (vector !== undefined) modern.write(pci.QUEUE_MSIX_VECTOR, 2, vector);
    modern.write(pci.QUEUE_DESC, 4, queue.desc);
    modern.write(pci.QUEUE_DRIVER, 4, queue.driver);
    modern.write(pci.QUEUE_DEVICE, 4, queue.device);
    modern.write(pci.QUEUE_ENABLE, 2, 1);
  }

  /** All that a modern driver does before its first request. */
  bringUp(size: number, vector?: number): DriverQueue {
    this.negotiate();
    this.#clearRings();
    const queue = new DriverQueue(this.memory, size);
    this.setQueue(0, queue, vector);
    this.status = this.status | spec.DRIVER_OK;
    return queue;
  }

  /** The same for a driver of Linux 3.2, which sets DRIVER_OK only after its first requests. */
  bringUpLegacy(without = 0): LegacyQueue {
    const { legacy } = this;
    legacy.write(pci.LEGACY_DEVICE_STATUS, 1, 0);
    this.runner.settleEpoch();
    legacy.write(pci.LEGACY_DEVICE_STATUS, 1, spec.ACKNOWLEDGE);
    legacy.write(pci.LEGACY_DEVICE_STATUS, 1, spec.ACKNOWLEDGE | spec.DRIVER);
    const offered = legacy.read(pci.LEGACY_DEVICE_FEATURES, 4);
    legacy.write(pci.LEGACY_DRIVER_FEATURES, 4, (offered & ~without) >>> 0);
    legacy.write(pci.LEGACY_QUEUE_SELECT, 2, 0);
    this.#clearRings();
    const queue = new LegacyQueue(this.memory, legacy.read(pci.LEGACY_QUEUE_SIZE, 2));
    legacy.write(pci.LEGACY_QUEUE_ADDRESS, 4, queue.desc / pci.LEGACY_PAGE);
    return queue;
  }

  #clearRings(): void {
    new Uint8Array(this.memory.at(RAM).buffer, this.memory.at(RAM).byteOffset, 0x4000).fill(0);
  }

  /** Message Control of MSI-X: bit 15 enables, bit 14 masks all. */
  set msixControl(bits: number) {
    this.capability.write(MSIX_CONTROL, 2, bits);
  }

  /** Message `data` to the first local APIC. */
  setMessage(vector: number, data: number, masked = false): void {
    const entry = 16 * vector;
    this.msix.write(entry, 4, 0xfee0_0000);
    this.msix.write(entry + 4, 4, 0);
    this.msix.write(entry + 8, 4, data);
    this.msix.write(entry + 12, 4, masked ? 1 : 0);
  }
}

/** 2.7.2: the used ring begins at the next page. */
export class LegacyQueue extends DriverQueue {
  constructor(memory: TestMemory, size: number) {
    super(memory, size, RAM, 4096);
  }
}
