/** The options of `vm.trace`, which are keys of the command's `-trace` too. */
import { type Options, table } from "./schema.ts";
import { each, flag, integer, type Kind, quoted, text } from "./value.ts";

const LAST_PORT = 0xffff;
const milliseconds = integer(1, 3_600_000);

const portRange: Kind<readonly [first: number, last: number]> = {
  shown: "FIRST[-LAST]",
  manual: "`[first, last]`",
  check: (value, refuse) => {
    const [first, last, ...more]: readonly unknown[] = Array.isArray(value) ? value : [];
    if (isPort(first) && isPort(last) && first <= last && more.length === 0) return [first, last];
    throw refuse(`${JSON.stringify(value)} is not a range [first, last] of ports from 0 to ${LAST_PORT}`);
  },
  parse: (word, refuse) => {
    const match = /^(0x[0-9a-f]{1,4}|[0-9]{1,5})(?:-(0x[0-9a-f]{1,4}|[0-9]{1,5}))?$/i.exec(word);
    const first = Number(match?.[1] ?? -1);
    const last = Number(match?.[2] ?? first);
    if (first >= 0 && last <= LAST_PORT && first <= last) return [first, last];
    throw refuse(`"${word}" is not a port or a range of ports, as in 0x3f8-0x3ff`);
  },
};

const sampling: Kind<boolean | { readonly everyMs: number }> = {
  shown: "on|off|MS",
  manual: "`true`, `false`, `{ everyMs }`",
  check: (value, refuse) => {
    if (typeof value === "boolean") return value;
    if (typeof value === "object" && value !== null && "everyMs" in value) {
      return { everyMs: milliseconds.check(value.everyMs, refuse) };
    }
    throw refuse(`${quoted(value)} is not true, false or { everyMs: milliseconds }`);
  },
  parse: (word, refuse) =>
    /^[0-9]/.test(word) ? { everyMs: milliseconds.parse(word, refuse) } : flag.parse(word, refuse),
};

export const TRACE = table({
  /** Only exits for these reasons, by their KVM_EXIT_ names: IO, MMIO, …. */
  reasons: {
    type: each(text("NAME")),
    qemu: { option: ["reason"] },
    help: "only exits for these reasons, by their KVM_EXIT_ names: IO, MMIO, …",
  },
  /** Only exits that these devices answer: com1, virtio-blk0, … or unclaimed. */
  devices: {
    type: each(text("NAME")),
    qemu: { option: ["device"] },
    help: "only exits that these devices answer: com1, virtio-blk0, … or unclaimed",
  },
  /** Only exits at these I/O ports. */
  ports: {
    type: each(portRange),
    qemu: { option: ["port"] },
    help: "only exits at these I/O ports",
  },
  /** Only exits of these vCPUs; the first is 0. */
  vcpus: {
    type: each(integer(0, 9999)),
    qemu: { option: ["vcpu"] },
    help: "only exits of these vCPUs; the first is 0",
  },
  /** Adds the registers and the code at RIP to each exit, which takes some microseconds. Default: `false`. */
  registers: {
    type: flag,
    default: false,
    help: "adds the registers and the code at RIP to each exit, which takes some microseconds",
  },
  /**
   * Adds the memory that the guest writes, sampled every 100 ms or as often as given; KVM then write-protects
   * it. Default: `false`.
   */
  memory: {
    type: sampling,
    default: false,
    help: "adds the memory that the guest writes, sampled every 100 ms or as often as given; KVM then write-protects it",
  },
  /**
   * Adds the frames of the network cards, and what the user network does with connections. Default: `false`.
   */
  network: {
    type: flag,
    default: false,
    help: "adds the frames of the network cards, and what the user network does with connections",
  },
});

/** What `vm.trace` is asked for. An exit has to pass every filter that is given. */
export type TraceFilter = Options<typeof TRACE>;

function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= LAST_PORT;
}
