/** The phases of a TCP connection, and how long each waits for the guest. */

export type TcpPhase =
  /** The guest's SYN waits for the stream. */
  | "connecting"
  /** Our SYN-ACK is in flight. */
  | "syn-received"
  /** Our SYN is in flight. */
  | "syn-sent"
  | "open"
  /** Both halves have ended; a late FIN is still acknowledged. */
  | "time-wait"
  | "closed";

/** Without an answer for so many retransmissions the guest has vanished. */
export const MAX_EXPIRIES = 12;
export const MAX_SYN_EXPIRIES = 6;
export const KEEP_ALIVE_MS = 600_000;
export const KEEP_ALIVE_PROBE_MS = 30_000;
export const MAX_KEEP_ALIVES = 8;
export const TIME_WAIT_MS = 2000;
/** How long a guest may leave its half open after the stream has closed. */
export const ORPHAN_MS = 60_000;
