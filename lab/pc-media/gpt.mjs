/**
 * Writes a disk with a GPT: GRUB's core image in a BIOS boot partition, and a folder in an
 * ext2 partition.
 *
 *   node gpt.mjs DISK BOOT.IMG CORE.IMG FOLDER
 *
 * Source: UEFI specification 2.10, section 5; GRUB 2.06, include/grub/i386/pc/boot.h (where
 * boot.img has the first sector of the core image) and grub-core/boot/i386/pc/diskboot.S (where
 * that has the others).
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { crc32 } from "node:zlib";

const SECTOR = 512;
const SECTORS = 48 * 2048;
const ENTRIES = 128;
const ENTRY = 128;
const TABLE_SECTORS = (ENTRIES * ENTRY) / SECTOR;
const BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649";
const LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const DISK_ID = "766D6578-6974-4000-8000-000000000010";
const PARTITIONS = [
  { type: BIOS_BOOT, id: "766D6578-6974-4000-8000-000000000011", first: 2048, last: 4095 },
  { type: LINUX, id: "766D6578-6974-4000-8000-000000000012", first: 4096, last: SECTORS - 2049 },
];

// boot.img
const CODE_BYTES = 440;
const KERNEL_SECTOR = 0x5c;
// The first sector of core.img: where the list of the other sectors is.
const FIRST_LIST_START = SECTOR - 12;

const [disk, bootImage, coreImage, folder] = process.argv.slice(2);

/** A GUID as it is stored: its first three fields are little-endian. */
function guid(text) {
  const bytes = Buffer.from(text.replaceAll("-", ""), "hex");
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}

function table() {
  const bytes = Buffer.alloc(ENTRIES * ENTRY);
  PARTITIONS.forEach(({ type, id, first, last }, n) => {
    guid(type).copy(bytes, n * ENTRY);
    guid(id).copy(bytes, n * ENTRY + 16);
    bytes.writeBigUInt64LE(BigInt(first), n * ENTRY + 32);
    bytes.writeBigUInt64LE(BigInt(last), n * ENTRY + 40);
  });
  return bytes;
}

function header(at, other, tableAt, entries) {
  const bytes = Buffer.alloc(SECTOR);
  bytes.write("EFI PART");
  bytes.writeUInt32LE(0x0001_0000, 8);
  bytes.writeUInt32LE(92, 12);
  bytes.writeBigUInt64LE(BigInt(at), 24);
  bytes.writeBigUInt64LE(BigInt(other), 32);
  bytes.writeBigUInt64LE(BigInt(2 + TABLE_SECTORS), 40);
  bytes.writeBigUInt64LE(BigInt(SECTORS - TABLE_SECTORS - 2), 48);
  guid(DISK_ID).copy(bytes, 56);
  bytes.writeBigUInt64LE(BigInt(tableAt), 72);
  bytes.writeUInt32LE(ENTRIES, 80);
  bytes.writeUInt32LE(ENTRY, 84);
  bytes.writeUInt32LE(crc32(entries), 88);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 92)), 16);
  return bytes;
}

/** One partition over all of the disk, of the type that says so: 5.2.3. */
function protectiveMbr(bytes) {
  bytes.fill(0, 446, 510);
  bytes.set([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff], 446);
  bytes.writeUInt32LE(1, 454);
  bytes.writeUInt32LE(SECTORS - 1, 458);
  bytes.writeUInt16LE(0xaa55, 510);
}

const bytes = Buffer.alloc(SECTORS * SECTOR);
const put = (sector, data) => data.copy(bytes, sector * SECTOR);
const [bios, system] = PARTITIONS;

readFileSync(bootImage).copy(bytes, 0, 0, CODE_BYTES);
bytes.writeBigUInt64LE(BigInt(bios.first), KERNEL_SECTOR);
protectiveMbr(bytes);
const entries = table();
put(1, header(1, SECTORS - 1, 2, entries));
put(2, entries);
put(SECTORS - 1 - TABLE_SECTORS, entries);
put(SECTORS - 1, header(SECTORS - 1, 1, SECTORS - 1 - TABLE_SECTORS, entries));
const core = readFileSync(coreImage);
core.writeBigUInt64LE(BigInt(bios.first + 1), FIRST_LIST_START);
put(bios.first, core);

writeFileSync(disk, bytes);
const offset = `offset=${system.first * SECTOR},root_owner=0:0`;
const blocks = (system.last - system.first + 1) / 2;
execFileSync(
  "mkfs.ext2",
  ["-q", "-F", "-L", "vmexit-gpt", "-m", "0", "-E", offset, "-d", folder, disk, `${blocks}k`],
  { stdio: ["ignore", 2, "inherit"], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } },
);
