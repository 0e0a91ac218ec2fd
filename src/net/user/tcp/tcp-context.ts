/** What a TCP connection uses of the network around it. */
import type { FrameWriter } from "../frame-writer.ts";

export interface TcpContext {
  readonly writer: FrameWriter;
  /** The network's own Ethernet address. */
  readonly mac: Uint8Array;
  /** The Ethernet address of the guest's IP address; broadcast until the guest has sent something. */
  macOf(guest: Uint8Array): Uint8Array;
  now(): number;
  /** Ensures that `expire` is called at that time, or before. */
  wakeAt(deadline: number): void;
  /** Adds to the bytes that all connections buffer. */
  account(delta: number): void;
  /** Whether connections together buffer so much that each has to do with little. */
  readonly isPressed: boolean;
  /** A frame was not taken: `room` follows. */
  blocked(): void;
}
