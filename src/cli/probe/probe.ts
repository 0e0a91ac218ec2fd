/**
 * Checks what this computer can do for a guest, and how to repair what does not
 * work. It is pure: a `ProbeHost` reads for it.
 *
 * Source: Linux Documentation/virt/kvm/api.rst, 4.1 KVM_GET_API_VERSION and 4.4
 * KVM_CHECK_EXTENSION; proc(5); Documentation/admin-guide/mm/transhuge.rst.
 */
import { KVM_API_VERSION, KVM_CAP } from "../../kvm/abi.ts";
import type { Capability } from "./capabilities.ts";
import { CAPABILITIES } from "./capabilities.ts";

/** The computer, as far as a probe reads it. */
export interface ProbeHost {
  /** A file's text; undefined if it cannot be read. */
  read(path: string): string | undefined;
  exists(path: string): boolean;
  owner(path: string): { readonly uid: number; readonly gid: number; readonly mode: number } | undefined;
  readonly user: { readonly name: string; readonly uid: number; readonly groups: readonly number[] };
  /** Opens /dev/kvm and asks it. */
  kvm(): KvmAnswers | KvmRefusal;
}

export interface KvmAnswers {
  readonly opened: true;
  readonly apiVersion: number;
  /** KVM_CHECK_EXTENSION. */
  extension(capability: number): number;
}

export interface KvmRefusal {
  readonly opened: false;
  /** An errno's name, or another code. */
  readonly code: string;
  readonly message: string;
}

export interface ModuleReport {
  readonly name: string;
  readonly loaded: boolean;
  readonly parameters: Readonly<Record<string, string>>;
}

/** A problem, and its solution. */
export interface Remedy {
  readonly problem: string;
  /** A command line for a shell. */
  readonly command?: string;
  readonly advice?: string;
}

export interface ProbeReport {
  /** Ordinary Linux guests can run here. */
  readonly ready: boolean;
  /** What runs the guest's kernel: the processor, the software emulation of KVM, or nothing. */
  readonly kvm: "hardware" | "software" | "none";
  readonly verdict: string;
  readonly cpu: {
    readonly vendor: string;
    readonly model: string;
    readonly extension: "vmx" | "svm" | null;
    /** This computer is itself a guest. */
    readonly insideVm: boolean;
  };
  readonly modules: readonly ModuleReport[];
  readonly device: { readonly path: string; readonly usable: boolean; readonly error: string | null };
  readonly apiVersion: number | null;
  readonly maxCpus: { readonly recommended: number; readonly most: number } | null;
  readonly capabilities: readonly (Capability & { readonly available: boolean })[];
  /** Setting of huge pages for shared memory, of which guest RAM is made. */
  readonly hugePages: { readonly setting: string | null; readonly enough: boolean };
  /** What network cards can be connected to; a user network needs none of it. */
  readonly network: { readonly tun: boolean; readonly vhostNet: boolean; readonly admin: boolean };
  readonly remedies: readonly Remedy[];
}

const DEVICE = "/dev/kvm";
const SHMEM_HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/** The module of the software KVM of some cloud machines. It is reported only where it is loaded. */
const PVM = "kvm_pvm";

/** Parameters that show how the processor's virtualization is used. */
const MODULES: readonly { readonly name: string; readonly parameters: readonly string[] }[] = [
  { name: "kvm", parameters: ["tdp_mmu"] },
  { name: "kvm_intel", parameters: ["nested", "ept", "unrestricted_guest"] },
  { name: "kvm_amd", parameters: ["nested", "npt", "avic"] },
  { name: PVM, parameters: [] },
];

