/**
 * The server's handshake: answers a client's questions about the only export, until
 * the client opens it.
 *
 * Source: "The NBD protocol", sections "Fixed newstyle negotiation" and "Option
 * types". A client may send at most MAX_OPTIONS options, of MAX_OPTION bytes
 * each; the caller limits the time.
 */

import type { Duplex } from "node:stream";
import { SECTOR } from "../base/units.ts";
import type { DiskFacts } from "../disk/disk-facts.ts";
import type { ByteChannel } from "./byte-channel.ts";
import { NbdError, violation } from "./nbd-error.ts";
import {
  BASE_ALLOCATION,
  FLAG_CAN_MULTI_CONN,
  FLAG_FIXED_NEWSTYLE,
  FLAG_HAS_FLAGS,
  FLAG_NO_ZEROES,
  FLAG_READ_ONLY,
  FLAG_SEND_DF,
  FLAG_SEND_FLUSH,
  FLAG_SEND_FUA,
  FLAG_SEND_TRIM,
  FLAG_SEND_WRITE_ZEROES,
  IHAVEOPT,
  INFO_BLOCK_SIZE,
  INFO_DESCRIPTION,
  INFO_EXPORT,
  INFO_NAME,
  MAX_PAYLOAD,
  MAX_STRING,
  NBDMAGIC,
  OPT_ABORT,
  OPT_EXPORT_NAME,
  OPT_GO,
  OPT_INFO,
  OPT_LIST,
  OPT_LIST_META_CONTEXT,
  OPT_SET_META_CONTEXT,
  OPT_STARTTLS,
  OPT_STRUCTURED_REPLY,
  OPTION_REPLY_MAGIC,
  REP_ACK,
  REP_ERR_INVALID,
  REP_ERR_POLICY,
  REP_ERR_TLS_REQD,
  REP_ERR_TOO_BIG,
  REP_ERR_UNKNOWN,
  REP_ERR_UNSUP,
  REP_INFO,
  REP_META_CONTEXT,
  REP_SERVER,
} from "./protocol.ts";

const MAX_OPTIONS = 64;
/** Two strings and some numbers. */
const MAX_OPTION = 2 * MAX_STRING + 64;
const MAX_QUERIES = 64;

export interface Offer {
  readonly facts: DiskFacts;
  readonly exportName: string;
  readonly description: string;
  /** A client may have several connections. They use one disk, so a flush on one is a flush of all. */
  readonly many: boolean;
  /** Starts TLS on a connection, which is then required; absent: no TLS. */
  readonly secure: ((socket: Duplex) => Promise<Duplex>) | undefined;
}

/** The result of the handshake. */
export interface Terms {
  readonly structured: boolean;
  /** The client selected base:allocation. */
  readonly allocation: boolean;
}

/** The id of base:allocation. Any number is valid. */
export const ALLOCATION_ID = 1;

/**
 * Serves one client's handshake. Undefined if the client disconnects.
 * @throws if it violates the protocol, or the connection is lost
 */
export function makeOffer(channel: ByteChannel, where: string, offer: Offer): Promise<Terms | undefined> {
  return new OfferingServer(channel, where, offer).run();
}

/** Transmission flags of a disk. */
function transmissionFlags({ facts: { readOnly }, many }: Offer, structured: boolean): number {
  const write = FLAG_SEND_FLUSH | FLAG_SEND_FUA | FLAG_SEND_TRIM | FLAG_SEND_WRITE_ZEROES;
  const always = FLAG_HAS_FLAGS | (many ? FLAG_CAN_MULTI_CONN : 0) | (structured ? FLAG_SEND_DF : 0);
  return always | (readOnly ? FLAG_READ_ONLY | FLAG_SEND_FLUSH : write);
}

class OfferingServer {
  readonly #channel: ByteChannel;
  readonly #where: string;
  readonly #offer: Offer;
  #secured = false;
  #structured = false;
  #allocation = false;
  #noZeroes = false;

  constructor(channel: ByteChannel, where: string, offer: Offer) {
    this.#channel = channel;
    this.#where = where;
    this.#offer = offer;
  }

