/**
 * Prepares the CPUs of a machine for their first instruction: CPUID, a few MSRs
 * that firmware would have set, and where the boot CPU starts. The others wait
 * for the guest's INIT and SIPI.
 */
import type { EntryState, Segment } from "../boot/entry-state.ts";
import { type CpuChoice, guestCpuid } from "../machine/cpuid.ts";
import type { MachineSpec } from "../machine/spec.ts";
import { topologyOf } from "../machine/topology.ts";
import type { Hardware } from "./hardware.ts";

/** Intel SDM volume 4, table 2-2. */
const IA32_MISC_ENABLE = 0x1a0;
const MISC_ENABLE_FAST_STRING = 1n;
const IA32_MTRR_DEF_TYPE = 0x2ff;
const MTRR_ENABLED_WRITE_BACK = 0x806n;

/** What KVM supports here. */
const HOST = { cpuid: guestCpuid };

const FIRMWARE_MSRS = [
  { index: IA32_MISC_ENABLE, data: MISC_ENABLE_FAST_STRING },
  // Without it Linux says "MTRRs disabled" and does not use page attributes either.
  { index: IA32_MTRR_DEF_TYPE, data: MTRR_ENABLED_WRITE_BACK },
];

/**
 * @param entry where the boot CPU starts; without it, where a reset puts it
 * @param choice which CPU, if it is not simply the host's
 * @returns what the host lacks of it, in sentences
 * @throws {OptionError} if it must not lack anything
 */
export function setUpCpus(
  hardware: Hardware,
  spec: MachineSpec,
  entry: EntryState | undefined,
  choice?: CpuChoice,
): string[] {
  const supported = hardware.supportedCpuid;
  const tscDeadlineTimer = hardware.kvm.checkExtension("TSC_DEADLINE_TIMER") > 0;
  const topology = topologyOf(spec);
  const [boot] = hardware.vcpus;
  // Before it is set, a vCPU's MSR says what KVM has.
  const hostMsr = (index: number) => boot.getMsrs([index])[0]?.data;
  const notes = choice?.warnings(supported, { tscDeadlineTimer }, hostMsr) ?? [];
  const featureMsrs = choice?.msrs(hostMsr) ?? [];
  hardware.vcpus.forEach((vcpu, index) => {
    const cpu = { index, topology };
    vcpu.setCpuid((choice ?? HOST).cpuid(supported, cpu, { tscDeadlineTimer }));
    for (const msr of featureMsrs) vcpu.setMsrs([msr]);
    if (entry === undefined) return;
    // One by one: KVM may refuse one that it lists, and the guest works without it.
    for (const msr of FIRMWARE_MSRS) vcpu.setMsrs([msr]);
  });
  if (entry === undefined) return notes;
  const { cr0, cr3, cr4, efer, gdt, idt, rip, rflags, registers } = entry;
  const { cs, ds, es, fs, gs, ss, tr, ldt } = entry;
  boot.changeSregs({
    ...{ cr0, cr3, cr4, efer, gdt, idt },
    cs: hidden(cs),
    ds: hidden(ds),
    es: hidden(es),
    fs: hidden(fs),
    gs: hidden(gs),
    ss: hidden(ss),
    tr: hidden(tr),
    ldt: hidden(ldt),
  });
  boot.changeRegs({ ...registers, rip, rflags });
  return notes;
}

function hidden(segment: Segment) {
  return { ...segment, unusable: segment.present === 1 ? 0 : 1 };
}
