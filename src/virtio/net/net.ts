/**
 * virtio-net: a network card. Here are its features and its configuration, which
 * vCPU threads serve. The io thread's side, which moves frames, is in net-queues.ts;
 * what the control queue changes is in net-control.ts.
 *
 * Source: VIRTIO 1.2, 5.1 (Network Device).
 *
 * Not offered: UFO and USO (segmentation of UDP), HASH_REPORT and RSS, RSC_EXT,
 * NOTF_COAL, STANDBY, and the legacy F_GSO.
 */
import { layout } from "../../base/layout.ts";
import { NEVER } from "../../bus/io-task.ts";
import { linkProperty } from "../../net/card.ts";
import { ACCEPTS_CHECKSUM, ACCEPTS_TSO4, ACCEPTS_TSO6 } from "../../net/link.ts";
import { parseMac } from "../../net/mac.ts";
import { ACCEPTS_ECN, NET_HEADER_BYTES } from "../../net/offloads.ts";
import type { DeviceQueue, Property, VirtioDevice } from "../device.ts";
import { DEVICE_ID_NETWORK, F_VERSION_1_HIGH } from "../spec.ts";
import { type NetIo, NetQueues } from "./net-queues.ts";
import {
  guestOffloads,
  MAC_BYTES,
  NET_F_MRG_RXBUF,
  NET_QUEUE_SIZE,
  type NetRegisters,
  TO_GUEST,
} from "./net-registers.ts";

// 5.1.3, Feature bits, as masks of their word.
const NET_F_CSUM = 1 << 0;
const NET_F_CTRL_GUEST_OFFLOADS = 1 << 2;
const NET_F_MTU = 1 << 3;
const NET_F_MAC = 1 << 5;
const NET_F_HOST_TSO4 = 1 << 11;
const NET_F_HOST_TSO6 = 1 << 12;
const NET_F_HOST_ECN = 1 << 13;
const NET_F_STATUS = 1 << 16;
const NET_F_CTRL_VQ = 1 << 17;
const NET_F_CTRL_RX = 1 << 18;
const NET_F_CTRL_VLAN = 1 << 19;
const NET_F_CTRL_RX_EXTRA = 1 << 20;
const NET_F_GUEST_ANNOUNCE = 1 << 21;
const NET_F_MQ = 1 << 22;
const NET_F_CTRL_MAC_ADDR = 1 << 23;

/** Features of frames from the guest, by what it may leave to the host. */
const TO_HOST = [
  [ACCEPTS_CHECKSUM, NET_F_CSUM],
  [ACCEPTS_TSO4, NET_F_HOST_TSO4],
  [ACCEPTS_TSO6, NET_F_HOST_TSO6],
  [ACCEPTS_ECN, NET_F_HOST_ECN],
] as const;

// 5.1.4: bits of `status`.
const S_LINK_UP = 1;
const S_ANNOUNCE = 2;

const CONTROL_QUEUE_SIZE = 64;
const LEGACY_HEADER_BYTES = 10;

/** 5.1.4, Device configuration layout, as far as the offered features need it. */
const VirtioNetConfig = layout("virtio_net_config", 1, {
  mac: { bytes: MAC_BYTES },
  status: "u16",
  maxVirtqueuePairs: "u16",
  mtu: "u16",
});

/** A card as every thread knows it. */
export interface NetCard {
  /** As in 52:54:00:12:34:56. */
  readonly mac: string;
  /** What the driver is to use; undefined: it decides. */
  readonly mtu: number | undefined;
  /** Queue pairs. */
  readonly queues: number;
  /** ACCEPTS_ bits that the back end can do, in both directions. */
  readonly offloads: number;
}

export class VirtioNet implements VirtioDevice {
  readonly deviceId = DEVICE_ID_NETWORK;
  readonly featuresLow: number;
  readonly featuresHigh = 0;
  readonly queueSizes: readonly number[];
  readonly configSize = VirtioNetConfig.offsets.mtu + 2;
  readonly #card: NetCard;
  readonly #regs: NetRegisters;
  readonly #mac: Uint8Array;
  readonly #queues: NetQueues | undefined;
  readonly #config = new DataView(new ArrayBuffer(VirtioNetConfig.size));

