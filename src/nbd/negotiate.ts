/**
 * The client's handshake: from a connection to an export that answers requests.
 *
 * Source: "The NBD protocol", sections "Fixed newstyle negotiation", "Option
 * types", "Option reply types". Options in this order: STARTTLS,
 * STRUCTURED_REPLY, SET_META_CONTEXT, GO; EXPORT_NAME where a server has no GO.
 */

import type { Duplex } from "node:stream";
import { SECTOR } from "../base/units.ts";
import type { ByteChannel } from "./byte-channel.ts";
import { NbdError, quoted, violation } from "./nbd-error.ts";
import {
  BASE_ALLOCATION,
  CLISERV_MAGIC,
  FLAG_FIXED_NEWSTYLE,
  FLAG_HAS_FLAGS,
  FLAG_NO_ZEROES,
  IHAVEOPT,
  INFO_BLOCK_SIZE,
  INFO_EXPORT,
  MAX_PAYLOAD,
  MAX_STRING,
  NBDMAGIC,
  OPT_EXPORT_NAME,
  OPT_GO,
  OPT_SET_META_CONTEXT,
  OPT_STARTTLS,
  OPT_STRUCTURED_REPLY,
  OPTION_REPLY_MAGIC,
  REP_ACK,
  REP_ERR_BLOCK_SIZE_REQD,
  REP_ERR_POLICY,
  REP_ERR_TLS_REQD,
  REP_ERR_UNKNOWN,
  REP_ERR_UNSUP,
  REP_FLAG_ERROR,
  REP_INFO,
  REP_META_CONTEXT,
} from "./protocol.ts";

/** What the server offers, checked. */
export interface NbdExport {
  /** Bytes. */
  readonly size: number;
  /** FLAG_READ_ONLY … */
  readonly flags: number;
  /** Requests begin and end at multiples of it: a power of two up to 64 KiB. */
  readonly minimumBlock: number;
  /** The server's preferred size; a power of two, not below the minimum. */
  readonly preferredBlock: number;
  /** Bytes of data in one request, a multiple of the minimum. */
  readonly maximumPayload: number;
  readonly structured: boolean;
  /** Id of base:allocation, if the server supports it. */
  readonly allocationId: number | undefined;
}

export interface Negotiation {
  /** For messages. */
  readonly where: string;
  readonly exportName: string;
  /** Starts TLS on the connection; absent: no TLS. */
  readonly secure: ((socket: Duplex) => Promise<Duplex>) | undefined;
}

/** The limit of a reply to one option: a name, its description, and numbers. */
const MAX_REPLY = 2 * MAX_STRING + 64;
/** The limit of information replies to one option. */
const MAX_REPLIES = 64;
const MAX_MINIMUM_BLOCK = 65536;

interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

/** @throws {NbdError} if the handshake fails */
export async function negotiate(channel: ByteChannel, wishes: Negotiation): Promise<NbdExport> {
  return new Handshake(channel, wishes).run();
}

class Handshake {
  readonly #channel: ByteChannel;
  readonly #wishes: Negotiation;
  readonly #where: string;

  constructor(channel: ByteChannel, wishes: Negotiation) {
    this.#channel = channel;
    this.#wishes = wishes;
    this.#where = wishes.where;
  }

