/** The demos as a collection: each has what a reader looks for. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DEMOS } from "../../../examples/demos/demos.ts";

const SOURCES = new URL("../../../examples/demos/", import.meta.url);
const PAGES = new URL("../../../docs/demos/", import.meta.url);
const read = (base: URL, name: string) => readFileSync(new URL(name, base), "utf8");
const files = readdirSync(SOURCES);

test("every program that exports a demo is in the list", () => {
  const demos = files.filter((file) => /^export async function demo\(/m.test(read(SOURCES, file)));
  expect(demos.sort()).toEqual(DEMOS.map(({ name }) => `${name}.ts`).sort());
});

test.each(DEMOS)("$name has a guest in assembly, and a page in both languages", ({ name }) => {
  const guests = files.filter((file) => file === `${name}.s` || file.startsWith(`${name}-`));
  expect(guests.some((file) => file.endsWith(".s"))).toBe(true);
  for (const page of [`${name}.md`, `${name}.zh-CN.md`]) expect(existsSync(new URL(page, PAGES))).toBe(true);
  expect(read(PAGES, "README.md")).toContain(`(${name}.md)`);
  expect(read(PAGES, "README.zh-CN.md")).toContain(`(${name}.zh-CN.md)`);
});

test.each(DEMOS)("$name uses the package as a user's program does", ({ name }) => {
  const modules = [...read(SOURCES, `${name}.ts`).matchAll(/\bfrom "([^"]+)"/g)].map(([, module]) => module);
  expect(
    modules.filter((module) => !/^(vmexit|vmexit\/kvm|node:[\w/]+|iced-x86|\.\/[\w-]+\.ts)$/.test(module)),
  ).toEqual([]);
});

test("no guest is written as numbers: every image comes from a source", () => {
  const programs = files.filter((file) => file.endsWith(".ts"));
  expect(programs.filter((file) => /(0x[0-9a-f]{2},\s*){3}/i.test(read(SOURCES, file)))).toEqual([]);
});
