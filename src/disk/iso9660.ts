/**
 * A CD image of a few small files, made in memory: ISO 9660 (ECMA-119), with names as they are by Rock Ridge (IEEE P1282,
 * RRIP_1991A) and by Joliet. Linux reads the first, Windows and some firmware the second. Files are in the root folder.
 */

const SECTOR = 2048;
const SYSTEM_SECTORS = 16;
const PRIMARY = 16;
const JOLIET = 17;
const TERMINATOR = 18;
/** Path tables: primary little-endian and big-endian, then Joliet's. */
const PATH_TABLES = 19;
const PRIMARY_ROOT = 23;
const JOLIET_ROOT = 24;
const FIRST_FILE = 25;
const PATH_TABLE_BYTES = 10;

const FLAG_DIRECTORY = 2;
const MODE_FILE = 0o100444;
const MODE_DIRECTORY = 0o040555;

interface IsoFile {
  readonly name: string;
  readonly data: Uint8Array;
  readonly sector: number;
}

/** @throws {RangeError} if the folder does not fit one sector: about ten files */
export function isoImage(label: string, files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const placed: IsoFile[] = [];
  let sector = FIRST_FILE;
  // Records are sorted by name (ECMA-119, 9.3).
  for (const [name, data] of [...files].sort(([a], [b]) => (isoName(a) < isoName(b) ? -1 : 1))) {
    placed.push({ name, data, sector });
    sector += Math.max(1, Math.ceil(data.length / SECTOR));
  }
  const image = Buffer.alloc(sector * SECTOR);
  const at = (index: number) => image.subarray(index * SECTOR, (index + 1) * SECTOR);
  putDescriptor(at(PRIMARY), false, label, sector);
  putDescriptor(at(JOLIET), true, label, sector);
  at(TERMINATOR).set([255, ...Buffer.from("CD001"), 1]);
  putPathTables(image);
  putFolder(at(PRIMARY_ROOT), primaryRecords(placed));
  putFolder(at(JOLIET_ROOT), jolietRecords(placed));
  for (const file of placed) image.set(file.data, file.sector * SECTOR);
  return image.subarray(0, Math.max(sector, SYSTEM_SECTORS) * SECTOR);
}

/** A name of level 2: capitals, digits and underscores. */
function isoName(name: string): string {
  return `${name
    .toUpperCase()
    .replace(/[^A-Z0-9_]/g, "_")
    .slice(0, 28)}.;1`;
}

function putDescriptor(sector: Buffer, isJoliet: boolean, label: string, sectors: number): void {
  const text = (at: number, length: number, value: string) =>
    isJoliet
      ? sector.set(utf16(value.slice(0, length / 2).padEnd(Math.floor(length / 2))), at)
      : sector.write(value.slice(0, length).padEnd(length), at, "latin1");
  sector[0] = isJoliet ? 2 : 1;
  sector.write("CD001", 1, "latin1");
  sector[6] = 1;
  text(8, 32, "");
  text(40, 32, label);
  putBoth32(sector, 80, sectors);
  if (isJoliet) sector.write("%/E", 88, "latin1"); // UCS-2 level 3
  putBoth16(sector, 120, 1);
  putBoth16(sector, 124, 1);
  putBoth16(sector, 128, SECTOR);
  putBoth32(sector, 132, PATH_TABLE_BYTES);
  const tables = PATH_TABLES + (isJoliet ? 2 : 0);
  sector.writeUInt32LE(tables, 140);
  sector.writeUInt32BE(tables + 1, 148);
  sector.set(record(isJoliet ? JOLIET_ROOT : PRIMARY_ROOT, SECTOR, FLAG_DIRECTORY, Buffer.from([0])), 156);
  for (const place of [190, 318, 446, 574]) text(place, 128, "");
  for (const place of [702, 739, 776]) text(place, 37, "");
  for (const place of [813, 830, 847, 864]) sector.write("0000000000000000", place, "latin1"); // no date
  sector[881] = 1;
}

