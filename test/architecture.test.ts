/**
 * The parts of the design that a compiler does not check: who may know whom,
 * where threads meet, and how long a file may get.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, posix, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");

/** A folder may import itself and those before it. The public entries (block.ts, network.ts, trace.ts, index.ts, vitest.ts) stand before cli. */
const ORDER = [
  "base",
  "sys",
  "kvm",
  "memory",
  "bus",
  "pci",
  "devices",
  "disk",
  "nbd",
  "images",
  "image-tools",
  "net",
  "config",
  "scsi",
  "virtio",
  "ide",
  "e1000",
  "boot",
  "trace",
  "machine",
  "threads",
  "state",
  "gdb",
  "vm",
  "block.ts",
  "network.ts",
  "trace.ts",
  "index.ts",
  "vitest.ts",
  "cli",
];

/** Boards, parts, transports and device types: a new one is not named outside of machine/, virtio/ and devices/. */
const DEVICE_TYPES = [
  "devices",
  "machine/boards",
  "machine/parts",
  "virtio/transport",
  "virtio/blk",
  "virtio/net",
  "virtio/scsi",
];

const STORAGE = ["disk", "nbd", "images", "image-tools"];

/** What a folder may not know although it comes earlier, and why. */
const WALLS: Record<string, { not: string[]; because: string }> = {
  base: { not: ["node:"], because: "it is arithmetic and shared memory" },
  memory: { not: ["sys", "kvm", "node:"], because: "tests give it a plain buffer for RAM" },
  bus: { not: ["sys", "kvm", "memory", "node:"], because: "it only carries accesses" },
  pci: { not: ["sys", "kvm", "memory", "node:"], because: "it is registers that say where devices are" },
  devices: {
    not: ["sys", "kvm", "memory", "pci", "node:"],
    because: "a device is a chip: registers, wires, sinks",
  },
  disk: {
    not: ["kvm", "bus", "devices"],
    because: "what an image is, it says; how one is stored, others know",
  },
  nbd: { not: ["kvm", "memory", "bus", "devices"], because: "it moves the bytes of a DiskSource" },
  images: { not: ["kvm", "bus", "devices"], because: "a format is about a file" },
  "image-tools": {
    not: ["kvm", "memory", "bus", "devices"],
    because: "they work on images without a machine around them",
  },
  net: {
    not: ["kvm", "bus", "devices", ...STORAGE],
    because: "it moves frames, whatever card they come from",
  },
  config: {
    not: ["sys", "kvm", "memory", "bus", "devices", "image-tools", "node:"],
    because: "it is tables, which the command loads before it starts anything",
  },
  scsi: {
    not: ["sys", "kvm", "memory", "bus", "devices", "config", ...STORAGE, "net", "node:"],
    because: "a unit is commands and answers; who carries data knows where it is stored",
  },
  virtio: {
    not: ["sys", "kvm", "devices", "nbd", "images", "image-tools", "node:"],
    because: "a transport and its devices see RAM and ports, and a disk without its format",
  },
  ide: {
    not: ["sys", "kvm", "devices", "nbd", "images", "image-tools", "node:"],
    because: "a drive sees registers and RAM, and a disk without its format",
  },
  e1000: {
    not: ["sys", "kvm", "devices", ...STORAGE, "node:"],
    because: "a card sees registers, RAM and frames, whatever it is connected to",
  },
  boot: {
    not: ["sys", "kvm", "bus", ...STORAGE, "virtio", "node:"],
    because: "it is pure: bytes in, a plan out",
  },
  trace: {
    not: ["sys", "kvm", "memory", "bus", "devices", ...STORAGE, "virtio"],
    because: "it is about files and records, on any machine that has Node",
  },
  machine: { not: ["sys", "kvm"], because: "assembly is a pure function; each thread plugs in its own host" },
  threads: {
    not: ["image-tools", ...DEVICE_TYPES],
    because: "it runs what parts are made of, whatever they are",
  },
  state: {
    not: ["devices", ...STORAGE, "virtio", "boot", "trace", "threads"],
    because: "it copies registers without knowing what they mean",
  },
  gdb: { not: STORAGE, because: "a debugger sees registers and RAM" },
  vm: {
    not: ["image-tools", ...DEVICE_TYPES],
    because: "it knows a part by its name, and what it can be asked",
  },
};

