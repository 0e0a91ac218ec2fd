/**
 * Options of `vmexit run` for the nodes of a machine, and for what its memory is on the host.
 *
 * Source: QEMU 11.1, qemu-options.hx (-numa, -object memory-backend-*, -mem-path, -mem-prealloc).
 */
import { MIB, parseSize } from "../../base/units.ts";
import { keysOf, readKeys } from "../../config/keys.ts";
import { MACHINE, MAX_CPUS, POLLING } from "../../config/machine.ts";
import { table } from "../../config/schema.ts";
import { each, flag, integer, only, text, typed } from "../../config/value.ts";
import { type Complain, splitKeyValues } from "../key-values.ts";
import type { MemoryBackend } from "./memory-draft.ts";
import type { OptionRow } from "./option-row.ts";
import type { Draft } from "./request.ts";

const MAX_NODES = 128;
const node = integer(0, MAX_NODES - 1);
/** A number without a unit counts MiB, as in -m. */
const mebibytes = typed("SIZE", (value, refuse) => parseSize(value, refuse, MIB));
const bytes = typed("SIZE", (value, refuse) => parseSize(value, refuse));
/** "0-3" or "2" */
const range = typed("FIRST[-LAST]", (value, refuse) => {
  const match = /^(\d{1,3})(?:-(\d{1,3}))?$/.exec(value);
  const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (match === null || last < first || last >= MAX_CPUS) {
    throw refuse(`"${value}" is not a CPU or a range of CPUs, as in 0-3`);
  }
  return Array.from({ length: last - first + 1 }, (_, n) => first + n);
});

const NODE_KEYS = keysOf(
  table({
    kind: { type: only("node", "see -numa"), help: "" },
    nodeid: { type: node, help: "" },
    cpus: { type: each(range), help: "" },
    mem: { type: mebibytes, help: "" },
    memdev: { type: text("ID"), help: "" },
  }),
);
const DISTANCE_KEYS = keysOf(
  table({
    kind: { type: only("dist", "see -numa"), help: "" },
    src: { type: node, required: "the node is missing: src=N", help: "" },
    dst: { type: node, required: "the node is missing: dst=N", help: "" },
    val: { type: integer(10, 255), required: "the distance is missing: val=N", help: "" },
  }),
);

const IOTHREAD_KEYS = keysOf(
  table({
    kind: { type: text("TYPE"), help: "" },
    id: { type: text("ID"), required: "the name is missing: id=ID", help: "" },
    ...POLLING,
  }),
);

const BACKEND_KEYS = keysOf(
  table({
    kind: { type: text("TYPE"), help: "" },
    id: { type: text("ID"), required: "the name is missing: id=ID", help: "" },
    size: { type: bytes, required: "the size is missing: size=SIZE", help: "" },
    share: { type: flag, help: "" },
    prealloc: { type: flag, help: "" },
    hugetlb: { type: flag, help: "" },
    hugetlbsize: { type: only("2M", "pages of another size are not supported"), help: "" },
    "mem-path": { type: text("FOLDER"), help: "" },
    // Hints that change nothing a guest could see.
    merge: { type: flag, help: "" },
    dump: { type: flag, help: "" },
    reserve: { type: flag, help: "" },
    "prealloc-threads": { type: text("N"), help: "" },
  }),
);

/** Objects that are what a device has anyway. */
const ACCEPTED_OBJECTS: ReadonlyMap<string, string> = new Map([
  ["rng-random", "random numbers are the host's"],
  ["rng-builtin", "random numbers are the host's"],
]);

