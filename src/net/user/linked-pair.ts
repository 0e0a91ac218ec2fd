/** Two ends of a connection inside this process, of which each learns that the other one has closed. */
import { type Duplex, duplexPair } from "node:stream";

/**
 * What is written to one is read from the other, as with Node's duplexPair, which does not close the other end (Node
 * 20). An end that closes before both directions have ended closes the other one. That is not an error of the stream:
 * a program that keeps a connection need not expect one when its machine ends.
 */
export function linkedPair(): [Duplex, Duplex] {
  const [one, other] = duplexPair();
  closeTogether(one, other);
  closeTogether(other, one);
  return [one, other];
}

function closeTogether(closing: Duplex, other: Duplex): void {
  closing.once("close", () => {
    if (closing.readableEnded && closing.writableFinished) return;
    // What it sent before it ended can still be read.
    const hasSentAll = closing.writableEnded && closing.writableLength === 0;
    if (hasSentAll && !other.readableEnded) {
      other.push(null);
      other.once("end", () => other.destroy());
    } else other.destroy();
  });
}
