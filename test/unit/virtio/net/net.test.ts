import { expect, test, vi } from "vitest";
import * as mmio from "../../../../src/virtio/transport/mmio-registers.ts";
import { DATA, frameTo, MAC_BYTES, netRig, type RigOptions } from "../../../support/net-rig.ts";
import { random } from "../../../support/random.ts";
import { RAM, RAM_BYTES } from "../../../support/virtio-driver.ts";

const [RX, TX, CONTROL] = [0, 1, 2];
const MRG_RXBUF = 1 << 15;
const CTRL_VQ = 1 << 17;
const MQ = 1 << 22;
const HEADER = 12;
const BROADCAST = [255, 255, 255, 255, 255, 255];
const OTHER = [0x52, 0x54, 0, 0, 0, 9];
const GROUP = [0x33, 0x33, 0, 0, 0, 1];

function rig(options: RigOptions = {}) {
  const made = netRig(options);
  const { plugged, driver, memory } = made;
  /** Sends a frame, in buffers of these sizes. */
  const send = (frame: Uint8Array, sizes = [HEADER, frame.length]) => {
    const bytes = new Uint8Array(HEADER + frame.length);
    bytes.set(frame, HEADER);
    new Uint8Array(memory.bytes.buffer, memory.at(DATA).byteOffset).set(bytes);
    let address = DATA;
    const buffers = sizes.map((length) => {
      address += length;
      return { address: address - length, length };
    });
    driver[TX].add(buffers);
    return plugged.runner.serve(TX);
  };
  /** Offers buffers of `length` bytes for frames. */
  const offer = (count: number, length: number) => {
    for (let n = 0; n < count; n++) {
      driver[RX].add([{ address: DATA + 0x1000 + n * length, length, writable: true }]);
    }
  };
  const receive = () => {
    plugged.runner.serve(RX);
    return driver[RX].used();
  };
  const bytesAt = (address: number, length: number) => {
    return [...new Uint8Array(memory.bytes.buffer, memory.at(address).byteOffset, length)];
  };
  /** Sends a command; returns its status. */
  const command = (kind: number, code: number, data: readonly number[]) => {
    const address = DATA + 0x8000;
    new Uint8Array(memory.bytes.buffer, memory.at(address).byteOffset).set([kind, code, ...data, 77]);
    const control = driver.length - 1;
    driver[control].add([
      { address, length: 2 + data.length },
      { address: address + 2 + data.length, length: 1, writable: true },
    ]);
    plugged.runner.serve(control);
    expect(driver[control].used().length).toBe(1);
    return memory.at(address + 2 + data.length).getUint8(0);
  };
  return { ...made, send, offer, receive, bytesAt, command };
}

test("the configuration has address, link, queue pairs and MTU", () => {
  const { plugged } = rig({ queues: 4, mtu: 9000 });
  const word = (offset: number) => plugged.read(mmio.CONFIG + offset);
  expect([word(0), word(4) & 0xffff]).toEqual([0x1200_5452, 0x5634]);
  expect(word(4) >>> 16).toBe(1);
  expect(word(8)).toBe(4 | (9000 << 16));
});

test("a frame of the guest reaches the network without its header, in whatever buffers", () => {
  const frame = frameTo(OTHER, 100);
  for (const sizes of [[12, 100], [112], [5, 7, 30, 70], [50, 62]]) {
    const { send, backend, driver, count } = rig();
    send(frame, sizes);
    expect(backend.sent.map((each) => [...each.frame])).toEqual([[...frame]]);
    expect(driver[TX].used()).toEqual([{ id: 0, length: 0 }]);
    expect([count("sentFrames"), count("sentBytes")]).toEqual([1, 100]);
  }
});

test("a frame that finds no room stays in the queue, and is sent when there is", () => {
  const { send, backend, driver, plugged } = rig();
  backend.isFull = true;
  expect(send(frameTo(OTHER))).toBe(Number.POSITIVE_INFINITY);
  expect(driver[TX].used()).toEqual([]);
  backend.isFull = false;
  plugged.runner.serve(TX);
  expect([backend.sent.length, driver[TX].used().length]).toEqual([1, 1]);
});

test("a frame for the guest fills one buffer, with a count of 1 in its header", () => {
  const { backend, offer, receive, bytesAt, count } = rig();
  const frame = frameTo(MAC_BYTES);
  offer(1, 2048);
  backend.incoming.push(frame);
  expect(receive()).toEqual([{ id: 0, length: HEADER + 60 }]);
  expect(bytesAt(DATA + 0x1000, HEADER + 60)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, ...frame]);
  expect([count("receivedFrames"), count("receivedBytes")]).toEqual([1, 60]);
});

test("a long frame is merged from several buffers, also more than one batch has", () => {
  const { backend, offer, receive, bytesAt } = rig({ size: 128 });
  const frame = frameTo(MAC_BYTES, 9000);
  offer(100, 100);
  backend.incoming.push(frame);
  const used = receive();
  expect(used.length).toBe(91);
  expect(used[90]).toEqual({ id: 90, length: 12 });
  const bytes = bytesAt(DATA + 0x1000, HEADER + 9000);
  expect(bytes.slice(10, HEADER)).toEqual([91, 0]);
  expect(bytes.slice(HEADER)).toEqual([...frame]);
});

