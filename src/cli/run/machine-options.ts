/** Options of `vmexit run` for the machine as a whole. */
import { keysOf, readKeys } from "../../config/keys.ts";
import { MACHINE } from "../../config/machine.ts";
import { table } from "../../config/schema.ts";
import { flag, only, text, typed } from "../../config/value.ts";
import { splitKeyValues } from "../key-values.ts";
import { MEMORY_OPTIONS } from "./memory-options.ts";
import type { OptionRow } from "./option-row.ts";
import { NAME_OPTION, SETTINGS_OPTIONS } from "./settings-options.ts";
import { SMP_OPTION } from "./smp-option.ts";

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

/** Of several, QEMU takes the first that works. */
const accelerators = typed("kvm", (names, refuse) => {
  if (names.split(":").includes("kvm")) return "kvm";
  throw refuse(`"${names}" is not possible: guests always run under KVM`);
});

const MACHINE_KEYS = keysOf(
  table({
    type: {
      type: typed("NAME", (name, refuse) => {
        return MACHINE.machine.type.parse(PC_ALIAS.test(name) ? "pc" : name, refuse);
      }),
      help: "",
    },
    accel: { type: accelerators, help: "" },
    "memory-backend": { type: text("ID"), help: "" },
    pflash0: { type: text("ID"), help: "" },
    pflash1: { type: text("ID"), help: "" },
    acpi: { type: only("on", "the machine describes itself by ACPI"), help: "" },
    rtc: { type: only("on", "every machine has a clock"), help: "" },
    pic: { type: only("on", "the interrupt controllers are those of KVM"), help: "" },
    pit: { type: MACHINE.pit.type, help: "" },
    hpet: { type: MACHINE.hpet.type, help: "" },
    "generation-id": { type: MACHINE.generationId.type, help: "" },
    "isa-serial": { type: only("on", "every machine has COM1"), help: "" },
    usb: { type: only("off", "this machine has no USB"), help: "" },
    graphics: { type: only("off", "this machine has no display"), help: "" },
    // QEMU names the virtio devices on the kernel's command line. Here ACPI does, which has the same effect.
    "auto-kernel-cmdline": { type: flag, help: "" },
  }),
);

const BOOT_KEYS = keysOf(
  table({
    order: { type: MACHINE.bootOrder.type, help: "" },
    once: { type: MACHINE.bootOnce.type, help: "" },
    menu: { type: MACHINE.bootMenu.type, help: "" },
    strict: { type: MACHINE.bootStrict.type, help: "" },
  }),
);

/** In QEMU's layout, of which programs take the names. Source: the output of QEMU 7.2.22 and 11.1.3. */
const MACHINE_HELP = `Supported machines are:
microvm              virtio over MMIO, serial ports, ACPI; no PCI (default with -kernel)
pc                   Standard PC (i440FX + PIIX, 1996), also pc-i440fx-VERSION (default without -kernel)
`;
/** QEMU's names of its versions of this machine. */
const PC_ALIAS = /^pc-i440fx-[\w.]+$/;

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
  SMP_OPTION,
  NAME_OPTION,
  {
    names: ["machine", "M"],
    argument: "[type=]microvm|pc[,pit=on|off][,hpet=on|off][,generation-id=on|off][,pflash0=ID][,pflash1=ID]",
    example: "-machine microvm,pit=off",
    help: `${MACHINE.machine.help}; -machine help lists them. pit=off leaves out the PIT, hpet=on gives a pc an HPET, generation-id=off the VM generation ID; pflash0= and pflash1= name drives that are flash chips. accel=kvm, acpi=on and other properties that it always has are accepted`,
    apply: (draft, value, _typed, complain) => {
      if (/^(type=)?(help|\?)$/.test(value)) {
        draft.print = MACHINE_HELP;
        return;
      }
      const {
        type,
        pit,
        hpet,
        "generation-id": generationId,
        "memory-backend": backend,
        pflash0,
        pflash1,
      } = readKeys(splitKeyValues(value, "type"), MACHINE_KEYS, complain);
      if (type !== undefined) draft.vm.machine = type;
      if (pit !== undefined) draft.vm.pit = pit;
      if (hpet !== undefined) draft.vm.hpet = hpet;
      if (generationId !== undefined) draft.vm.generationId = generationId;
      if (backend !== undefined) draft.memory.backend = backend;
      if (pflash0 !== undefined) draft.flash.named[0] = pflash0;
      if (pflash1 !== undefined) draft.flash.named[1] = pflash1;
    },
  },
  {
    names: ["uuid"],
    argument: MACHINE.uuid.type.shown,
    example: "-uuid c7d7ad2c-6e4b-4d5f-9d0a-3f2f1d1c0a5e",
    help: MACHINE.uuid.help,
    apply: (draft, value, _typed, complain) => {
      draft.vm.uuid = MACHINE.uuid.type.parse(value, complain);
    },
  },
  {
    names: ["boot"],
    argument: "[order=]LETTERS[,once=LETTERS][,menu=on|off][,strict=on|off]",
    example: "-boot order=dc,once=d",
    help: `${MACHINE.bootOrder.help} (default: ${MACHINE.bootOrder.default}). once= is the order until the guest's first reset, menu=on lets firmware offer a menu, strict=on boots from what has a bootindex alone`,
    apply: (draft, value, _typed, complain) => {
      const { order, once, menu, strict } = readKeys(splitKeyValues(value, "order"), BOOT_KEYS, complain);
      if (order !== undefined) draft.vm.bootOrder = order;
      if (once !== undefined) draft.vm.bootOnce = once;
      if (menu !== undefined) draft.vm.bootMenu = menu;
      if (strict !== undefined) draft.vm.bootStrict = strict;
    },
  },
  {
    names: ["accel"],
    argument: "kvm",
    help: "accepted: guests always run under KVM",
    apply: (_draft, value, _typed, complain) => {
      accelerators.parse(value, complain);
    },
  },
  { names: ["enable-kvm"], help: "accepted: guests always run under KVM", apply: () => {} },
  {
    names: ["cpu"],
    argument: "MODEL[,+FEATURE][,-FEATURE][,KEY=VALUE]…",
    example: "-cpu SandyBridge,+erms",
    help: "the CPU that the guest sees (default: host, which is what KVM offers here; also max); -cpu help lists the models",
    apply: (draft, value) => {
      if (value === "help" || value === "?")
        draft.print = async () => (await import("../../machine/cpu/help.ts")).cpuHelp();
      else if (value !== "host" && value !== "max") draft.cpu = value;
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
  ...MEMORY_OPTIONS,
  ...SETTINGS_OPTIONS,
];
