/** Frames of a guest that lies: packets as they should be, then changed in every way, with checksums that are right again. */
import { get16, put16, put32 } from "../../src/net/user/bytes.ts";
import { addWords, checksumOf } from "../../src/net/user/checksum.ts";
import { random } from "./random.ts";

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const GATEWAY_MAC = [0x52, 0x55, 10, 0, 2, 2];
const GUEST = [10, 0, 2, 15];
/** Whom a guest may name: itself, our addresses, others, and what means the host. */
const TARGETS = [
  [10, 0, 2, 2],
  [10, 0, 2, 3],
  [10, 0, 2, 99],
  [10, 0, 2, 255],
  [127, 0, 0, 1],
  [0, 0, 0, 0],
  [255, 255, 255, 255],
  [224, 0, 0, 1],
  [192, 0, 2, 1],
  [169, 254, 169, 254],
  [203, 0, 113, 5],
];
const TARGETS6 = [
  "fec0::2",
  "fec0::3",
  "fe80::2",
  "::1",
  "::",
  "::ffff:7f00:1",
  "ff02::1",
  "2001:db8::1",
  "2002:7f00:1::",
  "fc00::1",
];
const PORTS = [22, 53, 67, 68, 69, 80, 443, 1234];

export class FrameFuzz {
  readonly #next: () => number;
  /** Of the last SYN, to continue it. */
  #sequence = 0;

  constructor(seed: number) {
    this.#next = random(seed);
  }

