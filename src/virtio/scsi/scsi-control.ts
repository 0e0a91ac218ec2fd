/**
 * The control queue and the event queue of virtio-scsi: task management, and news of
 * units. A task management function answers when the requests that it concerns have
 * completed, so that their driver may reuse the memory.
 *
 * Source: VIRTIO 1.2, 5.6.6.2 (controlq) and 5.6.6.3 (eventq).
 */
import { NEVER } from "../../bus/io-task.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { DeviceQueue } from "../device.ts";
import { Chain } from "../queue/chain.ts";
import { S_ABORTED, S_RESET, type ScsiRequests } from "./scsi-requests.ts";
import { NO_TARGET, type ScsiUnits } from "./scsi-units.ts";

export const CONTROL_QUEUE = 0;
export const EVENT_QUEUE = 1;
export const FIRST_REQUEST_QUEUE = 2;

const T_TMF = 0;
const T_AN_QUERY = 1;
const T_AN_SUBSCRIBE = 2;

const TMF_ABORT_TASK = 0;
const TMF_ABORT_TASK_SET = 1;
const TMF_CLEAR_ACA = 2;
const TMF_CLEAR_TASK_SET = 3;
const TMF_I_T_NEXUS_RESET = 4;
const TMF_LOGICAL_UNIT_RESET = 5;
const TMF_QUERY_TASK = 6;
const TMF_QUERY_TASK_SET = 7;

const S_OK = 0;
const S_BAD_TARGET = 3;
const S_FAILURE = 9;
const S_FUNCTION_SUCCEEDED = 10;
const S_FUNCTION_REJECTED = 11;
const S_INCORRECT_LUN = 12;

const T_PARAM_CHANGE = 3;
/** Asc 0x2a, ascq 0x09: the capacity. */
const CAPACITY_DATA_HAS_CHANGED = 0x09_2a;
const EVENT_BYTES = 16;

const TYPE_BYTES = 4;
const TMF_BYTES = 20; // behind the type
const AN_BYTES = 12;

/** A function that waits for `finish`. */
interface TaskManagement {
  readonly head: number;
  /** RAM offset of the response. */
  readonly response: number;
  readonly subtype: number;
  readonly address: Uint8Array;
  readonly id: { readonly low: number; readonly high: number };
}

export class ScsiControl {
  readonly #units: ScsiUnits;
  readonly #requests: ScsiRequests;
  readonly #memory: GuestMemory;
  readonly #chain: Chain;
  readonly #place = new Float64Array(2);
  #waiting: TaskManagement[] = [];

  constructor(units: ScsiUnits, requests: ScsiRequests, memory: GuestMemory, queueSize: number) {
    this.#units = units;
    this.#requests = requests;
    this.#memory = memory;
    this.#chain = new Chain(memory, queueSize);
  }

  /** Takes what the control queue has. Task management is left to `finish`. */
  run(queue: DeviceQueue): number {
    const chain = this.#chain;
    while (queue.pop(chain)) {
      const type = new Uint8Array(TYPE_BYTES);
      chain.takeReadable(type, "a type");
      const body = new Uint8Array(type[0] === T_TMF ? TMF_BYTES : AN_BYTES);
      if (type[0] === T_AN_QUERY || type[0] === T_AN_SUBSCRIBE) {
        chain.takeReadable(body, "a request");
        // No event is asynchronous.
        queue.push(chain.head, chain.write(Uint8Array.of(0, 0, 0, 0, S_OK)));
        continue;
      }
      if (type[0] !== T_TMF) {
        queue.push(chain.head, chain.write(Uint8Array.of(S_FAILURE)));
        continue;
      }
      chain.takeReadable(body, "a task management request");
      chain.takeWritable(1, this.#place, 0, 1, "a response");
      const view = new DataView(body.buffer);
      this.#waiting.push({
        head: chain.head,
        response: this.#place[0],
        subtype: view.getUint32(0, true),
        address: body.subarray(4, 12),
        id: { low: view.getUint32(12, true), high: view.getUint32(16, true) },
      });
    }
    return NEVER;
  }

  /** Carries out the task management that waits. @param queues all of the device's */
  finish(queues: readonly DeviceQueue[]): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) {
      this.#memory.setUint8(each.response, this.#manage(each, queues));
      queues[CONTROL_QUEUE].push(each.head, 1);
    }
  }

  /** The driver took the queues away. */
  forget(): void {
    this.#waiting = [];
  }

  /** Reports a unit whose size has changed. False if the driver has given no room for it. */
  reportCapacity(queue: DeviceQueue, index: number): boolean {
    const chain = this.#chain;
    if (!queue.pop(chain)) return false;
    const { target, lun } = this.#units.units[index];
    const event = new Uint8Array(EVENT_BYTES);
    event[0] = T_PARAM_CHANGE;
    event.set([1, target, 0x40 | (lun >> 8), lun & 0xff], 4);
    event[12] = CAPACITY_DATA_HAS_CHANGED & 0xff;
    event[13] = CAPACITY_DATA_HAS_CHANGED >> 8;
    queue.push(chain.head, chain.write(event));
    return true;
  }

  #manage({ subtype, address, id }: TaskManagement, queues: readonly DeviceQueue[]): number {
    const index = this.#units.find(address, 0);
    if (index === NO_TARGET) return S_BAD_TARGET;
    if (subtype === TMF_I_T_NEXUS_RESET) {
      this.#units.units.forEach(({ target }, n) => {
        if (target === address[1]) this.#reset(n, queues);
      });
      return S_OK;
    }
    if (index < 0) return S_INCORRECT_LUN;
    switch (subtype) {
      case TMF_ABORT_TASK:
        // What is in flight on the host cannot be called back: it completes.
        this.#requests.requests.drainDisk(index, queues);
        this.#requests.abort(index, queues, S_ABORTED, id);
        return S_OK;
      case TMF_ABORT_TASK_SET:
      case TMF_CLEAR_TASK_SET:
        this.#requests.requests.drainDisk(index, queues);
        this.#requests.abort(index, queues, S_ABORTED, undefined);
        return S_OK;
      case TMF_LOGICAL_UNIT_RESET:
        this.#reset(index, queues);
        return S_OK;
      case TMF_CLEAR_ACA:
        return S_OK;
      case TMF_QUERY_TASK:
        return this.#requests.has(index, id.low, id.high) ? S_FUNCTION_SUCCEEDED : S_OK;
      case TMF_QUERY_TASK_SET:
        return this.#requests.hasAny(index) ? S_FUNCTION_SUCCEEDED : S_OK;
      default:
        return S_FUNCTION_REJECTED;
    }
  }

  #reset(index: number, queues: readonly DeviceQueue[]): void {
    this.#requests.requests.drainDisk(index, queues);
    this.#requests.abort(index, queues, S_RESET, undefined);
    this.#units.units[index].unit.reset();
  }
}
