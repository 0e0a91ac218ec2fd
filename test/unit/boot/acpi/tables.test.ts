import { expect, test } from "vitest";
import { type AcpiDescription, buildAcpi } from "../../../../src/boot/acpi/tables.ts";
import { disassemble } from "../../../support/iasl.ts";

const AT = 0xe0000;

const microvm: AcpiDescription = {
  cpus: [0, 1],
  ioapicAddress: 0xfec00000,
  localApicAddress: 0xfee00000,
  serial: [
    { port: 0x3f8, irq: 4 },
    { port: 0x2f8, irq: 3 },
  ],
  virtioMmio: [
    { address: 0xfeb00000, size: 0x1000, irq: 16 },
    { address: 0xfeb01000, size: 0x1000, irq: 17 },
  ],
  pm: { eventPort: 0x600, controlPort: 0x604, sciIrq: 9, resetPort: 0x60c, resetValue: 1, sleepTypeS5: 5 },
  rtc: { century: 0x32 },
};

const everything: AcpiDescription = {
  ...microvm,
  cpus: Array.from({ length: 300 }, (_, id) => id),
  virtioMmio: Array.from({ length: 40 }, (_, i) => ({
    address: 0xfeb00000 + i * 0x1000,
    size: 0x1000,
    irq: 16 + i,
  })),
  pm: { ...microvm.pm, timerPort: 0x608 },
  rtc: { irq: 8 },
  i8042: true,
  pit: true,
  generationId: { address: 0xff028, irq: 15 },
  hpet: { address: 0xfed00000, size: 0x400 },
};

const { rtc: _clock, ...withoutClock } = microvm;
const nothing: AcpiDescription = { ...withoutClock, cpus: [0], serial: [], virtioMmio: [] };

const machines: [string, AcpiDescription][] = [
  ["a microvm", microvm],
  ["a machine with everything", everything],
  ["a machine with nothing", nothing],
];

function tablesOf(description: AcpiDescription): Map<string, Uint8Array> {
  return new Map(
    buildAcpi(description, AT).placements.map(({ what, data }) => {
      if (!(data instanceof Uint8Array)) throw new Error(`${what} is not made here`);
      return [what, data];
    }),
  );
}

function get(description: AcpiDescription, what: string): Uint8Array {
  const table = tablesOf(description).get(`ACPI ${what}`);
  if (table === undefined) throw new Error(`no ${what}`);
  return table;
}

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0) & 0xff;
const text = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
/** One line per value, `what : value`, without offsets. */
const plain = (source: string) => source.replace(/^\[[^\]]*\]\s*/gm, "").replace(/ +/g, " ");

test.each(machines)("the tables of %s have right lengths and checksums", (_, description) => {
  for (const [what, table] of tablesOf(description)) {
    if (what === "ACPI FACS") continue; // has no checksum
    expect(sum(table), what).toBe(0);
    expect(view(table).getUint32(what === "ACPI RSDP" ? 20 : 4, true), what).toBe(table.length);
  }
  expect(sum(get(description, "RSDP").subarray(0, 20))).toBe(0);
});

test.each(machines)(
  "iasl understands every table of %s and makes the same bytes of it",
  (_, description) => {
    const others = description.hpet === undefined ? [] : ["HPET"];
    for (const what of ["DSDT", "FADT", "MADT", "XSDT", ...others]) {
      const table = get(description, what);
      const { recompiled } = disassemble(table);
      const comparable = (bytes: Uint8Array) => {
        const copy = Uint8Array.from(bytes);
        copy[9] = 0; // checksum
        return copy.fill(0, 28, 36); // the compiler's own name and version
      };
      expect(comparable(recompiled), what).toEqual(comparable(table));
    }
  },
  30_000,
);

