/**
 * Writes src/kvm/abi.ts from what the C++ compiler makes of <linux/kvm.h>.
 *
 *   node scripts/kvm-abi.mjs          writes the file
 *   node scripts/kvm-abi.mjs --print  prints it
 *
 * Needed after a change of native/kvm_layout.cc; a test compares file and
 * compiler.
 */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const addon = createRequire(import.meta.url)("../build/Release/vmexit.node");
const structs = addon.layout();
const constants = addon.constants();

const hex = (value) => (value > 0xffff ? `0x${value.toString(16)}` : String(value));
const lines = [
  "/**",
  " * The numbers of the KVM API on x86-64 Linux: constants, and the sizes and",
  " * offsets of its structs in bytes. `io_port` is the member port of the struct io.",
  " *",
  " * Source: <linux/kvm.h>, <asm/kvm.h>. Written by scripts/kvm-abi.mjs from what the",
  " * C++ compiler says of them (native/kvm_layout.cc); not to be edited by hand.",
  " */",
  "",
];
const CAPABILITY = "KVM_CAP_";
const isExit = (name) => /^KVM_EXIT_(?!IO_(IN|OUT)$)/.test(name);
const capabilities = [];
const exits = [];
for (const [name, value] of Object.entries(constants)) {
  if (name.startsWith(CAPABILITY)) {
    capabilities.push(`  ${name.slice(CAPABILITY.length)}: ${hex(value)},`);
    continue;
  }
  lines.push(`export const ${name} = ${hex(value)};`);
  if (isExit(name)) exits.push([value, name.slice("KVM_EXIT_".length)]);
}
exits.sort(([a], [b]) => a - b);
// Tables of names stand here as objects: a namespace that is searched by name must have all its members at run time.
lines.push("", "/** KVM_CAP_ */", "export const KVM_CAP = {", ...capabilities, "} as const;");
lines.push(
  "",
  "/** KVM_EXIT_, by number */",
  "export const EXIT_NAMES: Readonly<Record<number, string>> = {",
);
for (const [value, name] of exits) lines.push(`  ${value}: "${name}",`);
lines.push("};");
for (const [name, members] of Object.entries(structs)) {
  lines.push("", `export const ${name} = {`);
  for (const [member, offset] of Object.entries(members)) {
    lines.push(`  ${member.replaceAll(".", "_")}: ${offset},`);
  }
  lines.push("} as const;");
}
const text = `${lines.join("\n")}\n`;

if (process.argv.includes("--print")) process.stdout.write(text);
else writeFileSync(new URL("../src/kvm/abi.ts", import.meta.url), text);
