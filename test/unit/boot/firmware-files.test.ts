/** What firmware reads by fw_cfg: tables as SeaBIOS's loader places them, SMBIOS, memory map, boot order. */
import { expect, test } from "vitest";
import { loadedAcpi } from "../../../src/boot/acpi/loaded.ts";
import { firmwareFiles } from "../../../src/boot/firmware-files.ts";
import { SmbiosFields } from "../../../src/boot/smbios-fields.ts";
import { pc } from "../../../src/machine/boards/pc.ts";
import { firmwareDescription } from "../../../src/machine/describe/firmware.ts";
import { SMALLEST } from "../../support/assemble.ts";
import { disassemble } from "../../support/iasl.ts";

const SPEC = {
  ...SMALLEST,
  board: "pc",
  cpus: 2,
  firmware: { size: 2 ** 18, bootOrder: "cad", bootMenu: false },
};
const described = (smbios = new SmbiosFields(), userFiles = new Map<string, Uint8Array>()) =>
  firmwareDescription(SPEC, pc.parts(SPEC), { userFiles, smbios });

const file = (name: string) => {
  const found = firmwareFiles(described()).files.get(name);
  if (found === undefined) throw new Error(`there is no file ${name}`);
  return found;
};

/** Carries out the loader's script as SeaBIOS 1.16's src/fw/romfile_loader.c does. */
function load() {
  const files = loadedAcpi(described().acpi);
  const memory = new Uint8Array(2 ** 16);
  const places = new Map<string, { at: number; length: number }>();
  let end = 0x4000;
  const script = files.get("etc/table-loader") ?? new Uint8Array();
  for (let at = 0; at < script.length; at += 128) {
    const entry = script.subarray(at, at + 128);
    const data = new DataView(entry.buffer, entry.byteOffset);
    const name = (from: number) =>
      String.fromCharCode(...entry.subarray(from, from + 56)).replace(/\0.*/s, "");
    const place = (from: number) => places.get(name(from)) ?? { at: 0, length: 0 };
    const target = new DataView(memory.buffer);
    if (data.getUint32(0, true) === 1) {
      const bytes = files.get(name(4)) ?? new Uint8Array();
      places.set(name(4), { at: end, length: bytes.length });
      memory.set(bytes, end);
      end += Math.ceil(bytes.length / 64) * 64;
    } else if (data.getUint32(0, true) === 2) {
      const where = place(4).at + data.getUint32(116, true);
      const size = entry[120];
      expect([4, 8]).toContain(size);
      target.setUint32(where, target.getUint32(where, true) + place(60).at, true);
    } else {
      const [where, start, length] = [60, 64, 68].map((each) => data.getUint32(each, true));
      const from = place(4).at;
      const sum = memory.subarray(from + start, from + start + length).reduce((a, b) => a + b, 0);
      memory[from + where] -= sum;
    }
  }
  return { memory, rsdp: places.get("etc/acpi/rsdp")?.at ?? 0 };
}

test("from the RSDP on, every table is found, with a right checksum", () => {
  const { memory, rsdp } = load();
  const data = new DataView(memory.buffer);
  const sumOf = (at: number, length: number) =>
    memory.subarray(at, at + length).reduce((a, b) => a + b, 0) & 0xff;
  const signature = (at: number) => String.fromCharCode(...memory.subarray(at, at + 4));
  expect(sumOf(rsdp, 20)).toBe(0);
  const rsdt = data.getUint32(rsdp + 16, true);
  const count = (data.getUint32(rsdt + 4, true) - 36) / 4;
  const tables = Array.from({ length: count }, (_, n) => data.getUint32(rsdt + 36 + 4 * n, true));
  const fadt = tables[0];
  const all = [rsdt, ...tables, data.getUint32(fadt + 40, true)];
  expect(all.map(signature)).toEqual(["RSDT", "FACP", "APIC", "WAET", "DSDT"]);
  for (const at of all) expect(sumOf(at, data.getUint32(at + 4, true))).toBe(0);
  expect(data.getUint32(fadt + 140, true)).toBe(data.getUint32(fadt + 40, true));
  expect(signature(data.getUint32(fadt + 36, true))).toBe("FACS");
  expect(data.getUint32(fadt + 36, true) % 64).toBe(0);
  expect([data.getUint32(fadt + 56, true), data.getUint32(fadt + 76, true)]).toEqual([0x600, 0x608]);
});