export function probe(host: ProbeHost): ProbeReport {
  const cpu = readCpu(host);
  const modules = MODULES.map(({ name, parameters }) => readModule(host, name, parameters)).filter(
    ({ name, loaded }) => loaded || name !== PVM,
  );
  const answers = host.kvm();
  const capabilities = CAPABILITIES.map((capability) => ({
    ...capability,
    available: answers.opened && answers.extension(capability.number) > 0,
  }));
  const kvm = !answers.opened ? "none" : cpu.extension === null ? "software" : "hardware";
  const hugePages = readHugePages(host);

  const remedies: Remedy[] = [];
  if (!answers.opened) remedies.push(deviceRemedy(host, answers, cpu, modules));
  else {
    if (answers.apiVersion !== KVM_API_VERSION) {
      remedies.push({
        problem: `KVM's API version is ${answers.apiVersion}, not ${KVM_API_VERSION}`,
        advice: "use Linux 2.6.22 or later",
      });
    }
    const missing = capabilities.filter(({ needed, available }) => needed && !available);
    for (const { name } of missing) {
      remedies.push({ problem: `KVM lacks ${name}`, advice: "use a later kernel" });
    }
  }
  const broken = remedies.length > 0;
  if (kvm === "software")
    remedies.push({ problem: "/dev/kvm works without vmx and svm", advice: VIRTUALIZATION_ADVICE });
  if (!hugePages.enough && hugePages.setting !== null) {
    remedies.push({
      problem: `huge pages are off for shared memory (${hugePages.setting}): guests boot slower`,
      command: `echo advise | sudo tee ${SHMEM_HUGE_PAGES}`,
    });
  }

  return {
    ready: kvm === "hardware" && !broken,
    kvm,
    verdict: verdict(kvm, broken),
    cpu,
    modules,
    device: { path: DEVICE, usable: answers.opened, error: answers.opened ? null : answers.message },
    apiVersion: answers.opened ? answers.apiVersion : null,
    maxCpus: answers.opened ? readMaxCpus(answers) : null,
    capabilities,
    hugePages,
    network: readNetwork(host),
    remedies,
  };
}

const VIRTUALIZATION_ADVICE =
  "enable Intel VT-x or AMD-V in the firmware setup; inside a virtual machine, enable nested virtualization on its host";

function verdict(kvm: ProbeReport["kvm"], broken: boolean): string {
  const lab = "Linux guests run in the lab: npm run lab";
  if (kvm === "none") return `Guests cannot run here. ${lab}`;
  if (broken) return `This KVM cannot run guests. ${lab}`;
  if (kvm === "software") return `Tiny guests run here, on the software emulation of KVM. ${lab}`;
  return "Linux guests can run here.";
}

function readCpu(host: ProbeHost): ProbeReport["cpu"] {
  const text = host.read("/proc/cpuinfo") ?? "";
  const field = (name: string) =>
    new RegExp(`^${name}[ \\t]*:[ \\t]*(.*)$`, "m").exec(text)?.[1].trim() ?? "";
  const flags = field("flags").split(" ");
  return {
    vendor: field("vendor_id"),
    model: field("model name"),
    extension: flags.includes("vmx") ? "vmx" : flags.includes("svm") ? "svm" : null,
    insideVm: flags.includes("hypervisor"),
  };
}

function readModule(host: ProbeHost, name: string, names: readonly string[]): ModuleReport {
  // A module built into the kernel has its directory too.
  const parameters = names.flatMap((parameter) => {
    const value = host.read(`/sys/module/${name}/parameters/${parameter}`);
    return value === undefined ? [] : [[parameter, value.trim()] as const];
  });
  return { name, loaded: host.exists(`/sys/module/${name}`), parameters: Object.fromEntries(parameters) };
}

/** CAP_NET_ADMIN. */
const NET_ADMIN = 1n << 12n;

function readNetwork(host: ProbeHost): ProbeReport["network"] {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(host.read("/proc/self/status") ?? "")?.[1] ?? "0";
  return {
    tun: host.exists("/dev/net/tun"),
    vhostNet: host.exists("/dev/vhost-net"),
    admin: (BigInt(`0x${effective}`) & NET_ADMIN) !== 0n,
  };
}