test.each(machines)("a kernel finds every table of %s from the RSDP", (_, description) => {
  const { placements, rsdp } = buildAcpi(description, AT);
  const at = (address: bigint | number) => {
    const data = placements.find((placement) => placement.address === Number(address))?.data;
    if (!(data instanceof Uint8Array)) throw new Error(`nothing at ${address}`);
    return data;
  };
  expect(rsdp % 16).toBe(0);
  expect(text(at(rsdp).subarray(0, 8))).toBe("RSD PTR ");
  const xsdt = at(view(at(rsdp)).getBigUint64(24, true));
  expect(text(xsdt.subarray(0, 4))).toBe("XSDT");
  const fadt = at(view(xsdt).getBigUint64(36, true));
  expect(text(fadt.subarray(0, 4))).toBe("FACP");
  expect(text(at(view(xsdt).getBigUint64(44, true)).subarray(0, 4))).toBe("APIC");
  expect(xsdt.length).toBe(description.hpet === undefined ? 52 : 60);
  const facs = view(fadt).getUint32(36, true);
  expect(text(at(facs).subarray(0, 4))).toBe("FACS");
  expect(facs % 64).toBe(0);
  expect(view(fadt).getBigUint64(132, true), "the FACS once, by its short address").toBe(0n);
  const dsdt = view(fadt).getBigUint64(140, true);
  expect(text(at(dsdt).subarray(0, 4))).toBe("DSDT");
  expect(BigInt(view(fadt).getUint32(40, true))).toBe(dsdt);
});

test("no two tables share a byte and all lie where they were asked to be", () => {
  const { placements } = buildAcpi(everything, AT);
  let end = AT;
  for (const { address, size } of [...placements].sort((a, b) => a.address - b.address)) {
    expect(address).toBeGreaterThanOrEqual(end);
    end = address + size;
  }
  expect(end).toBeLessThanOrEqual(0x100000);
  expect(() => buildAcpi(everything, 0xff000)).toThrow("above 1 MiB");
  expect(() => buildAcpi(microvm, 0xe0008)).toThrow("not a multiple of 16");
});