/** Where threads meet. Everywhere else, code may be read as if there were one. */
const MAY_USE_ATOMICS =
  /^(base\/(call|generation|lock|ring)\.ts|memory\/dirty-map\.ts|virtio\/queue\/split-queue\.ts|threads\/(control|trace-ring)\.ts)$/;

const MAX_LINES = 500;

interface Source {
  /** Path from src/ (of a package: from the root), with slashes. */
  readonly path: string;
  readonly lines: number;
  /** Without comments. */
  readonly code: string;
  /** Modules: paths from src/, or names. */
  readonly imports: readonly string[];
}

/** The sources in a folder, with paths from `from`. */
function sourcesIn(folder: string, from: string): Source[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => {
      const file = join(entry.parentPath, entry.name);
      const text = readFileSync(file, "utf8");
      const path = relative(from, file).replaceAll("\\", "/");
      const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
      const modules = [...code.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]);
      const imports = modules.map((m) => (m.startsWith(".") ? posix.join(posix.dirname(path), m) : m));
      return { path, lines: text.split("\n").length - 1, code, imports };
    });
}

const sources = sourcesIn(join(ROOT, "src"), join(ROOT, "src"));
/** Of the workspace packages; their paths begin with "packages/". */
const packageSources = ["src", "page"].flatMap((folder) =>
  sourcesIn(join(ROOT, "packages/trace-report", folder), ROOT),
);

const everything = [...sources, ...packageSources];

const folderOf = (path: string) => path.split("/")[0];

/** The sources that break a rule, each with what breaks it. */
function offenders(breaks: (source: Source) => string | false | undefined, among = sources): string[] {
  return among.flatMap((source) => {
    const what = breaks(source);
    return what ? [`${source.path}: ${what}`] : [];
  });
}

/** Files whose exports are for programs; and what scripts/kvm-abi.mjs writes. */
const PUBLIC = new Set([
  "index.ts",
  "block.ts",
  "network.ts",
  "trace.ts",
  "vitest.ts",
  "kvm/kvm.ts",
  "kvm/abi.ts",
]);

/** Exported for unit tests and scripts/option-docs.mjs: what only its own file uses. */
const FOR_TESTS = new Set([
  "base/errors.ts nearest",
  "base/units.ts TIB",
  "cli/commands.ts dispatch",
  "cli/exit-status.ts EXIT_STATUSES",
  "cli/internal-error.ts internalErrorText",
  "cli/run/command-line.ts runHelp",
  "cli/run/drive-options.ts deviceHelp",
  "cli/run/command-line.ts otherOptionRows",
  "disk/disk-counters.ts DISK_COUNTERS",
  "images/qcow2/open.ts readQcow2Header",
  "images/zstd.ts wasmZstd",
  "sys/async-io.ts ASYNC_ENGINES",
  // And for the files that rolldown.config.js makes.
  "sys/code-cache.ts cachedRequire",
  "sys/code-cache.ts importModule",
  "threads/blocks.ts EXIT_REASONS",
  "threads/trace-ring.ts DATA_BYTES",
  "trace/read.ts MAX_LINE_BYTES",
  "trace/symbols.ts parseSystemMap",
  "virtio/balloon.ts BALLOON_STATS",
  "virtio/blk/blk.ts VirtioBlkState",
  "virtio/queue/split-queue.ts crossed",
  "virtio/transport/mmio-registers.ts MMIO_BYTES",
  "virtio/transport/mmio-registers.ts SHM_SEL",
]);

/** Types are left out: a signature may need one that no other file names. */
function exportedValues(code: string): string[] {
  const found = code.matchAll(/^export (?:async )?(?:abstract )?(?:const|function\*?|class|let) (\w+)/gm);
  return Array.from(found, ([, name]) => name);
}

