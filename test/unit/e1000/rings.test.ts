/** The rings of an e1000: what a driver sends and receives. */
import { describe, expect, test } from "vitest";
import * as reg from "../../../src/e1000/registers.ts";
import { get16, put16 } from "../../../src/net/user/bytes.ts";
import { addWords, checksumOf, fold } from "../../../src/net/user/checksum.ts";
import { Packet } from "../../../src/net/user/packet.ts";
import {
  BUFFERS,
  DATA,
  DEXT,
  E1000Rig,
  EOP,
  IFCS,
  RS,
  RX,
  TSE,
  TX,
  VLE,
} from "../../support/e1000-driver.ts";

const DD = 1;
const OURS = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const IXSM = 1 << 8;
const TXSM = 2 << 8;

function frame(destination: readonly number[], length = 60): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, n) => n & 0xff);
  bytes.set(destination);
  bytes.set([8, 0], 12);
  return bytes;
}

/** A TCP segment over IPv4, whose checksums are right. */
function tcp(payload: number, flags = 0x18): Uint8Array {
  const bytes = Uint8Array.from({ length: 54 + payload }, (_, n) => (n * 7) & 0xff);
  bytes.set([...OURS, 2, 0, 0, 0, 0, 1, 8, 0]);
  bytes.set([0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2], 14);
  put16(bytes, 16, 40 + payload);
  put16(bytes, 24, checksumOf(addWords(bytes, 14, 34, 0)));
  bytes.set([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0, 0, 0, 0], 34);
  const pseudo = addWords(bytes, 26, 34, 6 + 20 + payload);
  put16(bytes, 50, checksumOf(addWords(bytes, 34, bytes.length, pseudo)));
  return bytes;
}

/** The same as a driver that leaves both checksums to the card has it. */
function unfinished(payload: number, isSegmented: boolean): Uint8Array {
  const bytes = tcp(payload);
  put16(bytes, 24, 0);
  if (isSegmented) put16(bytes, 16, 0);
  put16(bytes, 50, fold(addWords(bytes, 26, 34, 6 + (isSegmented ? 0 : 20 + payload))));
  return bytes;
}

const IP_CONTEXT = 14 | (24 << 8) | (33 << 16);
const TCP_CONTEXT = 34 | (50 << 8);
const CONTEXT = DEXT | RS;