test("the DSDT describes the serial ports, the virtio devices and soft-off, and nothing that was not given", () => {
  const { source } = disassemble(get(microvm, "DSDT"));
  const devices = [...source.matchAll(/Device \((\w+)\)/g)].map((match) => match[1]);
  expect(devices).toEqual(["COM1", "COM2", "V000", "V001", "RTC"]);
  const flat = source.replace(/\s+/g, " ").replace(/\/\*.*?\*\//g, "");
  expect(flat).toContain('Name (_HID, EisaId ("PNP0501")');
  expect(flat).toMatch(/IO \(Decode16, 0x03F8,.*?0x03F8,.*?0x01,.*?0x08,.*?IRQNoFlags \(\) \{4\}/);
  expect(flat).toContain('Name (_HID, "LNRO0005")');
  expect(flat).toMatch(
    /Memory32Fixed \(ReadWrite, 0xFEB01000,.*?0x00001000,.*?\) Interrupt \(ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, \) \{ 0x00000011, \}/,
  );
  expect(flat).toMatch(/Name \(\\?_S5, Package \(0x04\).*?\{ 0x05, 0x05, Zero, Zero \}/);
});

test("a keyboard controller and a clock's interrupt are described only if there are any", () => {
  const full = disassemble(get(everything, "DSDT")).source;
  expect(full).toContain("PNP0303");
  expect(full).toMatch(/IRQNoFlags \(\)\s+\{8\}/);
  const bare = disassemble(get(nothing, "DSDT")).source;
  expect(bare).not.toMatch(/Device \(/);
  expect(bare).toContain("_S5");
});

test("a VM generation ID is a device with the address of its GUID, and an event device notifies its driver", () => {
  const { source } = disassemble(get(everything, "DSDT"));
  const flat = source
    .replace(/\/\*.*?\*\//g, "")
    .replace(/\/\/.*$/gm, "")
    .replace(/\s+/g, " ");
  expect(flat).toContain('Device (VGEN) { Name (_HID, "QEMUVGID") Name (_CID, "VM_Gen_Counter")');
  expect(flat).toMatch(
    /Method \(ADDR, 0, NotSerialized\) \{ Return \(Package \(0x02\) \{ 0x000FF028, Zero \}\) \}/,
  );
  expect(flat).toMatch(/Device \(GED\) \{ Name \(_HID, "ACPI0013" ?\)/);
  expect(flat).toMatch(/Interrupt \(ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, \) \{ 0x0000000F, \}/);
  expect(flat).toMatch(/Method \(_EVT, 1, NotSerialized\) \{ Notify \(\\?_SB\.VGEN, 0x80\)/);
  expect(disassemble(get(microvm, "DSDT")).source).not.toContain("ACPI0013");
});

test("the FADT tells of fixed hardware in ACPI mode, a fixed power button and the reset register", () => {
  const fadt = plain(disassemble(get(microvm, "FADT")).source);
  for (const line of [
    "SCI Interrupt : 0009",
    "SMI Command Port : 00000000",
    "PM1A Event Block Address : 00000600",
    "PM1A Control Block Address : 00000604",
    "PM Timer Block Address : 00000000",
    "PM Timer Block Length : 00",
    "PM1 Event Block Length : 04",
    "PM1 Control Block Length : 02",
    "Control Method Power Button (V1) : 0",
    "Control Method Sleep Button (V1) : 1",
    "Reset Register Supported (V2) : 1",
    "Value to cause reset : 01",
    "Hardware Reduced (V5) : 0",
    "VGA Not Present (V4) : 1",
    "8042 Present on ports 60/64 (V2) : 0",
    "CMOS RTC Not Present (V5) : 0",
    "RTC Century Index : 32",
    "Legacy Devices Supported (V2) : 1",
  ]) {
    expect(fadt).toContain(line);
  }
  expect(fadt).toMatch(
    /Reset Register : \[Generic Address Structure\]\s+Space ID : 01 \[SystemIO\]\s+Bit Width : 08/,
  );
  expect(fadt).toContain("Address : 000000000000060C");
});

test("what a machine lacks is not probed, what it has is described", () => {
  const bare = plain(disassemble(get(nothing, "FADT")).source);
  expect(bare).toContain("CMOS RTC Not Present (V5) : 1");
  expect(bare).toContain("RTC Century Index : 00");
  expect(bare).toContain("Legacy Devices Supported (V2) : 0");
  const full = plain(disassemble(get(everything, "FADT")).source);
  expect(full).toContain("8042 Present on ports 60/64 (V2) : 1");
  expect(full).toContain("PM Timer Block Address : 00000608");
  expect(full).toContain("32-bit PM Timer (V1) : 1");
});

test("the MADT lists each CPU once, by x2APIC from id 255 on", () => {
  const madt = plain(disassemble(get(everything, "MADT")).source);
  const count = (line: RegExp) => madt.match(line)?.length ?? 0;
  expect([...madt.matchAll(/Local Apic ID : (\w+)/g)].map((match) => Number.parseInt(match[1], 16))).toEqual(
    Array.from({ length: 255 }, (_, id) => id),
  );
  expect(
    [...madt.matchAll(/Processor x2Apic ID : (\w+)/g)].map((match) => Number.parseInt(match[1], 16)),
  ).toEqual(Array.from({ length: 45 }, (_, i) => 255 + i));
  expect(count(/Processor Enabled : 1/g)).toBe(300);
});

test("the SCI is a level that is active high, and the PIT is at input 2 only if there is one", () => {
  const overrides = (description: AcpiDescription) => {
    const madt = plain(disassemble(get(description, "MADT")).source);
    const pattern = /Source : (\w+)\s+Interrupt : (\w+)\s+Flags \(decoded below\) : (\w+)/g;
    return [...madt.matchAll(pattern)].map((match) => match.slice(1, 4).join(" "));
  };
  expect(overrides(microvm)).toEqual(["09 00000009 000D"]);
  expect(overrides(everything)).toEqual(["09 00000009 000D", "00 00000002 0000"]);
});

test("a machine that ACPI's short descriptors cannot describe is a mistake of ours, not a wrong table", () => {
  const serial = [{ port: 0x3f8, irq: 16 }];
  expect(() => buildAcpi({ ...microvm, serial }, AT)).toThrow("16: not an ISA interrupt");
  const virtioMmio = [{ address: 2 ** 32, size: 0x1000, irq: 16 }];
  expect(() => buildAcpi({ ...microvm, virtioMmio }, AT)).toThrow("not a 32-bit address");
});
