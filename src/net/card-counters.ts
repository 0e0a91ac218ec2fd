/** What the program can read of every network card, whichever it is. */

/** Names, in this order. */
export const NET_FIELDS = [
  "receivedFrames",
  "receivedBytes",
  "receivedDropped",
  "sentFrames",
  "sentBytes",
  "sentDropped",
] as const;
export const RECEIVED_FRAMES = 0;
export const RECEIVED_BYTES = 1;
export const RECEIVED_DROPPED = 2;
export const SENT_FRAMES = 3;
export const SENT_BYTES = 4;
export const SENT_DROPPED = 5;