  async run(): Promise<Terms | undefined> {
    const hello = Buffer.alloc(18);
    hello.writeBigUInt64BE(NBDMAGIC, 0);
    hello.writeBigUInt64BE(IHAVEOPT, 8);
    hello.writeUInt16BE(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES, 16);
    this.#channel.send([hello]);
    const flags = (await this.#channel.take(4)).readUInt32BE(0);
    if (flags & ~(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES))
      throw violation(this.#where, `client flags ${flags}`);
    this.#noZeroes = (flags & FLAG_NO_ZEROES) !== 0;
    for (let options = 0; options < MAX_OPTIONS; options++) {
      const next = await this.#serveOption();
      if (next === "gone") return undefined;
      if (next === "taken") return { structured: this.#structured, allocation: this.#allocation };
    }
    throw new NbdError(this.#where, `it sent ${MAX_OPTIONS} options and did not open the export`);
  }

  async #serveOption(): Promise<"more" | "taken" | "gone"> {
    const header = await this.#channel.take(16);
    if (header.readBigUInt64BE(0) !== IHAVEOPT) throw violation(this.#where, "the magic number of an option");
    const option = header.readUInt32BE(8);
    const length = header.readUInt32BE(12);
    if (length > MAX_OPTION) {
      // An excessive length is an attack; a merely long option is skipped.
      if (length > MAX_PAYLOAD) throw violation(this.#where, `an option of ${length} bytes`);
      await this.#channel.skip(length);
      this.#reply(option, REP_ERR_TOO_BIG);
      return "more";
    }
    const data = await this.#channel.take(length);
    if (option === OPT_ABORT) {
      this.#reply(option, REP_ACK);
      return "gone";
    }
    if (option === OPT_STARTTLS) return this.#startTls(data);
    if (this.#offer.secure !== undefined && !this.#secured) {
      if (option === OPT_EXPORT_NAME) throw new NbdError(this.#where, "it requests the export without TLS");
      this.#reply(option, REP_ERR_TLS_REQD, Buffer.from("this server wants TLS"));
      return "more";
    }
    switch (option) {
      case OPT_EXPORT_NAME:
        return this.#exportName(data);
      case OPT_LIST:
        this.#list(data);
        return "more";
      case OPT_INFO:
      case OPT_GO:
        return this.#info(option, data) && option === OPT_GO ? "taken" : "more";
      case OPT_STRUCTURED_REPLY:
        this.#structured ||= data.length === 0;
        this.#reply(option, data.length === 0 ? REP_ACK : REP_ERR_INVALID);
        return "more";
      case OPT_LIST_META_CONTEXT:
      case OPT_SET_META_CONTEXT:
        this.#metaContexts(option, data);
        return "more";
      default:
        this.#reply(option, REP_ERR_UNSUP);
        return "more";
    }
  }

  async #startTls(data: Buffer): Promise<"more"> {
    const { secure } = this.#offer;
    if (data.length > 0 || this.#secured) this.#reply(OPT_STARTTLS, REP_ERR_INVALID);
    else if (secure === undefined)
      this.#reply(OPT_STARTTLS, REP_ERR_POLICY, Buffer.from("this server has no TLS"));
    else {
      this.#reply(OPT_STARTTLS, REP_ACK);
      await this.#channel.replace(secure);
      this.#secured = true;
      // Everything that was negotiated without TLS is void.
      this.#structured = false;
      this.#allocation = false;
    }
    return "more";
  }

  #exportName(data: Buffer): "taken" {
    if (data.toString() !== this.#offer.exportName) {
      throw new NbdError(this.#where, "it requests an export of another name");
    }
    const { facts } = this.#offer;
    const answer = Buffer.alloc(this.#noZeroes ? 10 : 10 + 124);
    answer.writeBigUInt64BE(BigInt(facts.size), 0);
    answer.writeUInt16BE(transmissionFlags(this.#offer, this.#structured), 8);
    this.#channel.send([answer]);
    return "taken";
  }

  #list(data: Buffer): void {
    if (data.length > 0) {
      this.#reply(OPT_LIST, REP_ERR_INVALID);
      return;
    }
    const name = Buffer.from(this.#offer.exportName);
    this.#reply(OPT_LIST, REP_SERVER, uint32(name.length), name, Buffer.from(this.#offer.description));
    this.#reply(OPT_LIST, REP_ACK);
  }

  /** Returns whether the request was answered with the export's information. */
  #info(option: number, data: Buffer): boolean {
    const reader = new OptionReader(data);
    const name = reader.string();
    const count = reader.uint16();
    const wanted = new Set<number>();
    for (let n = 0; n < (count ?? 0); n++) wanted.add(reader.uint16() ?? -1);
    if (name === undefined || count === undefined || !reader.isAtEnd || wanted.has(-1)) {
      this.#reply(option, REP_ERR_INVALID);
      return false;
    }
    if (name !== this.#offer.exportName) {
      this.#reply(option, REP_ERR_UNKNOWN, Buffer.from("there is no export of this name"));
      return false;
    }
    const { facts, description } = this.#offer;
    if (wanted.has(INFO_NAME)) this.#reply(option, REP_INFO, uint16(INFO_NAME), Buffer.from(name));
    if (description !== "") {
      this.#reply(option, REP_INFO, uint16(INFO_DESCRIPTION), Buffer.from(description));
    }
    const sizes = [SECTOR, Math.max(4096, facts.blockSize), MAX_PAYLOAD];
    this.#reply(option, REP_INFO, uint16(INFO_BLOCK_SIZE), ...sizes.map(uint32));
    const size = Buffer.alloc(10);
    size.writeBigUInt64BE(BigInt(facts.size), 0);
    size.writeUInt16BE(transmissionFlags(this.#offer, this.#structured), 8);
    this.#reply(option, REP_INFO, uint16(INFO_EXPORT), size);
    this.#reply(option, REP_ACK);
    return true;
  }

  #metaContexts(option: number, data: Buffer): void {
    const reader = new OptionReader(data);
    const name = reader.string();
    const count = reader.uint32();
    const queries: (string | undefined)[] = [];
    for (let n = 0; n < Math.min(count ?? 0, MAX_QUERIES + 1); n++) queries.push(reader.string());
    const isSet = option === OPT_SET_META_CONTEXT;
    if (isSet) this.#allocation = false;
    if (!this.#structured || name === undefined || count === undefined || queries.includes(undefined)) {
      this.#reply(option, REP_ERR_INVALID);
    } else if (count > MAX_QUERIES) {
      this.#reply(option, REP_ERR_TOO_BIG);
    } else if (!reader.isAtEnd) {
      this.#reply(option, REP_ERR_INVALID);
    } else if (name !== this.#offer.exportName) {
      this.#reply(option, REP_ERR_UNKNOWN);
    } else {
      const isAsked =
        queries.includes(BASE_ALLOCATION) || (!isSet && (count === 0 || queries.includes("base:")));
      if (isAsked) {
        const id = isSet ? ALLOCATION_ID : 0;
        this.#reply(option, REP_META_CONTEXT, uint32(id), Buffer.from(BASE_ALLOCATION));
      }
      if (isSet) this.#allocation = isAsked;
      this.#reply(option, REP_ACK);
    }
  }

  #reply(option: number, type: number, ...data: Buffer[]): void {
    const header = Buffer.alloc(20);
    header.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
    header.writeUInt32BE(option, 8);
    header.writeUInt32BE(type, 12);
    header.writeUInt32BE(
      data.reduce((sum, { length }) => sum + length, 0),
      16,
    );
    this.#channel.send([header, ...data]);
  }
}

/** An option's data, field by field; undefined for a missing field. */
class OptionReader {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#data.length;
  }

  uint16(): number | undefined {
    return this.#next(2)?.readUInt16BE(0);
  }

  uint32(): number | undefined {
    return this.#next(4)?.readUInt32BE(0);
  }

  /** A length of 32 bits, followed by that many bytes. */
  string(): string | undefined {
    const length = this.uint32();
    return length === undefined || length > MAX_STRING ? undefined : this.#next(length)?.toString();
  }

  #next(length: number): Buffer | undefined {
    if (this.#at + length > this.#data.length) return undefined;
    this.#at += length;
    return this.#data.subarray(this.#at - length, this.#at);
  }
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
