/**
 * The description of the registers that gdb reads from "target.xml".
 *
 * Source: GDB manual, Appendix G "Target Descriptions". The types are those of
 * gdb/features/i386; the names of bits are those of Intel SDM volume 3, 2.5.
 */
import type { Feature, RegisterRow, RegisterSet } from "./register-set.ts";

/** A register's bits, lowest first, with their numbers. */
type Flags = readonly (readonly [name: string, bit: number])[];

const EFLAGS: Flags = [
  ...([
    ["CF", 0],
    ["", 1],
    ["PF", 2],
    ["AF", 4],
    ["ZF", 6],
    ["SF", 7],
    ["TF", 8],
    ["IF", 9],
    ["DF", 10],
  ] as const),
  ...([
    ["OF", 11],
    ["NT", 14],
    ["RF", 16],
    ["VM", 17],
    ["AC", 18],
    ["VIF", 19],
    ["VIP", 20],
    ["ID", 21],
  ] as const),
];
const MXCSR: Flags = [
  ...([
    ["IE", 0],
    ["DE", 1],
    ["ZE", 2],
    ["OE", 3],
    ["UE", 4],
    ["PE", 5],
    ["DAZ", 6],
  ] as const),
  ...([
    ["IM", 7],
    ["DM", 8],
    ["ZM", 9],
    ["OM", 10],
    ["UM", 11],
    ["PM", 12],
    ["FZ", 15],
  ] as const),
];
const CR0: Flags = [
  ...([
    ["PE", 0],
    ["MP", 1],
    ["EM", 2],
    ["TS", 3],
    ["ET", 4],
    ["NE", 5],
    ["WP", 16],
    ["AM", 18],
  ] as const),
  ...([
    ["NW", 29],
    ["CD", 30],
    ["PG", 31],
  ] as const),
];
const CR4: Flags = [
  ...([
    ["VME", 0],
    ["PVI", 1],
    ["TSD", 2],
    ["DE", 3],
    ["PSE", 4],
    ["PAE", 5],
    ["MCE", 6],
    ["PGE", 7],
  ] as const),
  ...([
    ["PCE", 8],
    ["OSFXSR", 9],
    ["OSXMMEXCPT", 10],
    ["UMIP", 11],
    ["LA57", 12],
    ["VMXE", 13],
  ] as const),
  ...([
    ["SMXE", 14],
    ["FSGSBASE", 16],
    ["PCIDE", 17],
    ["OSXSAVE", 18],
    ["SMEP", 20],
    ["SMAP", 21],
  ] as const),
  ...([
    ["PKE", 22],
    ["CET", 23],
    ["PKS", 24],
  ] as const),
];
const EFER: Flags = [
  ...([
    ["SCE", 0],
    ["LME", 8],
    ["LMA", 10],
    ["NXE", 11],
    ["SVME", 12],
    ["LMSLE", 13],
    ["FFXSR", 14],
  ] as const),
  ["TCE", 15],
];

/** Types that a register may name, by id, as text for a machine of that width. */
const TYPES: Readonly<Record<string, (bits: number) => string>> = {
  i386_eflags: () => flags("i386_eflags", 4, EFLAGS),
  i386_mxcsr: () => flags("i386_mxcsr", 4, MXCSR),
  cr0: (bits) => flags("cr0", bits / 8, CR0),
  cr4: (bits) => flags("cr4", bits / 8, CR4),
  efer: (bits) => flags("efer", bits / 8, EFER),
  vec128: () =>
    [
      vector("v4f", "ieee_single", 4),
      vector("v2d", "ieee_double", 2),
      vector("v16i8", "int8", 16),
      vector("v8i16", "int16", 8),
      vector("v4i32", "int32", 4),
      vector("v2i64", "int64", 2),
      '<union id="vec128">',
      ...[
        "v4f:v4_float",
        "v2d:v2_double",
        "v16i8:v16_int8",
        "v8i16:v8_int16",
        "v4i32:v4_int32",
        "v2i64:v2_int64",
      ]
        .map((each) => each.split(":"))
        .map(([type, name]) => `<field name="${name}" type="${type}"/>`),
      '<field name="uint128" type="uint128"/>',
      "</union>",
    ].join(""),
};

export function targetXml({ features, architecture }: RegisterSet): string {
  const bits = architecture === "i386:x86-64" ? 64 : 32;
  return [
    '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">',
    `<target version="1.0"><architecture>${architecture}</architecture>`,
    ...features.map((feature) => featureXml(feature, bits)),
    "</target>\n",
  ].join("\n");
}

function featureXml({ name, registers }: Feature, bits: number): string {
  const used = new Set(registers.map(({ type }) => type));
  const types = [...used].flatMap((type) => TYPES[type]?.(bits) ?? []);
  return [`<feature name="${name}">`, ...types, ...registers.map(registerXml), "</feature>"].join("\n");
}

function registerXml({ name, bits, type, group }: RegisterRow): string {
  return `<reg name="${name}" bitsize="${bits}" type="${type}"${group === undefined ? "" : ` group="${group}"`}/>`;
}

function flags(id: string, bytes: number, bits: Flags): string {
  const fields = bits.map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`).join("");
  return `<flags id="${id}" size="${bytes}">${fields}</flags>`;
}

function vector(id: string, type: string, count: number): string {
  return `<vector id="${id}" type="${type}" count="${count}"/>`;
}