describe("sending", () => {
  test("a frame in several legacy descriptors; short ones are padded; the last has DD", () => {
    const rig = new E1000Rig().start();
    rig.out(reg.IMS, reg.ICR_TXDW);
    const bytes = frame(OURS, 50);
    rig.queue(0, bytes.subarray(0, 20), IFCS);
    rig.queue(1, bytes.subarray(20), EOP | IFCS | RS);
    rig.send(2);
    expect(rig.sent).toEqual([
      { header: new Array(12).fill(0), frame: Uint8Array.from([...bytes, ...new Array(10).fill(0)]) },
    ]);
    expect([rig.words(TX, 0)[3] & DD, rig.words(TX, 1)[3] & DD]).toEqual([0, DD]);
    expect([rig.in(reg.TDH), rig.level, rig.in(reg.ICR)]).toEqual([2, true, reg.ICR_TXDW | reg.ICR_TXQE]);
  });

  test("a frame without its last descriptor waits for it", () => {
    const rig = new E1000Rig().start();
    rig.queue(0, new Uint8Array(64), IFCS | RS);
    rig.send(1);
    expect([rig.sent.length, rig.in(reg.TDH)]).toEqual([0, 0]);
    rig.queue(1, new Uint8Array(64), EOP | IFCS | RS);
    rig.send(2);
    expect([rig.sent[0].frame.length, rig.in(reg.TDH)]).toEqual([128, 2]);
  });

  test("a ring without the end of a frame does not stop the card for ever", () => {
    const rig = new E1000Rig().start();
    for (let n = 0; n < 15; n++) rig.queue(n, new Uint8Array(64), IFCS | RS);
    rig.send(15);
    expect([rig.sent.length, rig.in(reg.TDH)]).toEqual([0, 15]);
  });

  test("the legacy checksum is inserted at CSO from CSS on", () => {
    const rig = new E1000Rig().start();
    const bytes = unfinished(10, false);
    rig.queue(0, bytes, EOP | IFCS | RS | (1 << 26) | (50 << 16), 34 << 8);
    rig.send(1);
    expect(get16(rig.sent[0].frame, 50)).toBe(get16(tcp(10), 50));
  });

  test.each([15, 0])("checksums of a context, with back end offloads %i", (offloads) => {
    const rig = new E1000Rig(offloads).start();
    rig.context(0, [IP_CONTEXT, TCP_CONTEXT, CONTEXT, 0]);
    rig.queue(1, unfinished(100, false), DATA | EOP | IFCS | RS, IXSM | TXSM);
    rig.send(2);
    const [{ header, frame: sent }] = rig.sent;
    if (offloads === 0) expect([...sent]).toEqual([...tcp(100)]);
    else {
      expect(header).toEqual([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
      expect(get16(sent, 24)).toBe(get16(tcp(100), 24));
      expect(get16(sent, 50)).toBe(get16(unfinished(100, false), 50));
    }
    expect(rig.words(TX, 0)[3] & DD).toBe(DD);
  });

  test("a long segment goes to a back end that takes it as one", () => {
    const rig = new E1000Rig().start();
    rig.context(0, [IP_CONTEXT, TCP_CONTEXT, (3 << 24) | TSE | CONTEXT, (54 << 8) | (1000 << 16)]);
    rig.queue(1, unfinished(3500, true), DATA | TSE | EOP | IFCS | RS, IXSM | TXSM);
    rig.send(2);
    const [{ header, frame: sent }] = rig.sent;
    expect(header).toEqual([1, 1, 54, 0, 1000 & 0xff, 1000 >> 8, 34, 0, 16, 0, 0, 0]);
    expect([...sent.subarray(0, 50)]).toEqual([...tcp(3500).subarray(0, 50)]);
    expect(new Packet().parse(sent, true)).toBe(true);
  });

  test("and as segments to one that does not", () => {
    const rig = new E1000Rig(0).start();
    rig.context(0, [IP_CONTEXT, TCP_CONTEXT, (3 << 24) | TSE | CONTEXT, (54 << 8) | (1000 << 16)]);
    rig.queue(1, unfinished(3500, true), DATA | TSE | EOP | IFCS | RS, IXSM | TXSM);
    rig.send(2);
    const packet = new Packet();
    const payload = rig.sent.flatMap(({ frame: sent }) => {
      expect(packet.parse(sent, false)).toBe(true);
      return [...sent.subarray(54)];
    });
    expect(rig.sent.map(({ frame: sent }) => sent.length)).toEqual([1054, 1054, 1054, 554]);
    expect(payload).toEqual([...tcp(3500).subarray(54)]);
  });

  test("VLE inserts a tag, and what the back end completes moves with it", () => {
    const rig = new E1000Rig().start();
    rig.out(reg.CTRL, reg.CTRL_VME);
    rig.context(0, [IP_CONTEXT, TCP_CONTEXT, CONTEXT, 0]);
    rig.queue(1, unfinished(100, false), DATA | EOP | IFCS | RS | VLE, IXSM | TXSM | (0x2005 << 16));
    rig.send(2);
    const [{ header, frame: sent }] = rig.sent;
    expect([...sent.subarray(12, 18)]).toEqual([0x81, 0, 0x20, 5, 8, 0]);
    expect([sent.length, header[6]]).toEqual([158, 38]);
  });

  test("a back end that is full gets the frame later; a driver that took the ring away, no completion", () => {
    const rig = new E1000Rig().start();
    rig.queue(0, new Uint8Array(60), EOP | RS);
    rig.backend.isFull = true;
    rig.send(1);
    expect([rig.in(reg.TDH), rig.words(TX, 0)[3]]).toEqual([0, 0]);
    rig.backend.isFull = false;
    const { backend } = rig;
    const send = backend.send.bind(backend);
    backend.send = (pair, header, pieces) => {
      rig.out(reg.CTRL, reg.CTRL_RST); // on another thread, while the lock is free
      return send(pair, header, pieces);
    };
    rig.task.turn(2);
    expect([rig.sent.length, rig.words(TX, 0)[3], rig.in(reg.TDH)]).toEqual([1, 0, 0]);
  });

  test("nothing is read without bus mastering, and buffers outside RAM cost the frame", () => {
    const rig = new E1000Rig().start();
    rig.busMaster = false;
    rig.queue(0, new Uint8Array(60), EOP | RS);
    rig.send(1);
    expect(rig.in(reg.TDH)).toBe(0);
    rig.busMaster = true;
    rig.descriptor(TX, 0, 0xffff_ffff_f000, EOP | RS | 60, 0);
    rig.send(1);
    expect([rig.in(reg.TDH), rig.sent.length, rig.counters[5]]).toEqual([1, 0, 1]);
  });
});

describe("receiving", () => {
  test("a frame has the card's length, DD and EOP, and no FCS if the driver wants none", () => {
    const rig = new E1000Rig().start(reg.RCTL_EN | reg.RCTL_SECRC);
    rig.out(reg.IMS, reg.ICR_RXT0);
    rig.receive(frame(OURS, 42), frame(OURS, 1514));
    const [first, second] = [rig.received(0), rig.received(1)];
    expect([first.bytes.length, second.bytes.length, first.status & 3]).toEqual([60, 1514, 3]);
    expect([...second.bytes]).toEqual([...frame(OURS, 1514)]);
    expect([rig.in(reg.RDH), rig.level]).toEqual([2, true]);
  });

  test("with FCS it is four bytes longer", () => {
    const rig = new E1000Rig().start();
    rig.receive(frame(OURS, 100));
    expect(rig.received(0).bytes.length).toBe(104);
  });

  test("a frame fills several buffers, and waits until all of them are there", () => {
    const rig = new E1000Rig().start(reg.RCTL_EN | reg.RCTL_SECRC | (3 << 16)); // 256 bytes
    rig.out(reg.RDT, 3);
    rig.receive(frame(OURS, 1000));
    expect([rig.in(reg.RDH), rig.in(reg.ICR) & reg.ICR_RXO]).toEqual([0, reg.ICR_RXO]);
    rig.works = 0;
    rig.out(reg.RDT, 10);
    expect(rig.works).toBe(1);
    rig.task.turn(1);
    expect([0, 1, 2, 3].map((n) => [rig.received(n).bytes.length, rig.received(n).status & 3])).toEqual([
      [256, 1],
      [256, 1],
      [256, 1],
      [232, 3],
    ]);
    expect([...rig.received(3).bytes]).toEqual([...frame(OURS, 1000).subarray(768)]);
  });

  test("long frames only with LPE", () => {
    const rig = new E1000Rig().start();
    rig.receive(frame(OURS, 4000));
    expect([rig.in(reg.RDH), rig.in(0x40ac)]).toEqual([0, 1]);
    rig.out(reg.RCTL, reg.RCTL_EN | reg.RCTL_LPE);
    rig.receive(frame(OURS, 4000));
    expect(rig.in(reg.RDH)).toBe(2);
  });

  test("the filter: own address, broadcast, the multicast table, promiscuous modes", () => {
    const rig = new E1000Rig().start();
    const group = [1, 0, 0x5e, 0, 0, 0xfb];
    const other = [2, 0, 0, 0, 0, 9];
    const passes = (destination: readonly number[]) => {
      const before = rig.in(reg.RDH);
      rig.receive(frame(destination));
      return rig.in(reg.RDH) !== before;
    };
    expect([OURS, [255, 255, 255, 255, 255, 255], group, other].map(passes)).toEqual([
      true,
      true,
      false,
      false,
    ]);
    const hash = ((0xfb << 8) | 0) >>> 4;
    rig.out(reg.MTA + 4 * (hash >>> 5), 1 << (hash & 31));
    expect([group, other].map(passes)).toEqual([true, false]);
    rig.out(reg.MTA + 4 * (hash >>> 5), 0);
    rig.out(reg.RCTL, reg.RCTL_EN | reg.RCTL_MPE);
    expect([group, other].map(passes)).toEqual([true, false]);
    rig.out(reg.RCTL, reg.RCTL_EN | reg.RCTL_UPE);
    expect([group, other].map(passes)).toEqual([false, true]);
  });

  test("VLANs: the filter, and a tag that is taken out of the frame", () => {
    const rig = new E1000Rig().start(reg.RCTL_EN | reg.RCTL_SECRC | reg.RCTL_VFE);
    const tagged = Uint8Array.from([
      ...OURS,
      ...frame(OURS, 96).subarray(6, 12),
      0x81,
      0,
      0x20,
      5,
      ...frame(OURS, 96).subarray(12),
    ]);
    rig.receive(tagged);
    expect(rig.in(reg.RDH)).toBe(0);
    rig.out(reg.VFTA, 1 << 5);
    rig.out(reg.CTRL, reg.CTRL_VME);
    rig.receive(tagged);
    const { bytes, status, tag } = rig.received(0);
    expect([status & 8, tag, [...bytes]]).toEqual([8, 0x2005, [...frame(OURS, 96)]]);
  });

  test("checksums are judged if the driver wants that", () => {
    const rig = new E1000Rig().start();
    rig.receive(tcp(100));
    expect(rig.received(0).status & 0x64).toBe(0x04);
    rig.out(reg.RXCSUM, reg.RXCSUM_IPOFL | reg.RXCSUM_TUOFL);
    const broken = tcp(100);
    broken[80]++;
    const brokenIp = tcp(100);
    brokenIp[22]--;
    rig.receive(tcp(100), broken, brokenIp, frame(OURS));
    const seen = [1, 2, 3, 4].map((n) => [rig.received(n).status & 0x64, rig.received(n).errors]);
    expect(seen).toEqual([
      [0x60, 0],
      [0x60, 0x20],
      [0x60, 0x40],
      [0x04, 0],
    ]);
  });

  test("frames stay with the back end until the receiver is on, and are lost while the link is down", () => {
    const rig = new E1000Rig();
    rig.receive(frame(OURS));
    expect(rig.backend.incoming.length).toBe(1);
    rig.start();
    expect(rig.works).toBeGreaterThan(0);
    rig.task.turn(1);
    expect(rig.in(reg.RDH)).toBe(1);
    rig.card.properties().link.set?.(0);
    rig.receive(frame(OURS));
    expect([rig.in(reg.RDH), rig.counters[2]]).toEqual([1, 1]);
  });

  test("a buffer that is not RAM gets nothing; its descriptor is used", () => {
    const rig = new E1000Rig().start();
    rig.descriptor(RX, 0, 0xff00_0000_0000, 0, 0);
    rig.descriptor(RX, 1, BUFFERS - 0x1_0000 + 0x3_ffff, 0, 0); // its last byte is the last of RAM
    rig.receive(frame(OURS), frame(OURS));
    expect([rig.words(RX, 0)[3] & 3, rig.words(RX, 1)[3] & 3, rig.in(reg.RDH)]).toEqual([3, 3, 2]);
  });
});