  constructor(card: NetCard, regs: NetRegisters, io?: NetIo) {
    this.#card = card;
    this.#regs = regs;
    this.#mac = parseMac(card.mac);
    this.featuresLow =
      NET_F_MAC |
      NET_F_MRG_RXBUF |
      NET_F_STATUS |
      NET_F_CTRL_VQ |
      NET_F_CTRL_RX |
      NET_F_CTRL_RX_EXTRA |
      NET_F_CTRL_VLAN |
      NET_F_CTRL_MAC_ADDR |
      NET_F_GUEST_ANNOUNCE;
    if (card.mtu !== undefined) this.featuresLow |= NET_F_MTU;
    if (card.queues > 1) this.featuresLow |= NET_F_MQ;
    if (card.offloads !== 0) this.featuresLow |= NET_F_CTRL_GUEST_OFFLOADS;
    for (const [offload, feature] of [...TO_HOST, ...TO_GUEST]) {
      if ((card.offloads & offload) !== 0) this.featuresLow |= feature;
    }
    const pairs = new Array<number>(2 * card.queues).fill(NET_QUEUE_SIZE);
    this.queueSizes = [...pairs, CONTROL_QUEUE_SIZE];
    if (io !== undefined) this.#queues = new NetQueues(regs, io, card.queues);
  }

  readConfig(offset: number): number {
    if (offset >= this.configSize) return 0;
    const { mac, linkDown, announce } = this.#regs;
    if (offset < MAC_BYTES) return mac[offset];
    const { status, maxVirtqueuePairs, mtu } = VirtioNetConfig.offsets;
    const up = linkDown === 0 ? S_LINK_UP : 0;
    this.#config.setUint16(status, up | (announce === 0 ? 0 : S_ANNOUNCE), true);
    this.#config.setUint16(maxVirtqueuePairs, this.#card.queues, true);
    this.#config.setUint16(mtu, this.#card.mtu ?? 0, true);
    return this.#config.getUint8(offset);
  }

  /** 5.1.4.2: a driver that has CTRL_MAC_ADDR sets the address by the control queue; there is nothing else to write. */
  writeConfig(): void {}

  negotiate(featuresLow: number, featuresHigh: number): boolean {
    const regs = this.#regs;
    // 5.1.3.1: each of these needs the control queue.
    const needControl = NET_F_MQ | NET_F_CTRL_RX | NET_F_CTRL_VLAN | NET_F_CTRL_MAC_ADDR;
    if ((featuresLow & NET_F_CTRL_VQ) === 0 && (featuresLow & needControl) !== 0) return false;
    regs.features = featuresLow;
    // 5.1.6.1: num_buffers is not there for a legacy driver that merges no buffers.
    const isShort = (featuresHigh & F_VERSION_1_HIGH) === 0 && (featuresLow & NET_F_MRG_RXBUF) === 0;
    regs.headerBytes = isShort ? LEGACY_HEADER_BYTES : NET_HEADER_BYTES;
    regs.offloads = guestOffloads(featuresLow);
    // Without a filter for VLANs all of them pass.
    regs.vlans.fill((featuresLow & NET_F_CTRL_VLAN) === 0 ? 0xff : 0);
    return true;
  }

  reset(): void {
    const regs = this.#regs;
    regs.features = 0;
    regs.headerBytes = NET_HEADER_BYTES;
    regs.offloads = 0;
    regs.pairs = 1;
    regs.unicast = 0;
    regs.multicast = 0;
    regs.announce = 0;
    regs.promiscuous = 1; // until the driver says what it wants
    regs.allMulticast = 0;
    regs.allUnicast = 0;
    regs.noMulticast = 0;
    regs.noUnicast = 0;
    regs.noBroadcast = 0;
    regs.mac.set(this.#mac);
    regs.unicastTable.fill(0);
    regs.multicastTable.fill(0);
    regs.vlans.fill(0xff);
  }

  activate(): void {
    this.#ioSide.activate();
  }

  deactivate(): void {}

  run(queue: DeviceQueue, index: number): number {
    // 5.1.2: without MQ the control queue comes after the first pair.
    const control = (this.#regs.features & NET_F_MQ) === 0 ? 2 : 2 * this.#card.queues;
    if (index > control) return NEVER;
    if (index === control) return this.#ioSide.control(queue);
    return index % 2 === 0
      ? this.#ioSide.receive(queue, index / 2)
      : this.#ioSide.send(queue, (index - 1) / 2);
  }

  /**
   * Both queues of each pair in use. The kernel cannot drop frames while the link is down, and its headers have the
   * length of the tap interface's.
   */
  leavesToKernel(index: number): boolean {
    const { pairs, linkDown, headerBytes } = this.#regs;
    return index < 2 * pairs && linkDown === 0 && headerBytes === NET_HEADER_BYTES;
  }

  /** What the owner of the machine reads and sets. @param changed shows the driver another configuration */
  properties(changed: () => void): Readonly<Record<string, Property>> {
    const regs = this.#regs;
    return {
      link: linkProperty(regs, changed),
      announce: {
        get: () => regs.announce,
        set: () => {
          if ((regs.features & NET_F_GUEST_ANNOUNCE) === 0) return;
          regs.announce = 1;
          changed();
        },
      },
    };
  }

  get #ioSide(): NetQueues {
    if (this.#queues === undefined) throw new Error("virtio-net: a request on a thread that has no network");
    return this.#queues;
  }
}
