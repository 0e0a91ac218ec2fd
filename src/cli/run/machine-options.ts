/** Options of `vmexit run` for the machine as a whole. */
import { keysOf, readKeys } from "../../config/keys.ts";
import { MACHINE } from "../../config/machine.ts";
import { type Options, table } from "../../config/schema.ts";
import { flag, only, text, typed } from "../../config/value.ts";
import { type Complain, splitKeyValues } from "../key-values.ts";
import type { OptionRow } from "./option-row.ts";

const MEMORY_KEYS = keysOf(
  table({
    size: {
      // A number without a unit counts MiB. The text is kept, for later messages.
      type: typed("SIZE", (text, refuse) => {
        const memory = /[a-z]$/i.test(text) ? text : `${text}M`;
        MACHINE.memory.type.check(memory, refuse);
        return memory;
      }),
      help: "",
    },
  }),
);

const { cpus } = MACHINE;
const TOPOLOGY = table({ cpus, maxcpus: cpus, sockets: cpus, cores: cpus, threads: cpus });
const TOPOLOGY_KEYS = keysOf(TOPOLOGY);

const NAME_KEYS = keysOf(
  table({
    name: { type: text("NAME"), qemu: { option: ["guest", "name"] }, help: "" },
    "debug-threads": { type: flag, help: "" },
  }),
);

const MACHINE_KEYS = keysOf(
  table({
    type: { type: MACHINE.machine.type, help: "" },
    accel: { type: only("kvm", "guests always run under KVM"), help: "" },
    acpi: { type: only("on", "the machine describes itself by ACPI"), help: "" },
    rtc: { type: only("on", "there is always a clock"), help: "" },
    pic: { type: only("on", "the interrupt controllers are those of KVM"), help: "" },
    pit: { type: MACHINE.pit.type, help: "" },
    "isa-serial": { type: only("on", "there is always COM1"), help: "" },
    usb: { type: only("off", "there is no USB"), help: "" },
    graphics: { type: only("off", "there is no display"), help: "" },
    // QEMU names the virtio devices on the kernel's command line. Here ACPI does, which has the same effect.
    "auto-kernel-cmdline": { type: flag, help: "" },
  }),
);

const MACHINE_HELP = "Machines:\n  microvm  virtio over MMIO, serial ports, ACPI; no PCI (default)\n";
const CPU_HELP = "CPUs:\n  host  what KVM on this host offers (default)\n  max   the same\n";

export const MACHINE_OPTIONS: readonly OptionRow[] = [
  {
    names: ["m"],
    argument: "[size=]SIZE",
    example: "-m 256M",
    help: "memory, in MiB or with K, M, G or T: 256, 256M, 1G (default: 128M)",
    apply: (draft, value, _typed, complain) => {
      const { size } = readKeys(splitKeyValues(value, "size"), MEMORY_KEYS, complain);
      if (size !== undefined) draft.vm.memory = size;
    },
  },
  {
    names: ["smp"],
    argument: "[cpus=]N",
    example: "-smp 2",
    help: "CPUs (default: 1). sockets=, cores=, threads= and maxcpus= are accepted if they agree with it",
    apply: (draft, value, _typed, complain) => {
      const topology = readKeys(splitKeyValues(value, "cpus"), TOPOLOGY_KEYS, complain);
      draft.vm.cpus = cpuCount(topology, complain);
    },
  },
  {
    names: ["name"],
    argument: "NAME",
    example: "-name test",
    help: MACHINE.name.help,
    apply: (draft, value, _typed, complain) => {
      const { name } = readKeys(splitKeyValues(value, "guest"), NAME_KEYS, complain);
      if (name !== undefined) draft.vm.name = name;
    },
  },
  {
    names: ["machine", "M"],
    argument: "[type=]microvm[,pit=on|off]",
    example: "-machine microvm,pit=off",
    help: `${MACHINE.machine.help}; -machine help lists them. pit=off leaves out the PIT. accel=kvm, acpi=on and other properties that it always has are accepted`,
    apply: (draft, value, _typed, complain) => {
      if (/^(type=)?(help|\?)$/.test(value)) {
        draft.print = MACHINE_HELP;
        return;
      }
      const { type, pit } = readKeys(splitKeyValues(value, "type"), MACHINE_KEYS, complain);
      if (type !== undefined) draft.vm.machine = type;
      if (pit !== undefined) draft.vm.pit = pit;
    },
  },
  {
    names: ["accel"],
    argument: "kvm",
    help: "accepted: guests always run under KVM",
    apply: (_draft, value, _typed, complain) => {
      only("kvm", "guests always run under KVM").parse(value, complain);
    },
  },
  { names: ["enable-kvm"], help: "accepted: guests always run under KVM", apply: () => {} },
  {
    names: ["cpu"],
    argument: "host|max",
    help: "accepted: guests always see what KVM on this host offers",
    apply: (draft, value, _typed, complain) => {
      if (value === "help" || value === "?") draft.print = CPU_HELP;
      else if (value !== "host" && value !== "max") {
        throw complain("this version has no CPU models; use -cpu host");
      }
    },
  },
  {
    names: ["memory-backing"],
    argument: MACHINE.memoryBacking.type.shown,
    example: "-memory-backing memfd",
    help: `${MACHINE.memoryBacking.help} (default: ${MACHINE.memoryBacking.default})`,
    apply: (draft, value, _typed, complain) => {
      draft.vm.memoryBacking = MACHINE.memoryBacking.type.parse(value, complain);
    },
  },
];

function cpuCount(topology: Partial<Options<typeof TOPOLOGY>>, complain: Complain): number {
  const { sockets, cores, threads } = topology;
  const product = (sockets ?? 1) * (cores ?? 1) * (threads ?? 1);
  const cpus = topology.cpus ?? topology.maxcpus ?? product;
  const isWhole = sockets !== undefined && cores !== undefined && threads !== undefined;
  // Those of sockets, cores and threads that were left out have whatever number is missing.
  if (isWhole ? product !== cpus : cpus % product !== 0) {
    throw complain(`${product} CPUs in sockets, cores and threads do not make ${cpus}`);
  }
  if (topology.maxcpus !== undefined && topology.maxcpus !== cpus) {
    throw complain("CPUs cannot be added later: maxcpus has to equal cpus");
  }
  return cpus;
}
