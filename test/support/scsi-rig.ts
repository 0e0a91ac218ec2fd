/** A virtio-scsi controller with disks and CDs in memory, and a driver of it. */
import { DISK_COUNTERS } from "../../src/disk/disk-counters.ts";
import { type ErrorPolicy, HostErrors } from "../../src/disk/host-errors.ts";
import type { Throttle } from "../../src/disk/throttle.ts";
import { CdUnit, CdUnitState } from "../../src/scsi/cd-unit.ts";
import { type DiskFacts, DiskUnit } from "../../src/scsi/disk-unit.ts";
import { UnitState } from "../../src/scsi/unit.ts";
import { scsiState, VirtioScsi } from "../../src/virtio/scsi/scsi.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { type Buffer, blank, DriverQueue, Plugged, RAM, TestMemory } from "./virtio-driver.ts";

export const DISK_BYTES = 1 << 20;
export const HEADER = RAM + 0x8000;
export const RESPONSE = RAM + 0x8800;
export const DATA = RAM + 0x9000;
const HEADER_BYTES = 51;
export const RESPONSE_BYTES = 108;
const QUEUE_SIZE = 64;

export const OK = 0;
export const READS = { address: DATA, length: 512, writable: true };
export const WRITES = { address: DATA, length: 512 };

export interface Unit extends Partial<DiskFacts> {
  readonly target: number;
  readonly lun: number;
  readonly werror?: ErrorPolicy;
  readonly throttle?: Throttle;
  readonly isCd?: boolean;
}

export interface Answer {
  readonly response: number;
  readonly status: number;
  /** Key, code and qualifier. */
  readonly sense: number;
  readonly residual: number;
  /** In the used ring; -1 if the request is not there. */
  readonly used: number;
}

export function scsiRig(units: readonly Unit[] = [{ target: 0, lun: 0 }], now: () => number = () => 0) {
  const memory = new TestMemory();
  const reports: string[] = [];
  const states = units.map(() => blank(UnitState));
  const served = units.map(({ target, lun, werror = "report", throttle, isCd = false, ...facts }, n) => {
    const all = {
      ...{ type: 0, model: "VMEXIT HARDDISK", serial: `disk-${n}`, blockSize: 4096, readOnly: false },
      ...{ sectors: DISK_BYTES / 512, writeCache: true, configWce: true },
      ...facts,
    };
    const unit = isCd
      ? new CdUnit({ ...all, type: 5, model: "VMEXIT DVD-ROM" }, states[n], blank(CdUnitState))
      : new DiskUnit(all, states[n]);
    const report = ({ message }: { message: string }) => void reports.push(message);
    return {
      ...{ target, lun, unit, backend: new MemoryDisk(memory, DISK_BYTES), throttle },
      errors: new HostErrors({ name: `disk${n}`, report, rerror: "report", werror }),
      counters: new Float64Array(DISK_COUNTERS),
    };
  });
  const controller = { queues: 1, queueSize: QUEUE_SIZE };
  const state = scsiState(1, blank);
  /** The device over the same state, as in another thread or a restored machine. */
  const another = () => new VirtioScsi(controller, state, { units: served, memory, now });
  const device = another();
  const plugged = new Plugged(device, memory);
  const queues: DriverQueue[] = [];

  function bringUp(): void {
    plugged.negotiate();
    queues.length = 0;
    const { buffer, byteOffset } = memory.at(RAM);
    new Uint8Array(buffer, byteOffset, HEADER - RAM).fill(0); // the rings
    for (let n = 0; n < 3; n++) {
      const queue = new DriverQueue(
        memory,
        QUEUE_SIZE,
        n === 0 ? RAM : Math.ceil(queues[n - 1].end / 16) * 16,
      );
      queues.push(queue);
      plugged.setQueue(n, queue);
    }
    plugged.driverOk();
  }
  bringUp();

  function header(cdb: readonly number[], target = 0, lun = 0, id = 0, at = HEADER): void {
    const bytes = new Uint8Array(HEADER_BYTES);
    bytes.set([1, target, 0x40 | (lun >> 8), lun & 0xff]);
    bytes[8] = id;
    bytes.set(cdb, 19);
    bytes.forEach((byte, n) => {
      memory.at(at + n).setUint8(0, byte);
    });
  }

  /** Offers a request without serving it. */
  function offer(cdb: readonly number[], data: readonly Buffer[] = [], target = 0, lun = 0, id = 0): number {
    header(cdb, target, lun, id);
    memory.at(RESPONSE).setUint8(11, 0xee);
    return queues[2].add([
      { address: HEADER, length: HEADER_BYTES },
      ...data.filter(({ writable }) => writable !== true),
      { address: RESPONSE, length: RESPONSE_BYTES, writable: true },
      ...data.filter(({ writable }) => writable === true),
    ]);
  }

  function answer(): Answer {
    const view = memory.at(RESPONSE);
    const sense = (view.getUint8(12 + 2) << 16) | (view.getUint8(12 + 12) << 8) | view.getUint8(12 + 13);
    return {
      response: view.getUint8(11),
      status: view.getUint8(10),
      sense: view.getUint32(0, true) === 0 ? 0 : sense,
      residual: view.getUint32(4, true),
      used: queues[2].used()[0]?.length ?? -1,
    };
  }

  function send(cdb: readonly number[], data: readonly Buffer[] = [], target = 0, lun = 0): Answer {
    offer(cdb, data, target, lun);
    plugged.runner.serve(2);
    return answer();
  }

  /** The first command after a reset reports it. */
  function ready(): void {
    for (const { target, lun } of units) send([0x00], [], target, lun);
  }

  /** Bytes of the answer to a command. */
  function ask(cdb: readonly number[], length = 255): Uint8Array {
    const { response, status, residual } = send(cdb, [{ address: DATA, length, writable: true }]);
    if (response !== OK || status !== 0) throw new Error(`response ${response}, status ${status}`);
    const start = memory.at(DATA);
    return new Uint8Array(start.buffer, start.byteOffset, length - residual).slice();
  }

  function put(bytes: readonly number[]): Buffer {
    bytes.forEach((byte, n) => {
      memory.at(DATA + n).setUint8(0, byte);
    });
    return { address: DATA, length: bytes.length };
  }

  return {
    ...{ memory, reports, device, plugged, queues, served, another },
    ...{ bringUp, header, offer, answer, send, ready, ask, put },
  };
}

export const big = (bytes: number, value: number) =>
  Array.from({ length: bytes }, (_, n) => Math.floor(value / 256 ** (bytes - 1 - n)) % 256);