  /** The next frame. `heard` is what the guest received last: its acknowledgement may be right. */
  frame(heard: Uint8Array | undefined): Uint8Array {
    const kind = this.#below(12);
    if (kind === 0) return this.#changed(this.#arp());
    if (kind === 1) return Uint8Array.from({ length: this.#below(200) }, () => this.#below(256));
    if (kind === 2) return this.#changed(this.#ipv6());
    if (kind < 5 && heard !== undefined) return this.#changed(this.#answer(heard));
    return this.#changed(this.#ipv4());
  }

  #below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  #one<T>(all: readonly T[]): T {
    return all[this.#below(all.length)];
  }

  #bytes(count: number): number[] {
    return Array.from({ length: count }, () => this.#below(256));
  }

  #arp(): Uint8Array {
    const sender = this.#one([GUEST, ...TARGETS]);
    const head = [...GATEWAY_MAC, ...MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 + this.#below(3)];
    return Uint8Array.from([...head, ...MAC, ...sender, 0, 0, 0, 0, 0, 0, ...this.#one(TARGETS)]);
  }

  #ipv4(): Uint8Array {
    const protocol = this.#one([6, 6, 6, 17, 17, 1, 2, 41]);
    const payload = this.#transport(protocol);
    const options = this.#below(8) === 0 ? 4 * this.#below(11) : 0;
    const frame = new Uint8Array(14 + 20 + options + payload.length + this.#below(4));
    frame.set([...GATEWAY_MAC, ...MAC, 8, 0, 0x45 + options / 4, 0]);
    put16(frame, 16, 20 + options + payload.length);
    put16(frame, 18, this.#below(4)); // few identifications: fragments meet
    if (this.#below(6) === 0)
      put16(frame, 20, this.#one([0x2000, 0, 0x4000]) | this.#below(this.#one([3, 0x2000])));
    frame.set([64, protocol], 22);
    frame.set(this.#below(16) === 0 ? this.#bytes(4) : GUEST, 26);
    frame.set(this.#one(TARGETS), 30);
    frame.set(payload, 34 + options);
    return frame;
  }

  #ipv6(): Uint8Array {
    const protocol = this.#one([6, 17, 58, 0, 60, 44]);
    const payload = this.#transport(protocol);
    const frame = new Uint8Array(14 + 40 + payload.length);
    frame.set([...GATEWAY_MAC, ...MAC, 0x86, 0xdd, 0x60]);
    put16(frame, 18, payload.length);
    frame.set([protocol, this.#one([64, 255])], 20);
    frame.set(address6(this.#one(["fec0::15", "fe80::15", "::", ...TARGETS6])), 22);
    frame.set(address6(this.#one(TARGETS6)), 38);
    frame.set(payload, 54);
    return frame;
  }

  #transport(protocol: number): Uint8Array {
    if (protocol === 17) return this.#udp();
    if (protocol === 6) return this.#tcp();
    const type = this.#one([8, 0, 3, 128, 133, 135, 58, 6, 17]);
    return Uint8Array.from([type, this.#below(3), ...this.#bytes(6 + this.#below(60))]);
  }

  #udp(): Uint8Array {
    const port = this.#one(PORTS);
    const body = port === 67 ? this.#dhcp() : port === 53 ? this.#dns() : this.#bytes(this.#below(100));
    const udp = new Uint8Array(8 + body.length);
    put16(udp, 0, port === 67 ? 68 : 1024 + this.#below(20));
    put16(udp, 2, port);
    put16(udp, 4, udp.length);
    udp.set(body, 8);
    return udp;
  }

  #tcp(): Uint8Array {
    const options =
      this.#below(2) === 0 ? this.#bytes(4 * this.#below(11)) : [2, 4, 5, 0xb4, 1, 3, 3, 7, 1, 1, 4, 2];
    const data = this.#below(4) === 0 ? this.#bytes(this.#below(300)) : [];
    const tcp = new Uint8Array(20 + options.length + data.length);
    put16(tcp, 0, 1024 + this.#below(50));
    put16(tcp, 2, this.#one(PORTS));
    this.#sequence = this.#below(3) === 0 ? this.#below(2 ** 32) : this.#sequence + this.#below(3);
    put32(tcp, 4, this.#sequence);
    put32(tcp, 8, this.#below(2 ** 32));
    tcp[12] = ((20 + options.length) / 4) << 4;
    tcp[13] = this.#one([2, 2, 2, 16, 24, 17, 4, 20, 18, 1, 63, 0]);
    put16(tcp, 14, this.#one([0, 1, 65535, 1024]));
    tcp.set(options, 20);
    tcp.set(data, 20 + options.length);
    return tcp;
  }

  /** A TCP segment that continues what the guest received, so that connections open. */
  #answer(heard: Uint8Array): Uint8Array {
    if (heard.length < 54 || heard[12] !== 8 || heard[13] !== 0 || heard[23] !== 6) return this.#ipv4();
    const data = this.#bytes(this.#one([0, 0, 1, 100]));
    const frame = new Uint8Array(54 + data.length);
    frame.set([...GATEWAY_MAC, ...MAC, 8, 0, 0x45, 0]);
    put16(frame, 16, 40 + data.length);
    frame.set([64, 6], 22);
    frame.set(heard.subarray(30, 34), 26);
    frame.set(heard.subarray(26, 30), 30);
    frame.set(heard.subarray(36, 38), 34);
    frame.set(heard.subarray(34, 36), 36);
    frame.set(heard.subarray(42, 46), 38);
    const isSyn = (heard[47] & 2) !== 0;
    const sent = get16(heard, 16) - 40 + (isSyn ? 1 : 0);
    const ack = ((heard[38] << 24) | (heard[39] << 16) | (heard[40] << 8) | heard[41]) + sent;
    put32(frame, 42, ack + this.#one([0, 0, 0, 1, -1]));
    frame[46] = 0x50;
    frame[47] = this.#one([16, 16, 24, 17, 4, 18]);
    put16(frame, 48, this.#one([0, 100, 65535]));
    frame.set(data, 54);
    return frame;
  }

  #dhcp(): number[] {
    const type = 1 + this.#below(9);
    const options = [53, 1, type, 50, 4, ...this.#one([GUEST, ...TARGETS]), 55, 3, 1, 66, 67];
    const mac = [...MAC.slice(0, 5), this.#below(256)];
    const fixed = new Array<number>(236).fill(0);
    fixed.splice(0, 4, 1, 1, 6, 0);
    fixed.splice(28, 6, ...mac);
    return [...fixed, 99, 130, 83, 99, ...options, ...this.#bytes(this.#below(20)), 255];
  }

  #dns(): number[] {
    const name = this.#one([
      [4, 110, 97, 109, 101, 0],
      [0xc0, 12],
      [63, 1, 0],
      [1, 97, 0xc0, 0x0c],
    ]);
    return [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, this.#one([1, 28, 15]), 0, 1];
  }

  /** Changes some bytes or the length; most frames get right checksums, so that they are read further. */
  #changed(frame: Uint8Array): Uint8Array {
    let changed = frame;
    const changes = this.#one([0, 0, 0, 1, 1, 2, 8]);
    for (let n = 0; n < changes; n++) {
      changed[this.#below(Math.min(changed.length, this.#one([40, 60, 400])))] = this.#one([
        0,
        1,
        255,
        this.#below(256),
      ]);
    }
    if (this.#below(10) === 0) changed = changed.subarray(0, this.#below(changed.length + 1));
    if (this.#below(20) !== 0) correct(changed);
    return changed;
  }
}

function address6(text: string): Uint8Array {
  const [left, right = ""] = text.split("::");
  const words = (part: string) => part.split(":").filter((word) => word !== "");
  const zeros = new Array<string>(8 - words(left).length - words(right).length).fill("0");
  const all = [...words(left), ...zeros, ...words(right)].map((word) => Number.parseInt(word, 16));
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 255]));
}

/** Makes the checksums right, where there is space for them. */
function correct(frame: Uint8Array): void {
  if (frame.length < 34) return;
  const is4 = frame[12] === 8 && frame[13] === 0;
  const headerEnd = is4 ? 14 + (frame[14] & 15) * 4 : 54;
  const end = Math.min(frame.length, is4 ? 14 + get16(frame, 16) : 54 + get16(frame, 18));
  if (headerEnd > end) return;
  const protocol = is4 ? frame[23] : frame[20];
  const field = headerEnd + (protocol === 6 ? 16 : protocol === 17 ? 6 : 2);
  if (field + 2 <= end) {
    put16(frame, field, 0);
    const pseudo =
      protocol === 1 ? 0 : addWords(frame, is4 ? 26 : 22, is4 ? 34 : 54, protocol + end - headerEnd);
    put16(frame, field, checksumOf(addWords(frame, headerEnd, end, pseudo)));
  }
  if (!is4) return;
  put16(frame, 24, 0);
  put16(frame, 24, checksumOf(addWords(frame, 14, headerEnd, 0)));
}