export const MEMORY_OPTIONS: readonly OptionRow[] = [
  {
    names: ["numa"],
    argument: "node[,cpus=FIRST[-LAST]][,mem=SIZE|memdev=ID]",
    example: "-numa node,cpus=0-1,mem=64",
    help: "adds a node of CPUs and memory, as the guest sees it; -numa dist,src=N,dst=N,val=N says how far two nodes are from each other",
    apply: (draft, value, typed, complain) => {
      const pairs = splitKeyValues(value, "kind");
      const kind = pairs[0].value;
      if (kind === "dist") {
        const { src = 0, dst = 0, val = 0 } = readKeys(pairs, DISTANCE_KEYS, complain);
        draft.memory.distances.push({ src, dst, val });
        return;
      }
      if (kind !== "node") throw complain(`"${kind}" is not supported; use node or dist`);
      addNode(draft, readKeys(pairs, NODE_KEYS, complain), typed, complain);
    },
  },
  {
    names: ["mem-prealloc"],
    help: MACHINE.prealloc.help,
    apply: (draft) => {
      draft.vm.prealloc = true;
    },
  },
  {
    names: ["mem-path"],
    argument: "FOLDER",
    example: "-mem-path /dev/hugepages",
    help: "a folder of huge pages: takes guest memory from them, as of -object memory-backend-file",
    apply: (draft, value, _typed, complain) => {
      checkHugePages(value, complain);
      draft.vm.hugePages = true;
    },
  },
];

export const MEMORY_OBJECT_HELP =
  "memory for -machine memory-backend=ID or -numa node,memdev=ID: share=, prealloc=, hugetlb=; as a file, only a folder of huge pages (mem-path=)";

export const IOTHREAD_HELP =
  "how the thread that serves the devices polls before it sleeps; it is there in any case";

/** `-object` of other types than those of networks. */
export function addMemoryObject(draft: Draft, value: string, typed: string, complain: Complain): void {
  const pairs = splitKeyValues(value, "kind");
  const type = pairs.find(({ key }) => key === "kind" || key === "qom-type")?.value ?? "";
  if (ACCEPTED_OBJECTS.has(type)) return;
  if (type === "iothread") {
    const given = pairs.filter(({ key }) => key !== "qom-type");
    const { kind: _kind, id: _id, ...polling } = readKeys(given, IOTHREAD_KEYS, complain);
    if (Object.keys(polling).length > 0) draft.vm.polling = { ...draft.vm.polling, ...polling };
    return;
  }
  if (!/^memory-backend-(ram|memfd|file)$/.test(type)) {
    throw complain(
      `"${type}" is not supported; there are filter-dump, memory-backend-ram, memory-backend-memfd and memory-backend-file`,
    );
  }
  const keys = pairs.filter(({ key }) => key !== "qom-type");
  draft.memory.backends.push(readBackend(type, readKeys(keys, BACKEND_KEYS, complain), typed, complain));
}

function addNode(
  draft: Draft,
  given: { nodeid?: number; cpus?: readonly (readonly number[])[]; mem?: number; memdev?: string },
  typed: string,
  complain: Complain,
): void {
  const { nodes } = draft.memory;
  const { nodeid, cpus = [], mem, memdev } = given;
  if (nodeid !== undefined && nodeid !== nodes.length) {
    throw complain(`nodes have to be given in order; this is node ${nodes.length}`);
  }
  if (mem !== undefined && memdev !== undefined) throw complain("give either mem or memdev");
  nodes.push({
    typed,
    cpus: cpus.flat(),
    ...(mem === undefined ? {} : { memory: mem }),
    ...(memdev === undefined ? {} : { memdev }),
  });
}

type BackendKeys = ReturnType<typeof readKeys<NonNullable<(typeof BACKEND_KEYS)["filled"]>>>;

function readBackend(kind: string, keys: BackendKeys, typed: string, complain: Complain): MemoryBackend {
  const { id = "", size = 0, share, prealloc = false, hugetlb = false, "mem-path": path } = keys;
  const isFile = kind === "memory-backend-file";
  if (isFile) {
    if (path === undefined) throw complain("the folder is missing: mem-path=/dev/hugepages");
    checkHugePages(path, complain);
  } else if (path !== undefined) throw complain("only memory-backend-file has mem-path");
  return {
    typed,
    id,
    size,
    backing: kind === "memory-backend-ram" && share !== true ? "anonymous" : "memfd",
    hugePages: hugetlb || isFile,
    prealloc,
  };
}

function checkHugePages(path: string, complain: Complain): void {
  if (/(^|\/)(dev\/)?hugepages/.test(path)) return;
  throw complain(
    `${path} is not a folder of huge pages, as /dev/hugepages is; memory in other files is not supported`,
  );
}
