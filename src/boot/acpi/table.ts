/**
 * What all ACPI tables have in common.
 *
 * Source: ACPI 6.4, 5.2.6 (System Description Table Header).
 */
import { concat, u32 } from "./aml.ts";

export const HEADER_SIZE = 36;
export const CHECKSUM = 9;

export const OEM_ID = "VMEXIT"; // 6 characters
const OEM_TABLE_ID = "VMEXITVM"; // 8 characters
const CREATOR_ID = "VMEX"; // 4 characters

/** A table with its header: `signature` of four characters, `body` what follows the header. */
export function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const ascii = new TextEncoder();
  const bytes = concat([
    ascii.encode(signature),
    u32(HEADER_SIZE + body.length),
    [revision, 0],
    ascii.encode(OEM_ID + OEM_TABLE_ID),
    u32(1), // OEM revision
    ascii.encode(CREATOR_ID),
    u32(1), // creator revision
    body,
  ]);
  bytes[CHECKSUM] = checksum(bytes);
  return bytes;
}

/** The byte that makes the sum of `bytes` zero, given that its own place holds zero. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