/** One folder, the root, which is its own parent. */
function putPathTables(image: Buffer): void {
  for (const [n, root] of [PRIMARY_ROOT, PRIMARY_ROOT, JOLIET_ROOT, JOLIET_ROOT].entries()) {
    const table = image.subarray((PATH_TABLES + n) * SECTOR);
    table[0] = 1;
    if (n % 2 === 0) {
      table.writeUInt32LE(root, 2);
      table.writeUInt16LE(1, 6);
    } else {
      table.writeUInt32BE(root, 2);
      table.writeUInt16BE(1, 6);
    }
  }
}

function putFolder(sector: Buffer, records: readonly Buffer[]): void {
  let at = 0;
  for (const each of records) {
    if (at + each.length > SECTOR) throw new RangeError("too many files for one sector of names");
    sector.set(each, at);
    at += each.length;
  }
}

function primaryRecords(files: readonly IsoFile[]): Buffer[] {
  const self = Buffer.from([0]);
  const parent = Buffer.from([1]);
  return [
    record(PRIMARY_ROOT, SECTOR, FLAG_DIRECTORY, self, [
      SHARING_PROTOCOL,
      EXTENSIONS,
      attributes(MODE_DIRECTORY, 2),
    ]),
    record(PRIMARY_ROOT, SECTOR, FLAG_DIRECTORY, parent, [attributes(MODE_DIRECTORY, 2)]),
    ...files.map(({ name, data, sector }) =>
      record(sector, data.length, 0, Buffer.from(isoName(name), "latin1"), [
        attributes(MODE_FILE, 1),
        alternateName(name),
      ]),
    ),
  ];
}

function jolietRecords(files: readonly IsoFile[]): Buffer[] {
  return [
    record(JOLIET_ROOT, SECTOR, FLAG_DIRECTORY, Buffer.from([0])),
    record(JOLIET_ROOT, SECTOR, FLAG_DIRECTORY, Buffer.from([1])),
    ...files.map(({ name, data, sector }) => record(sector, data.length, 0, utf16(`${name};1`))),
  ];
}

/** A directory record (ECMA-119, 9.1). */
function record(
  sector: number,
  bytes: number,
  flags: number,
  name: Buffer,
  fields: readonly Buffer[] = [],
): Buffer {
  const nameEnd = 33 + name.length + (name.length % 2 === 0 ? 1 : 0);
  const length = fields.reduce((sum, field) => sum + field.length, nameEnd);
  const made = Buffer.alloc(length + (length % 2));
  made[0] = made.length;
  putBoth32(made, 2, sector);
  putBoth32(made, 10, bytes);
  made[25] = flags;
  putBoth16(made, 28, 1);
  made[32] = name.length;
  made.set(name, 33);
  Buffer.concat(fields).copy(made, nameEnd);
  return made;
}

/** SP: system use fields begin here (SUSP, 5.3). */
const SHARING_PROTOCOL = Buffer.from([0x53, 0x50, 7, 1, 0xbe, 0xef, 0]);
const RRIP = Buffer.from("RRIP_1991A");
/** ER: which extension they are; without it Linux takes the names of Joliet (SUSP, 5.5). */
const EXTENSIONS = Buffer.concat([Buffer.from([0x45, 0x52, 8 + RRIP.length, 1, RRIP.length, 0, 0, 1]), RRIP]);

/** PX: mode, links, user, group (RRIP, 4.1.1). */
function attributes(mode: number, links: number): Buffer {
  const field = Buffer.alloc(36);
  field.set([0x50, 0x58, 36, 1]);
  putBoth32(field, 4, mode);
  putBoth32(field, 12, links);
  return field;
}

/** NM: the name as it is (RRIP, 4.1.4). */
function alternateName(name: string): Buffer {
  const bytes = Buffer.from(name, "utf8");
  return Buffer.concat([Buffer.from([0x4e, 0x4d, 5 + bytes.length, 1, 0]), bytes]);
}

function utf16(value: string): Buffer {
  return Buffer.from(value, "utf16le").swap16();
}

function putBoth16(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt16LE(value, at);
  bytes.writeUInt16BE(value, at + 2);
}

function putBoth32(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value, at);
  bytes.writeUInt32BE(value, at + 4);
}
