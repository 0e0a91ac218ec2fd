/** The commands that follow "monitor" in gdb: facts about the machine that gdb has no command for. */
import type { VmStats } from "./stats.ts";
import type { VmMemory } from "./vm-memory.ts";

/** What the commands use of a machine. */
export interface MonitoredMachine {
  readonly memory: VmMemory;
  readonly addressMap: string;
  stats(): VmStats;
  reset(options: { readonly paused: boolean }): Promise<void>;
}

interface MonitorCommand {
  readonly name: string;
  readonly help: string;
  run(vm: MonitoredMachine): string | Promise<string>;
}

const COMMANDS: readonly MonitorCommand[] = [
  {
    name: "reset",
    help: "resets the machine and pauses it before its first instruction",
    run: async (vm) => {
      await vm.reset({ paused: true });
      return "the machine was reset; make gdb read the registers again by: maintenance flush register-cache\n";
    },
  },
  { name: "memory", help: "what is where in guest-physical memory", run: (vm) => vm.memory.tree().text },
  { name: "devices", help: "which device answers at which port and address", run: (vm) => vm.addressMap },
  {
    name: "exits",
    help: "how often the guest left KVM_RUN, by reason",
    run: (vm) =>
      Object.entries(vm.stats().exits)
        .map(([reason, count]) => `${reason} ${count}\n`)
        .join(""),
  },
];

/** Returns the text to print. */
export async function monitorCommand(vm: MonitoredMachine, typed: string): Promise<string> {
  const name = typed.trim();
  const command = COMMANDS.find((each) => each.name === name);
  if (command !== undefined) return command.run(vm);
  const list = COMMANDS.map(({ name, help }) => `monitor ${name.padEnd(8)} ${help}\n`).join("");
  return name === "help" || name === "" ? list : `unknown command "${name}"\n${list}`;
}