  async run(): Promise<NbdExport> {
    const noZeroes = await this.#greet();
    if (this.#wishes.secure !== undefined) await this.#startTls(this.#wishes.secure);
    const structured = await this.#agreed(OPT_STRUCTURED_REPLY);
    const allocationId = structured ? await this.#askForAllocation() : undefined;
    const facts = (await this.#go()) ?? (await this.#exportName(noZeroes));
    return { ...facts, structured, allocationId };
  }

  /** Returns whether the server omits the zeros after EXPORT_NAME's answer. */
  async #greet(): Promise<boolean> {
    const hello = await this.#channel.take(16);
    if (hello.readBigUInt64BE(0) !== NBDMAGIC) {
      throw new NbdError(this.#where, "this is not an NBD server: its greeting is different");
    }
    const style = hello.readBigUInt64BE(8);
    if (style === CLISERV_MAGIC) {
      throw new NbdError(
        this.#where,
        "it supports only the oldstyle handshake, which vmexit does not support",
      );
    }
    if (style !== IHAVEOPT) throw violation(this.#where, "the magic number of its greeting");
    const flags = (await this.#channel.take(2)).readUInt16BE(0);
    if (!(flags & FLAG_FIXED_NEWSTYLE)) {
      throw new NbdError(this.#where, "it is older than the fixed newstyle handshake, which vmexit needs");
    }
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(flags & (FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES));
    this.#channel.send([answer]);
    return (flags & FLAG_NO_ZEROES) !== 0;
  }

  async #startTls(secure: (socket: Duplex) => Promise<Duplex>): Promise<void> {
    this.#send(OPT_STARTTLS);
    const reply = await this.#reply(OPT_STARTTLS);
    if (reply.type !== REP_ACK) {
      throw new NbdError(this.#where, `it does not support TLS, which was requested${said(reply)}`);
    }
    if (reply.data.length > 0) throw violation(this.#where, "an acknowledgement with data in it");
    try {
      await this.#channel.replace(secure);
    } catch (error) {
      throw new NbdError(this.#where, `no TLS: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** Sends an option without data that the server may not know. */
  async #agreed(option: number): Promise<boolean> {
    this.#send(option);
    const { type, data } = await this.#reply(option);
    if (type === REP_ERR_TLS_REQD) throw this.#tlsRequired();
    if (type === REP_ACK && data.length > 0) {
      throw violation(this.#where, "an acknowledgement with data in it");
    }
    return type === REP_ACK;
  }

  async #askForAllocation(): Promise<number | undefined> {
    const query = Buffer.from(BASE_ALLOCATION);
    const count = Buffer.alloc(4);
    count.writeUInt32BE(1);
    this.#send(OPT_SET_META_CONTEXT, this.#nameWithLength(), count, lengthOf(query), query);
    let id: number | undefined;
    for (let replies = 0; replies < MAX_REPLIES; replies++) {
      const { type, data } = await this.#reply(OPT_SET_META_CONTEXT);
      if (type === REP_ACK) return id;
      if (type >= REP_FLAG_ERROR) return undefined;
      if (type !== REP_META_CONTEXT || data.length < 4) {
        throw violation(this.#where, `reply ${type} to SET_META_CONTEXT`);
      }
      if (data.subarray(4).toString("latin1") === BASE_ALLOCATION) id = data.readUInt32BE(0);
    }
    throw violation(this.#where, "endless replies to SET_META_CONTEXT");
  }

  /** Undefined if the server does not know GO. */
  async #go(): Promise<Omit<NbdExport, "structured" | "allocationId"> | undefined> {
    const wanted = Buffer.alloc(4);
    wanted.writeUInt16BE(1, 0);
    wanted.writeUInt16BE(INFO_BLOCK_SIZE, 2);
    this.#send(OPT_GO, this.#nameWithLength(), wanted);
    let size: bigint | undefined;
    let flags = 0;
    let blocks = { minimum: 1, preferred: 4096, maximum: MAX_PAYLOAD };
    for (let replies = 0; replies < MAX_REPLIES; replies++) {
      const reply = await this.#reply(OPT_GO);
      const { type, data } = reply;
      if (type === REP_ERR_UNSUP) return undefined;
      if (type >= REP_FLAG_ERROR) throw this.#refusal(reply);
      if (type === REP_ACK) {
        if (size === undefined) throw violation(this.#where, "an export without a size");
        return this.#checked(size, flags, blocks);
      }
      if (type !== REP_INFO || data.length < 2) throw violation(this.#where, `reply ${type} to GO`);
      const kind = data.readUInt16BE(0);
      if (kind === INFO_EXPORT) {
        if (data.length !== 12) throw violation(this.#where, "INFO_EXPORT of another length");
        size = data.readBigUInt64BE(2);
        flags = data.readUInt16BE(10);
      } else if (kind === INFO_BLOCK_SIZE) {
        if (data.length !== 14) throw violation(this.#where, "INFO_BLOCK_SIZE of another length");
        const at = (offset: number) => data.readUInt32BE(offset);
        blocks = { minimum: at(2), preferred: at(6), maximum: at(10) };
      }
    }
    throw violation(this.#where, "endless replies to GO");
  }

  /** The handshake without GO. A server that does not have the export closes the connection. */
  async #exportName(noZeroes: boolean): Promise<Omit<NbdExport, "structured" | "allocationId">> {
    this.#send(OPT_EXPORT_NAME, Buffer.from(this.#wishes.exportName));
    let answer: Buffer;
    try {
      answer = await this.#channel.take(noZeroes ? 10 : 10 + 124);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new NbdError(this.#where, `${why}; does it have an export "${this.#wishes.exportName}"?`);
    }
    const blocks = { minimum: 1, preferred: 4096, maximum: MAX_PAYLOAD };
    return this.#checked(answer.readBigUInt64BE(0), answer.readUInt16BE(8), blocks);
  }

  #checked(
    size: bigint,
    flags: number,
    { minimum, preferred, maximum }: { minimum: number; preferred: number; maximum: number },
  ): Omit<NbdExport, "structured" | "allocationId"> {
    const fail = (what: string): never => {
      throw violation(this.#where, what);
    };
    if (!(flags & FLAG_HAS_FLAGS)) fail("transmission flags without HAS_FLAGS");
    if (size > BigInt(Number.MAX_SAFE_INTEGER - MAX_MINIMUM_BLOCK)) {
      throw new NbdError(this.#where, `the export has ${size} bytes, more than vmexit can count`);
    }
    if (!isPowerOfTwo(minimum) || minimum > MAX_MINIMUM_BLOCK) fail(`a minimum block size of ${minimum}`);
    if (!isPowerOfTwo(preferred) || preferred < minimum) fail(`a preferred block size of ${preferred}`);
    // Everything is a multiple of 512 here, even if the server allows smaller blocks.
    const unit = Math.max(minimum, SECTOR);
    const most = Math.min(maximum, MAX_PAYLOAD);
    if (most < unit) fail(`a maximum block size of ${maximum} with blocks of ${unit}`);
    return {
      // The rest of an incomplete last block cannot be accessed.
      size: Number(size) - (Number(size) % minimum),
      flags,
      minimumBlock: minimum,
      preferredBlock: preferred,
      maximumPayload: most - (most % unit),
    };
  }

  #nameWithLength(): Buffer {
    const name = Buffer.from(this.#wishes.exportName);
    return Buffer.concat([lengthOf(name), name]);
  }

  #send(option: number, ...data: Buffer[]): void {
    const header = Buffer.alloc(16);
    header.writeBigUInt64BE(IHAVEOPT, 0);
    header.writeUInt32BE(option, 8);
    header.writeUInt32BE(
      data.reduce((sum, { length }) => sum + length, 0),
      12,
    );
    this.#channel.send([header, ...data]);
  }

  async #reply(option: number): Promise<OptionReply> {
    const header = await this.#channel.take(20);
    if (header.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) {
      throw violation(this.#where, "the magic number of an option's reply");
    }
    if (header.readUInt32BE(8) !== option) {
      throw violation(this.#where, `a reply to option ${header.readUInt32BE(8)} when asked ${option}`);
    }
    const length = header.readUInt32BE(16);
    if (length > MAX_REPLY) throw violation(this.#where, `a reply of ${length} bytes to option ${option}`);
    return { type: header.readUInt32BE(12), data: await this.#channel.take(length) };
  }

  #refusal(reply: OptionReply): NbdError {
    if (reply.type === REP_ERR_TLS_REQD) return this.#tlsRequired();
    const why = new Map([
      [REP_ERR_UNKNOWN, `it has no export "${this.#wishes.exportName}"`],
      [REP_ERR_POLICY, "it does not allow this"],
      [REP_ERR_BLOCK_SIZE_REQD, "it needs block sizes to be agreed"],
    ]).get(reply.type);
    return new NbdError(this.#where, `${why ?? "it refuses this export"}${said(reply)}`);
  }

  #tlsRequired(): NbdError {
    return new NbdError(
      this.#where,
      "it wants TLS: name it nbds://, and give certificates if it asks for them",
    );
  }
}

/** The server's own text in a refusal. */
function said({ data }: OptionReply): string {
  return data.length === 0 ? "" : `; it says "${quoted(data)}"`;
}

function lengthOf(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return length;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}
