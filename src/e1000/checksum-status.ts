/**
 * Whether the checksums of a received frame are right, if the driver has the card
 * judge them (RXCSUM).
 *
 * Source: 317453, 3.2.9 (receive packet checksum offloading), 3.2.3.1 (status) and
 * 3.2.3.2 (errors).
 */
import { HDR_F_DATA_VALID } from "../net/offloads.ts";
import { get16 } from "../net/user/bytes.ts";
import { addWords, fold } from "../net/user/checksum.ts";
import { RXCSUM_IPOFL, RXCSUM_TUOFL } from "./registers.ts";

const STATUS_IXSM = 0x04; // nothing was judged
const STATUS_TCPCS = 0x20;
const STATUS_IPCS = 0x40;
const ERROR_TCPE = 0x20;
const ERROR_IPE = 0x40;

const ETHERNET_BYTES = 14;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const IPV6_BYTES = 40;
const TCP = 6;
const UDP = 17;

export class ChecksumStatus {
  /** For the descriptor's field. */
  errors = 0;

  /**
   * @param bytes a virtio-net header, and the frame from `start` to `end`
   * @returns bits of the descriptor's status
   */
  judge(rxcsum: number, bytes: Uint8Array, start: number, end: number): number {
    this.errors = 0;
    if ((rxcsum & (RXCSUM_IPOFL | RXCSUM_TUOFL)) === 0) return STATUS_IXSM;
    const ip = start + ETHERNET_BYTES;
    const isKnownGood = (bytes[0] & HDR_F_DATA_VALID) !== 0;
    let status = 0;
    switch (get16(bytes, start + ETHERNET_BYTES - 2)) {
      case ETHERTYPE_IPV4: {
        const header = (bytes[ip] & 0xf) * 4;
        const last = ip + get16(bytes, ip + 2);
        if (bytes[ip] >> 4 !== 4 || header < 20 || last < ip + header || last > end) return STATUS_IXSM;
        if ((rxcsum & RXCSUM_IPOFL) !== 0) {
          status |= STATUS_IPCS;
          if (!isKnownGood && fold(addWords(bytes, ip, ip + header, 0)) !== 0xffff) this.errors |= ERROR_IPE;
        }
        const isFragment = (get16(bytes, ip + 6) & 0x3fff) !== 0;
        const protocol = bytes[ip + 9];
        if (isFragment || (rxcsum & RXCSUM_TUOFL) === 0) return status;
        return status | this.#transport(bytes, ip + 12, 8, protocol, ip + header, last, isKnownGood);
      }
      case ETHERTYPE_IPV6: {
        const last = ip + IPV6_BYTES + get16(bytes, ip + 4);
        if ((rxcsum & RXCSUM_TUOFL) === 0 || last > end || ip + IPV6_BYTES > end) return STATUS_IXSM;
        const judged = this.#transport(bytes, ip + 8, 32, bytes[ip + 6], ip + IPV6_BYTES, last, isKnownGood);
        return judged === 0 ? STATUS_IXSM : judged;
      }
      default:
        return STATUS_IXSM;
    }
  }

  /** @param addresses where both are, `addressBytes` together */
  #transport(
    bytes: Uint8Array,
    addresses: number,
    addressBytes: number,
    protocol: number,
    start: number,
    end: number,
    isKnownGood: boolean,
  ): number {
    if (protocol !== TCP && protocol !== UDP) return 0;
    const least = protocol === TCP ? 20 : 8;
    if (end - start < least) return 0;
    // RFC 768: the sender made none.
    if (protocol === UDP && get16(bytes, start + 6) === 0) return 0;
    if (isKnownGood) return STATUS_TCPCS;
    const pseudo = addWords(bytes, addresses, addresses + addressBytes, protocol + end - start);
    if (fold(addWords(bytes, start, end, pseudo)) !== 0xffff) this.errors |= ERROR_TCPE;
    return STATUS_TCPCS;
  }
}
