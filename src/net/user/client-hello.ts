/** The server name in a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3): for decisions before a connection is made. */
import { get16 } from "./bytes.ts";

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const RECORD_HEADER_BYTES = 5;
/** A record has at most 16 KiB. */
const MAX_HELLO_BYTES = 16_384 + RECORD_HEADER_BYTES;

/** undefined: the bytes so far do not decide it; "": there is none. */
export function serverNameIn(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes[0] !== HANDSHAKE) return "";
  if (bytes.length < RECORD_HEADER_BYTES) return undefined;
  const end = RECORD_HEADER_BYTES + get16(bytes, 3);
  if (end > MAX_HELLO_BYTES) return "";
  if (bytes.length < end) return undefined;
  return nameInHello(bytes.subarray(RECORD_HEADER_BYTES, end));
}

/** Each step over a length is checked by the next read: beyond the end bytes are undefined, and lengths 0. */
function nameInHello(hello: Uint8Array): string {
  if (hello[0] !== CLIENT_HELLO) return "";
  let at = 4 + 2 + 32; // header, version, random
  at += 1 + (hello[at] ?? 0); // session
  at += 2 + get16(hello, at); // cipher suites
  at += 1 + (hello[at] ?? 0); // compression
  const end = Math.min(hello.length, at + 2 + get16(hello, at));
  at += 2;
  while (at + 4 <= end) {
    const type = get16(hello, at);
    const length = get16(hello, at + 2);
    if (type === SERVER_NAME) return nameInList(hello.subarray(at + 4, Math.min(end, at + 4 + length)));
    at += 4 + length;
  }
  return "";
}

/** The list has one name of type 0 (host_name). */
function nameInList(list: Uint8Array): string {
  if (list.length < 5 || list[2] !== 0) return "";
  const length = get16(list, 3);
  if (5 + length > list.length) return "";
  return Buffer.from(list.subarray(5, 5 + length))
    .toString("latin1")
    .toLowerCase();
}