test("the DSDT of a PC is what Intel's compiler makes of its source, with a bus and its routes", () => {
  const { memory, rsdp } = load();
  const data = new DataView(memory.buffer);
  const fadt = data.getUint32(data.getUint32(rsdp + 16, true) + 36, true);
  const at = data.getUint32(fadt + 40, true);
  const table = memory.slice(at, at + data.getUint32(at + 4, true));
  const { source, recompiled } = disassemble(table);
  expect([...recompiled.subarray(36)]).toEqual([...table.subarray(36)]);
  expect(source).toContain('Name (_HID, EisaId ("PNP0A03")');
  expect(source.match(/EisaId \("PNP0C0F"\)/g)).toHaveLength(5);
  // The power management function's pin A is the SCI.
  expect(source.match(/LNK[ABCD],/g)?.length).toBe(31 * 4 - 1);
  expect(source).toMatch(/0x0001FFFF,\s+Zero,\s+LNKS,/);
  expect(source.match(/Processor \(C00[01], 0x0[01], 0x00000000, 0x00\) \{\}/g)).toHaveLength(2);
  expect(source).toContain("WordBusNumber (ResourceProducer");
});

test("the memory map, the processors and the boot order are there", () => {
  const { items, files } = firmwareFiles({
    ...described(),
    bootOrder: ["/pci@i0cf8/ide@1,1/drive@0/disk@0"],
  });
  expect([...(items.get(0x05) ?? [])]).toEqual([2, 0]);
  expect([...file("etc/e820")]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
  expect(String.fromCharCode(...(files.get("bootorder") ?? []))).toBe("/pci@i0cf8/ide@1,1/drive@0/disk@0\0");
});

test("with a strict boot order, SeaBIOS halts behind what has a bootindex, if anything has one", () => {
  const order = (bootindex?: number) => {
    const disk = {
      ...{ size: 2 ** 20, blockSize: 512, readOnly: false, serial: "a", queues: 1, writeCache: true },
      ...{ rerror: "report", werror: "report", throttling: undefined, bootindex },
    };
    const devices = [{ kind: "virtio-blk", name: "virtio-blk0", config: disk }];
    const spec = { ...SPEC, firmware: { ...SPEC.firmware, bootStrict: true }, devices };
    const owner = { userFiles: new Map<string, Uint8Array>(), smbios: new SmbiosFields() };
    return firmwareDescription(spec, pc.parts(spec), owner).bootOrder;
  };
  expect(order(1)).toEqual(["/pci@i0cf8/scsi@2/disk@0,0", "HALT"]);
  expect(order()).toEqual([]);
});

test("SMBIOS has the tables of QEMU's pc machine, and an anchor that describes them", () => {
  const tables = file("etc/smbios/smbios-tables");
  const anchor = file("etc/smbios/smbios-anchor");
  const data = new DataView(anchor.buffer);
  const types: number[] = [];
  for (let at = 0; at < tables.length; ) {
    types.push(tables[at]);
    at += tables[at + 1];
    while (tables[at] !== 0 || tables[at + 1] !== 0) at++;
    at += 2;
  }
  expect(types).toEqual([1, 3, 4, 16, 17, 19, 32, 127]);
  expect([anchor.length, data.getUint16(0x16, true), data.getUint16(0x1c, true)]).toEqual([
    31,
    tables.length,
    8,
  ]);
  expect(anchor.reduce((a, b) => a + b, 0) & 0xff).toBe(0);
});

test("a UUID is in fw_cfg as it is written, and in SMBIOS with its first fields little-endian", () => {
  const uuid = "00112233-4455-6677-8899-aabbccddeeff";
  const { items, files } = firmwareFiles({ ...described(), uuid });
  const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString("hex");
  expect(hex(items.get(0x02))).toBe("00112233445566778899aabbccddeeff");
  const tables = files.get("etc/smbios/smbios-tables");
  expect(hex(tables?.subarray(8, 24))).toBe("33221100554477668899aabbccddeeff");
});

interface Structure {
  readonly type: number;
  readonly handle: number;
  /** From the structure's own start on, as the specification counts. */
  readonly data: DataView;
  readonly strings: readonly string[];
}

function structures(tables: Uint8Array): Structure[] {
  const found: Structure[] = [];
  for (let at = 0; at < tables.length; ) {
    const length = tables[at + 1];
    let end = at + length;
    while (tables[end] !== 0 || tables[end + 1] !== 0) end++;
    const text = new TextDecoder().decode(tables.subarray(at + length, end));
    const data = new DataView(tables.buffer, tables.byteOffset + at, length);
    found.push({ type: tables[at], handle: data.getUint16(2, true), data, strings: text.split("\0") });
    at = end + 2;
  }
  return found;
}

function smbiosOf(fields: SmbiosFields): Structure[] {
  return structures(
    firmwareFiles(described(fields)).files.get("etc/smbios/smbios-tables") ?? new Uint8Array(),
  );
}

const string = ({ data, strings }: Structure, at: number) => strings[data.getUint8(at) - 1];

test("fields of SMBIOS tables are where the specification has them", () => {
  const all = smbiosOf(
    new SmbiosFields([
      { type: 0, vendor: "V0", version: "B0", date: "01/02/2003", release: "4.5", uefi: "on" },
      { type: 1, manufacturer: "M1", product: "P1", version: "V1", serial: "S1", sku: "K1", family: "F1" },
      { type: 2, manufacturer: "M2", product: "P2", serial: "S2", asset: "A2", location: "L2" },
      { type: 3, manufacturer: "M3", version: "V3", serial: "S3", asset: "A3", sku: "K3" },
      { type: 4, sock_pfx: "X", manufacturer: "M4", version: "V4", serial: "S4", part: "P4" },
      {
        type: "4",
        "max-speed": "3000",
        "current-speed": 2500,
        "processor-id": "0x123456789",
        "processor-family": 6,
      },
      { type: 11, value: ["one", "two"] },
      { type: 17, loc_pfx: "SLOT", bank: "B", manufacturer: "MM", serial: "MS", part: "MP", speed: "3200" },
    ]),
  );
  expect(all.map(({ type }) => type)).toEqual([0, 1, 2, 3, 4, 11, 16, 17, 19, 32, 127]);
  const [bios, system, board, chassis, processor, oem, , memory] = all;
  expect([4, 5, 8].map((at) => string(bios, at))).toEqual(["V0", "B0", "01/02/2003"]);
  expect([bios.data.getUint8(0x13) & 8, bios.data.getUint8(0x14), bios.data.getUint8(0x15)]).toEqual([
    8, 4, 5,
  ]);
  expect([4, 5, 6, 7, 0x19, 0x1a].map((at) => string(system, at))).toEqual([
    "M1",
    "P1",
    "V1",
    "S1",
    "K1",
    "F1",
  ]);
  expect([4, 5, 7, 8, 0x0a].map((at) => string(board, at))).toEqual(["M2", "P2", "S2", "A2", "L2"]);
  expect(board.data.getUint16(0x0b, true)).toBe(chassis.handle);
  expect([4, 6, 7, 8, 0x15].map((at) => string(chassis, at))).toEqual(["M3", "V3", "S3", "A3", "K3"]);
  expect([4, 7, 0x10, 0x20, 0x22].map((at) => string(processor, at))).toEqual([
    "X 0",
    "M4",
    "V4",
    "S4",
    "P4",
  ]);
  expect([0x14, 0x16, 0x28].map((at) => processor.data.getUint16(at, true))).toEqual([3000, 2500, 6]);
  expect([processor.data.getUint8(6), processor.data.getBigUint64(8, true)]).toEqual([0xfe, 0x123456789n]);
  expect(oem.strings).toEqual(["one", "two"]);
  expect([0x10, 0x11, 0x17, 0x18, 0x1a].map((at) => string(memory, at))).toEqual([
    "SLOT 0",
    "B",
    "MM",
    "MS",
    "MP",
  ]);
  expect(memory.data.getUint16(0x15, true)).toBe(3200);
});

test.each([
  [{ type: 5 }, "smbios[0]: fields of tables of type 5 cannot be set"],
  [{ type: 1, serail: "1" }, 'no field "serail" (did you mean "serial"?)'],
  [{ type: 0, release: "1" }, 'smbios[0].release: "1" is not two numbers'],
  [{ type: 17, speed: 70000 }, "is not a number from 0 to 65535"],
  [{ type: 4, "processor-id": "0x10000000000000000" }, "is not a number of 64 bits"],
  [{ type: 1, uuid: "7" }, "is not a UUID"],
])("%o is refused", (table, message) => {
  expect(() => new SmbiosFields([table])).toThrow(message);
});

test("the owner's files are in the directory by name, and cannot replace the machine's own", () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const files = (name: string) => firmwareFiles(described(undefined, new Map([[name, bytes]]))).files;
  expect(files("opt/org.example/a").get("opt/org.example/a")).toEqual(bytes);
  expect(() => files("etc/e820")).toThrow("etc/e820");
});
