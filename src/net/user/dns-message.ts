/** DNS messages (RFC 1035): the question of a query, the answers that this network makes, the addresses in an answer. */

import { formatAddress, parseAddress } from "./addresses.ts";
import { get16, put16 } from "./bytes.ts";

export const DNS_PORT = 53;

const HEADER_BYTES = 12;
const FLAG_RESPONSE = 0x8000;
const FLAG_RECURSION_DESIRED = 0x0100;
const FLAG_RECURSION_AVAILABLE = 0x0080;
const OPCODE_MASK = 0x7800;
const MAX_RECORDS = 64;
const TTL_SECONDS = 30;

const TYPE_A = 1;
const TYPE_AAAA = 28;
const TYPE_NAMES = new Map([
  [TYPE_A, "A"],
  [2, "NS"],
  [5, "CNAME"],
  [6, "SOA"],
  [12, "PTR"],
  [15, "MX"],
  [16, "TXT"],
  [TYPE_AAAA, "AAAA"],
  [33, "SRV"],
  [65, "HTTPS"],
]);

export const NO_ERROR = 0;
export const SERVER_FAILURE = 2;
export const NO_SUCH_NAME = 3;

export interface Question {
  /** Lower case, without the last dot. */
  readonly name: string;
  readonly type: string;
  /** Where the question ends in the message. */
  readonly end: number;
}

/** The one question of a query; undefined if the message is something else. */
export function questionOf(message: Uint8Array): Question | undefined {
  if (message.length < HEADER_BYTES + 5) return undefined;
  const flags = get16(message, 2);
  if ((flags & (FLAG_RESPONSE | OPCODE_MASK)) !== 0 || get16(message, 4) !== 1) return undefined;
  const name = nameAt(message, HEADER_BYTES);
  if (name === undefined || name.end + 4 > message.length) return undefined;
  const type = get16(message, name.end);
  return { name: name.text, type: TYPE_NAMES.get(type) ?? `TYPE${type}`, end: name.end + 4 };
}

/** An answer to a query: addresses of the type that was asked for, or an error. */
export function answerTo(
  query: Uint8Array,
  question: Question,
  addresses: readonly string[],
  code: number,
): Uint8Array {
  const records = addresses
    .map((each) => parseAddress(each))
    .filter((bytes) => bytes !== undefined)
    .filter(({ length }) => (length === 4 ? question.type === "A" : question.type === "AAAA"));
  const size = records.reduce((sum, { length }) => sum + 12 + length, question.end);
  const answer = new Uint8Array(size);
  answer.set(query.subarray(0, question.end));
  put16(
    answer,
    2,
    FLAG_RESPONSE | (get16(query, 2) & FLAG_RECURSION_DESIRED) | FLAG_RECURSION_AVAILABLE | code,
  );
  put16(answer, 6, records.length);
  put16(answer, 8, 0);
  put16(answer, 10, 0);
  let at = question.end;
  for (const bytes of records) {
    put16(answer, at, 0xc000 | HEADER_BYTES); // the name of the question
    put16(answer, at + 2, bytes.length === 4 ? TYPE_A : TYPE_AAAA);
    put16(answer, at + 4, 1); // IN
    put16(answer, at + 6, 0);
    put16(answer, at + 8, TTL_SECONDS);
    put16(answer, at + 10, bytes.length);
    answer.set(bytes, at + 12);
    at += 12 + bytes.length;
  }
  return answer;
}

/** The name that was asked for and the addresses in a response; none if it is not one. */
export function addressesIn(message: Uint8Array): {
  readonly name: string;
  readonly addresses: readonly string[];
} {
  const addresses: string[] = [];
  if (message.length < HEADER_BYTES || (get16(message, 2) & FLAG_RESPONSE) === 0)
    return { name: "", addresses };
  const name = get16(message, 4) === 1 ? nameAt(message, HEADER_BYTES) : undefined;
  if (name === undefined) return { name: "", addresses };
  let at = name.end + 4;
  const records = Math.min(get16(message, 6), MAX_RECORDS);
  for (let n = 0; n < records; n++) {
    const owner = nameAt(message, at);
    if (owner === undefined || owner.end + 10 > message.length) break;
    const type = get16(message, owner.end);
    const length = get16(message, owner.end + 8);
    const data = owner.end + 10;
    if (data + length > message.length) break;
    const isAddress = (type === TYPE_A && length === 4) || (type === TYPE_AAAA && length === 16);
    if (isAddress) addresses.push(formatAddress(message.subarray(data, data + length)));
    at = data + length;
  }
  return { name: name.text, addresses };
}

/** A name, which may continue elsewhere (RFC 1035, 4.1.4); pointers only lead back, so there is an end. */
function nameAt(
  message: Uint8Array,
  start: number,
): { readonly text: string; readonly end: number } | undefined {
  const labels: string[] = [];
  let at = start;
  let end = -1;
  let limit = start;
  for (let length = 0; ; ) {
    if (at >= message.length) return undefined;
    const size = message[at];
    if (size === 0) return { text: labels.join(".").toLowerCase(), end: end < 0 ? at + 1 : end };
    if (size >= 0xc0) {
      if (at + 1 >= message.length) return undefined;
      const target = get16(message, at) & 0x3fff;
      if (target >= limit) return undefined;
      if (end < 0) end = at + 2;
      at = target;
      limit = target;
      continue;
    }
    length += size + 1;
    if (size > 63 || length > 255 || at + 1 + size > message.length) return undefined;
    labels.push(String.fromCharCode(...message.subarray(at + 1, at + 1 + size)));
    at += 1 + size;
  }
}