/** What a file imports or exports again, as "path name". */
function importedNames(path: string, code: string): string[] {
  const named = (list: string, module: string) =>
    list
      .split(",")
      .map(
        (each) =>
          each
            .trim()
            .replace(/^type /, "")
            .split(/ as |:/)[0],
      )
      .map((name) => `${posix.join(posix.dirname(path), module)} ${name}`);
  const found = (pattern: RegExp) => [...code.matchAll(pattern)];
  return [
    ...found(/\b(?:import|export)(?: type)? \{([^}]*)\} from "([^"]+)"/g),
    ...found(/\{([^{}]*)\}[^=;{}]*= await import\(\s*"([^"]+)"/g),
  ]
    .flatMap(([, list, module]) => named(list, module))
    .concat(
      found(/\bimport\("([^"]+)"\)\)?\.(?:then\(\(\{ )?(\w+)/g).flatMap(([, module, name]) =>
        named(name, module),
      ),
      found(/\bimport \* as (\w+) from "([^"]+)"/g).flatMap(([, space, module]) =>
        found(new RegExp(`\\b${space}\\.(\\w+)`, "g")).flatMap(([, name]) => named(name, module)),
      ),
    );
}

/** One cycle for each file that a search in depth reaches again while it is still inside it. */
function importCycles(among: readonly Source[]): string[] {
  const importsOf = new Map(among.map(({ path, imports }) => [path, imports]));
  const finished = new Set<string>();
  const open: string[] = [];
  const cycles: string[] = [];
  const visit = (path: string) => {
    if (open.includes(path)) cycles.push([...open.slice(open.indexOf(path)), path].join(" -> "));
    if (open.includes(path) || finished.has(path)) return;
    open.push(path);
    for (const module of importsOf.get(path) ?? []) visit(module);
    open.pop();
    finished.add(path);
  };
  for (const { path } of among) visit(path);
  return cycles;
}

test("a cycle of imports is found", () => {
  const source = (path: string, ...imports: string[]) => ({ path, imports, lines: 1, code: "" });
  const chain = [source("a.ts", "b.ts"), source("b.ts", "c.ts", "d.ts"), source("d.ts")];
  expect(importCycles([...chain, source("c.ts", "d.ts")])).toEqual([]);
  expect(importCycles([...chain, source("c.ts", "a.ts")])).toEqual(["a.ts -> b.ts -> c.ts -> a.ts"]);
});

test("the rules are applied to something", () => {
  expect(sources.length).toBeGreaterThan(10);
  expect(sources.find(({ path }) => path === "bus/guarded.ts")?.imports).toEqual([
    "base/lock.ts",
    "bus/io.ts",
  ]);
});

test("every folder has a place in the order, and imports only those before it", () => {
  expect(
    offenders(({ path, imports }) => {
      const place = ORDER.indexOf(folderOf(path));
      if (place < 0) return `"${folderOf(path)}" has no place in the order`;
      const wrong = imports.filter((module) => ORDER.indexOf(folderOf(module)) > place);
      return wrong.length > 0 && `imports ${wrong.join(", ")}`;
    }),
  ).toEqual([]);
});

test("no import cycles: what two files need of each other is in a third, types included", () => {
  expect(importCycles(sources)).toEqual([]);
  expect(importCycles(packageSources)).toEqual([]);
});

test("what a file exports, another file uses", () => {
  const used = new Set(sources.flatMap(({ path, code }) => importedNames(path, code)));
  const exported = sources.flatMap(({ path, code }) =>
    PUBLIC.has(path) ? [] : exportedValues(code).map((name) => `${path} ${name}`),
  );
  const unused = exported.filter((each) => !used.has(each));
  expect(unused.filter((each) => !FOR_TESTS.has(each))).toEqual([]);
  expect([...FOR_TESTS].filter((each) => !unused.includes(each))).toEqual([]);
});

test.each(Object.entries(WALLS))("%s keeps to its side of the wall", (folder, { not, because }) => {
  expect(
    offenders(({ path, imports }) => {
      if (folderOf(path) !== folder) return false;
      const wrong = imports.filter((module) =>
        not.some((banned) =>
          banned === "node:"
            ? module.startsWith(banned)
            : module === banned || module.startsWith(`${banned}/`),
        ),
      );
      return wrong.length > 0 && `imports ${wrong.join(", ")}, but ${because}`;
    }),
  ).toEqual([]);
});

