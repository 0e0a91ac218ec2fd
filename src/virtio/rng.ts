/**
 * virtio-rng: gives the guest random bytes, as many as it makes room for and at
 * most REQUEST_MAX a request.
 *
 * Source: VIRTIO 1.2, 5.4 (Entropy Device). It has no features and no
 * configuration.
 */
import { NEVER } from "../bus/io-task.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { DeviceQueue, VirtioDevice } from "./device.ts";
import { BrokenQueue, Chain } from "./queue/chain.ts";
import { DEVICE_ID_ENTROPY } from "./spec.ts";

const QUEUE_SIZE = 64;
const REQUEST_MAX = 65536;

/** Fills bytes with numbers that nobody can predict. */
export interface EntropySource {
  fill(bytes: Uint8Array): void;
}

/** What the io thread has and vCPU threads do not. */
export interface RngIo {
  readonly memory: GuestMemory;
  readonly source: EntropySource;
}

export class VirtioRng implements VirtioDevice {
  readonly deviceId = DEVICE_ID_ENTROPY;
  readonly featuresLow = 0;
  readonly featuresHigh = 0;
  readonly queueSizes = [QUEUE_SIZE];
  readonly configSize = 0;
  readonly #io: RngIo | undefined;
  readonly #chain: Chain | undefined;

  constructor(io?: RngIo) {
    this.#io = io;
    this.#chain = io && new Chain(io.memory, QUEUE_SIZE);
  }

  readConfig(): number {
    return 0;
  }

  writeConfig(): void {}

  negotiate(): boolean {
    return true;
  }

  reset(): void {}

  activate(): void {}

  deactivate(): void {}

  run(queue: DeviceQueue): number {
    const io = this.#io;
    const chain = this.#chain;
    if (io === undefined || chain === undefined) {
      throw new Error("virtio-rng: a request on a thread that has no entropy");
    }
    while (queue.pop(chain)) queue.push(chain.head, fill(chain, io));
    return NEVER;
  }
}

/** Fills a request's buffers; returns how many bytes. */
function fill(chain: Chain, { memory, source }: RngIo): number {
  if (chain.readableBytes > 0) throw new BrokenQueue("a request for entropy has buffers to read");
  let written = 0;
  for (let index = chain.firstWritable; index < chain.end && written < REQUEST_MAX; index++) {
    const length = Math.min(chain.iov[2 * index + 1], REQUEST_MAX - written);
    source.fill(memory.window(chain.iov[2 * index], length));
    written += length;
  }
  return written;
}
