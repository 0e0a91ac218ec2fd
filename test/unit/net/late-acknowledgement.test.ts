/** A guest that stalls is not a network that loses: its late acknowledgement undoes what a timeout did. */
import { Duplex } from "node:stream";
import { expect, test } from "vitest";
import { type GuestLink, NO_OFFLOAD } from "../../../src/net/link.ts";
import { get16, get32, put16, put32 } from "../../../src/net/user/bytes.ts";
import { addWords, checksumOf } from "../../../src/net/user/checksum.ts";
import type { Clock } from "../../../src/net/user/clock.ts";
import { UserNetwork } from "../../../src/net/user/user-network.ts";

const MSS = 1460;

/** A guest with one connection, which acknowledges when the test says so. */
class ReferenceGuest {
  readonly sent: { sequence: number; bytes: number }[] = [];
  readonly network: UserNetwork;
  #time = 0;
  #ringAt = Number.POSITIVE_INFINITY;
  #ring = () => {};
  #next = 1001;
  #heard = 0;

  constructor(stream: Duplex) {
    const link: GuestLink = {
      accepts: 0,
      mtu: 1500,
      send: (head, body) => {
        const frame = Buffer.concat(body === undefined ? [head] : [head, body]);
        if (frame[12] === 8 && frame[13] === 0 && frame[23] === 6) this.#received(frame);
        return true;
      },
    };
    const clock: Clock = {
      now: () => this.#time,
      alarm: (ring) => {
        this.#ring = ring;
        return {
          set: (delay) => {
            this.#ringAt = this.#time + delay;
          },
          cancel: () => {
            this.#ringAt = Number.POSITIVE_INFINITY;
          },
        };
      },
    };
    this.network = new UserNetwork({ onConnect: () => stream }, link, { clock });
  }

  async connect(): Promise<void> {
    this.#segment(1000, 0, 2);
    await new Promise((resolve) => setImmediate(resolve));
    this.acknowledge();
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Acknowledges all that was sent. */
  acknowledge(): void {
    this.#segment(this.#next, this.#heard, 16);
    this.network.batchEnd();
  }

  advance(ms: number): void {
    const end = this.#time + ms;
    while (this.#ringAt <= end) {
      this.#time = this.#ringAt;
      this.#ringAt = Number.POSITIVE_INFINITY;
      this.#ring();
    }
    this.#time = end;
  }

  #received(frame: Buffer): void {
    const bytes = get16(frame, 16) - 20 - (frame[46] >> 4) * 4;
    const sequence = get32(frame, 38);
    const isSyn = (frame[47] & 2) !== 0;
    if (bytes > 0) this.sent.push({ sequence, bytes });
    this.#heard = Math.max(this.#heard, (sequence >>> 0) + bytes + (isSyn ? 1 : 0)) % 2 ** 32;
  }

  #segment(sequence: number, acknowledgement: number, flags: number): void {
    const isSyn = flags === 2;
    const frame = new Uint8Array(isSyn ? 62 : 54);
    frame.set([0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0, 0, 1, 8, 0, 0x45, 0]);
    put16(frame, 16, frame.length - 14);
    frame.set([64, 6], 22);
    frame.set([10, 0, 2, 15, 192, 0, 2, 1], 26);
    put16(frame, 24, checksumOf(addWords(frame, 14, 34, 0)));
    put16(frame, 34, 40_000);
    put16(frame, 36, 7);
    put32(frame, 38, sequence);
    put32(frame, 42, acknowledgement);
    frame.set([isSyn ? 0x70 : 0x50, flags], 46);
    put16(frame, 48, 65_535);
    if (isSyn) frame.set([2, 4, MSS >> 8, MSS & 255, 1, 3, 3, 8], 54);
    put16(
      frame,
      50,
      checksumOf(addWords(frame, 34, frame.length, addWords(frame, 26, 34, 6 + frame.length - 34))),
    );
    this.network.input(frame, NO_OFFLOAD);
  }
}

/** A stream with much to say. */
function endless(): Duplex {
  return new Duplex({
    read() {
      this.push(Buffer.alloc(65_536));
    },
    write: (_chunk, _encoding, done) => done(),
  });
}

/** What the guest got since the last call. */
function burst(guest: ReferenceGuest): number {
  return guest.sent.splice(0).reduce((sum, { bytes }) => sum + bytes, 0);
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("a timeout that a late acknowledgement shows to be a mistake does not make the connection slow", async () => {
  const stream = endless();
  const guest = new ReferenceGuest(stream);
  await guest.connect();
  expect(burst(guest)).toBe(10 * MSS); // RFC 6928
  const bursts: number[] = [];
  for (let n = 0; n < 4; n++) {
    guest.advance(20);
    guest.acknowledge();
    await turn();
    bursts.push(burst(guest));
  }
  expect(bursts).toEqual([20, 40, 80, 160].map((segments) => segments * MSS)); // slow start
  guest.advance(250);
  expect(guest.sent.map(({ bytes }) => bytes)).toEqual([MSS]); // one segment, again
  burst(guest);
  guest.acknowledge();
  await turn();
  expect(burst(guest)).toBeGreaterThanOrEqual(160 * MSS);
  stream.destroy();
  await guest.network.close();
});
