/** What -numa, -object memory-backend-… and -machine memory-backend= say of a machine's memory. */
import { OptionError } from "../../base/errors.ts";
import { parseSize } from "../../base/units.ts";
import { MACHINE, type VmOptions } from "../../config/machine.ts";

type Fields = "memory" | "memoryBacking" | "hugePages" | "prealloc" | "numa";
/** The options of createVm that follow. */
type Memory = { -readonly [K in Fields]?: NonNullable<VmOptions[K]> };

/** `-object memory-backend-…`, as typed. */
export interface MemoryBackend {
  readonly typed: string;
  readonly id: string;
  readonly size: number;
  readonly backing: "memfd" | "anonymous";
  readonly hugePages: boolean;
  readonly prealloc: boolean;
}

/** `-numa node`, as typed. */
interface NodeDraft {
  readonly typed: string;
  readonly cpus: number[];
  readonly memory?: number;
  readonly memdev?: string;
}

export interface MemoryDraft {
  readonly backends: MemoryBackend[];
  readonly nodes: NodeDraft[];
  readonly distances: { readonly src: number; readonly dst: number; readonly val: number }[];
  /** `-machine memory-backend=ID`. */
  backend?: string;
}

export function emptyMemoryDraft(): MemoryDraft {
  return { backends: [], nodes: [], distances: [] };
}

/** Completes `vm` by what -numa, -object and -machine say together. @throws {OptionError} */
export function finishMemory({ backends, nodes, distances, backend }: MemoryDraft, vm: Memory): void {
  const total = parseSize(vm.memory ?? MACHINE.memory.default, (sentence) => new OptionError(sentence));
  const find = (id: string, typed: string): MemoryBackend => {
    const found = backends.find((each) => each.id === id);
    if (found === undefined)
      throw new OptionError(`${typed}: there is no -object memory-backend-… with id=${id}`);
    return found;
  };
  const used = nodes.flatMap(({ memdev, typed }) => (memdev === undefined ? [] : [find(memdev, typed)]));
  if (backend !== undefined) used.push(find(backend, `-machine memory-backend=${backend}`));
  const size = used.reduce((sum, each) => sum + each.size, 0);
  if (used.length > 0 && size !== total) {
    throw new OptionError(
      `${used[0].typed}: memory back ends have ${size} bytes together, and the machine has ${total}; see -m`,
    );
  }
  const [first] = used;
  const other = used.find(
    ({ backing, hugePages }) => backing !== first.backing || hugePages !== first.hugePages,
  );
  if (other !== undefined) {
    throw new OptionError(
      `${other.typed}: all memory of a machine has to be of one kind, as that of ${first.typed}`,
    );
  }
  if (first !== undefined) {
    vm.memoryBacking = first.backing;
    if (first.hugePages) vm.hugePages = true;
    if (used.some(({ prealloc }) => prealloc)) vm.prealloc = true;
  }
  if (nodes.length === 0) {
    if (distances.length > 0) throw new OptionError("-numa dist: there are no nodes");
    return;
  }
  vm.numa = nodes.map(({ cpus, memory, memdev, typed }, index) => {
    const bytes = memdev === undefined ? memory : find(memdev, typed).size;
    const known = (to: number) => {
      const direct = distances.find(({ src, dst }) => src === index && dst === to);
      // As under QEMU, one direction is enough.
      return (direct ?? distances.find(({ src, dst }) => src === to && dst === index))?.val;
    };
    const row = nodes.map((_, to) => known(to) ?? (to === index ? 10 : 20));
    return {
      ...(cpus.length === 0 ? {} : { cpus }),
      ...(bytes === undefined ? {} : { memory: bytes }),
      ...(distances.length === 0 ? {} : { distances: row }),
    };
  });
  const wrong = distances.find(({ src, dst }) => src >= nodes.length || dst >= nodes.length);
  if (wrong !== undefined)
    throw new OptionError(`-numa dist,src=${wrong.src},dst=${wrong.dst}: there is no such node`);
}
