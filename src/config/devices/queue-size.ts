/** How many descriptors a queue of a virtio device has. */
import { isPowerOfTwo } from "../../base/power-of-two.ts";
import { integer, type Kind, type Refuse } from "../value.ts";

export const MAX_QUEUE_SIZE = 256;

const anyQueueSize = integer(2, MAX_QUEUE_SIZE);

function checkQueueSize(value: unknown, refuse: Refuse): number {
  const size = anyQueueSize.check(value, refuse);
  if (isPowerOfTwo(size)) return size;
  throw refuse(`${size} is not a power of two`);
}

export const queueSize: Kind<number> = {
  ...anyQueueSize,
  manual: "power of two from 2 to 256",
  check: checkQueueSize,
  parse: (word, refuse) => checkQueueSize(anyQueueSize.parse(word, refuse), refuse),
};