test("the driver finds all buffers of a frame at once, or none: it would drop a frame that is not complete", () => {
  const { backend, offer, plugged, driver } = rig({ size: 128 });
  offer(100, 100);
  backend.incoming.push(frameTo(MAC_BYTES, 9000), frameTo(MAC_BYTES, 300));
  const found: number[] = [];
  const { store } = Atomics;
  const storing = vi.spyOn(Atomics, "store").mockImplementation((...stored) => {
    const value = store(...stored);
    found.push(driver[RX].used().length);
    return value;
  });
  plugged.runner.serve(RX);
  storing.mockRestore();
  expect(found.filter((count) => count > 0)).toEqual([91, 4]);
});

test("a frame waits until there are buffers for all of it, and no buffer is lost", () => {
  const { backend, offer, receive, plugged, driver } = rig();
  backend.incoming.push(frameTo(MAC_BYTES, 300), frameTo(MAC_BYTES));
  offer(2, 128);
  expect(receive()).toEqual([]);
  expect(plugged.runner.hasMore(RX)).toBe(false); // the two that it has are not news
  driver[RX].add([{ address: DATA + 0x4000, length: 128, writable: true }]);
  expect(receive().map(({ length }) => length)).toEqual([128, 128, 56]);
  driver[RX].add([{ address: DATA + 0x4000, length: 128, writable: true }]);
  expect(receive().map(({ length }) => length)).toEqual([72]);
});

test("without mergeable buffers a frame that does not fit one is dropped, and its buffer used for the next", () => {
  const { backend, offer, receive, count } = rig({ without: { low: MRG_RXBUF, high: 0 } });
  offer(2, 128);
  backend.incoming.push(frameTo(MAC_BYTES, 300), frameTo(MAC_BYTES));
  expect(receive()).toEqual([{ id: 0, length: 72 }]);
  expect(count("receivedDropped")).toBe(1);
});

test("a legacy driver that merges no buffers has a header of 10 bytes", () => {
  const { device, regs, backend, offer, receive, bytesAt, driver, plugged, memory } = rig();
  device.negotiate(regs.features & ~MRG_RXBUF, 0);
  const frame = frameTo(MAC_BYTES);
  offer(1, 2048);
  backend.incoming.push(frame);
  expect(receive()).toEqual([{ id: 0, length: 70 }]);
  expect(bytesAt(DATA + 0x1000, 70)).toEqual([...new Array(10).fill(0), ...frame]);
  const out = new Uint8Array(memory.bytes.buffer, memory.at(DATA).byteOffset);
  out.fill(0, 0, 10);
  out.set(frame, 10);
  driver[TX].add([{ address: DATA, length: 70 }]);
  plugged.runner.serve(TX);
  expect(backend.sent.map((each) => [each.header.length, ...each.frame])).toEqual([[12, ...frame]]);
});

test("the driver's filter decides what it gets", () => {
  const { backend, offer, receive, command } = rig();
  offer(16, 128);
  const passes = (destination: number[]) => {
    backend.incoming.push(frameTo(destination));
    return receive().length === 1;
  };
  expect([OTHER, GROUP, BROADCAST].map(passes)).toEqual([true, true, true]); // promiscuous after a reset
  expect(command(0, 0, [0])).toBe(0);
  expect([MAC_BYTES, OTHER, GROUP, BROADCAST].map(passes)).toEqual([true, false, false, true]);
  const one = [1, 0, 0, 0];
  expect(command(1, 0, [...one, ...OTHER, ...one, ...GROUP])).toBe(0);
  expect([OTHER, GROUP].map(passes)).toEqual([true, true]);
  expect(command(1, 1, OTHER)).toBe(0);
  expect(passes(MAC_BYTES)).toBe(false);
  expect(command(0, 5, [1])).toBe(0);
  expect(passes(BROADCAST)).toBe(false);
});

test("VLANs pass after the driver has added them", () => {
  const { backend, offer, receive, command } = rig();
  offer(4, 128);
  const tagged = frameTo(MAC_BYTES);
  tagged.set([0x81, 0, 0x20, 100], 12);
  const passes = () => {
    backend.incoming.push(tagged);
    return receive().length === 1;
  };
  expect(passes()).toBe(false);
  expect(command(2, 0, [100, 0])).toBe(0);
  expect(passes()).toBe(true);
  expect(command(2, 1, [100, 0])).toBe(0);
  expect(passes()).toBe(false);
  expect(command(2, 0, [0, 0x10])).toBe(1); // there is no VLAN 4096
});

test("what a command cannot do is answered with an error", () => {
  const { command } = rig();
  expect(command(9, 9, [])).toBe(1);
  expect(command(1, 0, [255, 255, 255, 255])).toBe(1);
  expect(command(1, 1, [1, 2])).toBe(1);
  expect(command(4, 0, [2, 0])).toBe(1); // one pair
  expect(command(5, 0, [1, 0, 0, 0, 0, 0, 0, 0])).toBe(1); // CSUM is not one for the guest
});