test("threads/ and vm/ name no board, transport or device type", () => {
  expect(
    offenders(({ path, code }) => {
      if (!/^(threads|vm)$/.test(folderOf(path))) return false;
      return /["'`](?:microvm|pc)["'`]|VirtioMmio|VirtioPci|VirtioBlk|VirtioNet/.exec(code)?.[0];
    }),
  ).toEqual([]);
});

test("only the files where threads meet use Atomics", () => {
  expect(
    offenders(({ path, code }) => !MAY_USE_ATOMICS.test(path) && /\bAtomics\b/.test(code) && "Atomics"),
  ).toEqual([]);
});

test("a chip never waits: no async function, promise or timer in a device, a bus or a transport", () => {
  expect(
    offenders(({ path, code }) => {
      if (!/^(base|bus|devices)$/.test(folderOf(path))) return false;
      return /\b(async|await|Promise|setTimeout|setInterval|setImmediate)\b/.exec(code)?.[0];
    }),
  ).toEqual([]);
});

test("code is compiled from text in one place only", () => {
  expect(
    offenders(
      ({ path, code }) => path !== "base/layout.ts" && /\bnew Function\b|\beval\(/.exec(code)?.[0],
      everything,
    ),
  ).toEqual([]);
});

test("nothing is exported as default, and nothing is of type any", () => {
  expect(offenders(({ code }) => /\bexport default\b/.exec(code)?.[0], everything)).toEqual([]);
  expect(offenders(({ code }) => /[:<|]\s*any\b(?!\s+\w)|\bas any\b/.exec(code)?.[0], everything)).toEqual(
    [],
  );
});

test("files are named after what they are about", () => {
  expect(
    offenders(
      ({ path }) => /^(utils?|types?|helpers?|common|misc)\.ts$/.exec(basename(path))?.[0],
      everything,
    ),
  ).toEqual([]);
  expect(
    offenders(
      ({ path }) => path !== "index.ts" && basename(path) === "index.ts" && "a second index.ts",
      everything,
    ),
  ).toEqual([]);
});

test(`a file of more than ${MAX_LINES} lines holds a second concept`, () => {
  expect(offenders(({ lines }) => lines > MAX_LINES && `${lines} lines`, everything)).toEqual([]);
});

test("a workspace package uses what it depends on, and of vmexit its public entries", () => {
  const allowed: Record<string, RegExp> = {
    "packages/trace-report/src/": /^(node:[a-z/]+|iced-x86|vmexit\/trace|packages\/trace-report\/src\/.*)$/,
    // It runs in a browser, and is given numbers.
    "packages/trace-report/page/":
      /^(echarts\/.*|packages\/trace-report\/page\/.*|packages\/trace-report\/src\/report-data\.ts)$/,
  };
  expect(packageSources.length).toBeGreaterThan(10);
  expect(
    offenders(({ path, imports }) => {
      const [, rule] = Object.entries(allowed).find(([folder]) => path.startsWith(folder)) ?? [];
      if (rule === undefined) return "no rule says what this folder may import";
      const wrong = imports.filter((module) => !rule.test(module));
      return wrong.length > 0 && `imports ${wrong.join(", ")}`;
    }, packageSources),
  ).toEqual([]);
});

test("the lock file names no host to download from, so that any registry serves", () => {
  const text = readFileSync(join(ROOT, "package-lock.json"), "utf8");
  const lock: { packages: Record<string, { resolved?: string; link?: boolean }> } = JSON.parse(text);
  const resolved = Object.values(lock.packages).filter((each) => each.resolved !== undefined);
  // A workspace package is a link to a folder of this repository.
  expect(
    resolved.filter(({ link, resolved = "" }) => !link || !/^packages\/[a-z-]+$/.test(resolved)),
  ).toEqual([]);
  expect(text).not.toContain("://registry");
});