function readHugePages(host: ProbeHost): ProbeReport["hugePages"] {
  const text = host.read(SHMEM_HUGE_PAGES);
  const setting = text === undefined ? null : (/\[(\w+)\]/.exec(text)?.[1] ?? null);
  return { setting, enough: setting !== null && setting !== "never" && setting !== "deny" };
}

function readMaxCpus(kvm: KvmAnswers): ProbeReport["maxCpus"] {
  // api.rst 4.7: without KVM_CAP_NR_VCPUS it is 4; without KVM_CAP_MAX_VCPUS the same as that.
  const recommended = kvm.extension(KVM_CAP.NR_VCPUS) || 4;
  return { recommended, most: kvm.extension(KVM_CAP.MAX_VCPUS) || recommended };
}

/** Why /dev/kvm cannot be opened, and the command that repairs it. */
function deviceRemedy(
  host: ProbeHost,
  refusal: KvmRefusal,
  cpu: ProbeReport["cpu"],
  modules: readonly ModuleReport[],
): Remedy {
  const loaded = (name: string) => modules.some((module) => module.name === name && module.loaded);
  switch (refusal.code) {
    case "ENOENT":
    case "ENODEV":
    case "ENXIO": {
      const problem = refusal.code === "ENOENT" ? `${DEVICE} does not exist` : `${DEVICE} has no driver`;
      if (cpu.extension === null) {
        return {
          problem: `${problem}, and the processor offers neither vmx nor svm`,
          advice: VIRTUALIZATION_ADVICE,
        };
      }
      const module = cpu.extension === "vmx" ? "kvm_intel" : "kvm_amd";
      if (!loaded(module)) {
        return {
          problem: `${problem}: the module ${module} is not loaded`,
          command: `sudo modprobe ${module}`,
        };
      }
      return {
        problem: `${problem}, though the module ${module} is loaded`,
        command: "sudo mknod /dev/kvm c 10 232 && sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm",
        advice: "in a container, start it with --device /dev/kvm",
      };
    }
    case "EACCES":
      return permissionRemedy(host);
    case "EPERM":
      return {
        problem: `the rules of the container do not permit to open ${DEVICE}`,
        advice: "start the container with --device /dev/kvm",
      };
    default:
      return { problem: refusal.message };
  }
}

function permissionRemedy(host: ProbeHost): Remedy {
  const { name } = host.user;
  const problem = `the user ${name} may not open ${DEVICE}`;
  const owner = host.owner(DEVICE);
  const groups = readGroups(host.read("/etc/group") ?? "");
  const group = groups.find((group) => group.gid === owner?.gid);
  const groupMayOpen = owner !== undefined && (owner.mode & 0o060) === 0o060 && owner.gid !== 0;
  if (!groupMayOpen || group === undefined) {
    const addGroup = groups.some((group) => group.name === "kvm") ? "" : "sudo groupadd --system kvm && ";
    return {
      problem: `${problem}, and no group may`,
      command: `${addGroup}sudo chgrp kvm ${DEVICE} && sudo chmod 660 ${DEVICE} && sudo usermod -aG kvm ${name}`,
      advice: "then log in again",
    };
  }
  if (group.members.includes(name) && !host.user.groups.includes(group.gid)) {
    return {
      problem: `${problem} in this session, which is older than the membership in the group ${group.name}`,
      command: `newgrp ${group.name}`,
      advice: "or log in again",
    };
  }
  return {
    problem: `${problem}: that is permitted to the group ${group.name}`,
    command: `sudo usermod -aG ${group.name} ${name}`,
    advice: `then log in again, or run newgrp ${group.name}`,
  };
}

/** group(5). */
function readGroups(text: string): { name: string; gid: number; members: string[] }[] {
  return text
    .split("\n")
    .map((line) => line.split(":"))
    .filter((fields) => fields.length === 4)
    .map(([name, , gid, members]) => ({ name, gid: Number(gid), members: members.split(",") }));
}