test("the driver switches offloads off and on", () => {
  const { command, backend, send } = rig();
  send(frameTo(OTHER));
  expect(backend.accepted).toBe(15);
  expect(command(5, 0, [0, 0, 0, 0, 0, 0, 0, 0])).toBe(0);
  expect(backend.accepted).toBe(0);
  expect(command(5, 0, [0x82, 0, 0, 0, 0, 0, 0, 0])).toBe(0);
  expect(backend.accepted).toBe(3);
});

test("several queue pairs, and a control queue whose place depends on that", () => {
  const { command, backend, regs } = rig({ queues: 2 });
  expect(command(4, 0, [2, 0])).toBe(0);
  expect([backend.pairs, regs.pairs]).toEqual([2, 2]);
  // A driver without MQ has it after the first pair.
  const { plugged, driver, memory, regs: single } = netRig({ queues: 2, without: { low: MQ, high: 0 } });
  new Uint8Array(memory.bytes.buffer, memory.at(DATA).byteOffset).set([0, 0, 0]);
  driver[CONTROL].add([
    { address: DATA, length: 3 },
    { address: DATA + 3, length: 1, writable: true },
  ]);
  plugged.runner.serve(CONTROL);
  expect(single.promiscuous).toBe(0);
});

test("features that need the control queue are refused without it", () => {
  expect(netRig({ without: { low: CTRL_VQ, high: 0 } }).accepted).toBe(false);
});

test("a link that is down carries nothing, and the driver learns of it", () => {
  const { device, plugged, backend, send, offer, receive, count } = rig();
  const { link } = device.properties(() => plugged.transport.configChanged());
  link.set?.(0);
  expect(plugged.read(mmio.CONFIG + 4) >>> 16).toBe(0);
  expect(plugged.read(mmio.INTERRUPT_STATUS) & 2).toBe(2);
  send(frameTo(OTHER));
  expect([backend.sent.length, count("sentDropped")]).toEqual([0, 1]);
  offer(1, 128);
  backend.incoming.push(frameTo(MAC_BYTES));
  expect(receive()).toEqual([]);
  link.set?.(1);
  backend.incoming.push(frameTo(MAC_BYTES));
  expect(receive().length).toBe(1);
});

test("the driver is asked to announce its address, until it says that it did", () => {
  const { device, plugged, command } = rig();
  device.properties(() => plugged.transport.configChanged()).announce.set?.(1);
  expect(plugged.read(mmio.CONFIG + 4) >>> 16).toBe(3);
  expect(command(3, 0, [])).toBe(0);
  expect(device.readConfig(6)).toBe(1);
});

test("a request without room for a header, or with buffers of the wrong kind, breaks the queue", () => {
  const short = rig();
  short.driver[TX].add([{ address: DATA, length: 11 }]);
  short.plugged.runner.serve(TX);
  expect(short.plugged.needsReset).toBe(true);
  const readable = rig();
  readable.backend.incoming.push(frameTo(MAC_BYTES));
  readable.driver[RX].add([{ address: DATA, length: 128 }]);
  readable.plugged.runner.serve(RX);
  expect(readable.plugged.needsReset).toBe(true);
});

test("a driver that lies in every descriptor, header and command reaches nothing outside RAM", {
  timeout: 1_800_000,
}, () => {
  const next = random(7);
  const pick = (limit: number) => Math.floor(next() * limit);
  let made = rig({ size: 16 });
  let sent = 0;
  for (let round = 0; round < FUZZ_ROUNDS; round++) {
    const { plugged, driver, backend, memory } = made;
    const index = pick(3);
    const buffers = Array.from({ length: 1 + pick(4) }, () => ({
      address: pick(20) === 0 ? pick(2 ** 31) : RAM + 0x1_0000 + pick(RAM_BYTES - 0x1_0000),
      length: pick(30) === 0 ? pick(2 ** 32) : 1 + pick(400),
      writable: index === RX ? pick(50) !== 0 : pick(10) === 0,
    }));
    if (index === CONTROL) buffers.push({ address: DATA + 0x7000, length: 1, writable: true });
    const start = memory.at(DATA).byteOffset;
    for (let n = 0; n < 8; n++) memory.bytes[start + pick(0x8000)] = pick(index === CONTROL ? 6 : 256);
    driver[index].add(buffers.sort((a, b) => Number(a.writable) - Number(b.writable)));
    if (index === RX) {
      backend.incoming.push(frameTo(pick(2) === 0 ? MAC_BYTES : BROADCAST, 14 + pick(1500)));
    }
    plugged.runner.serve(index);
    driver[index].used();
    sent += backend.sent.splice(0).length;
    if (plugged.needsReset) made = rig({ size: 16 });
  }
  expect(sent).toBeGreaterThan(FUZZ_ROUNDS / 20);
});

const FUZZ_ROUNDS = Number(process.env.VMEXIT_NET_FUZZ ?? 4_000);
