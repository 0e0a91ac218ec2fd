import { expect, test } from "vitest";
import { CAPABILITIES } from "../../../../src/cli/probe/capabilities.ts";
import type { KvmAnswers, KvmRefusal, ProbeHost } from "../../../../src/cli/probe/probe.ts";
import { probe } from "../../../../src/cli/probe/probe.ts";
import { probeText } from "../../../../src/cli/probe/text.ts";

const INTEL = "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i7\nflags\t\t: fpu vme vmx ept\n";
const AMD = "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nflags\t\t: fpu vme svm npt\n";
const CLOUD = "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nflags\t\t: fpu vme hypervisor\n";
const SHMEM = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
const GROUPS = "root:x:0:\nkvm:x:104:\n";

const INTEL_FILES = {
  "/proc/cpuinfo": INTEL,
  "/sys/module/kvm": "",
  "/sys/module/kvm_intel": "",
  "/sys/module/kvm_intel/parameters/nested": "Y\n",
  "/sys/module/kvm_intel/parameters/ept": "Y\n",
  "/sys/module/kvm_intel/parameters/unrestricted_guest": "Y\n",
  [SHMEM]: "always within_size [advise] never deny force\n",
};

const working: KvmAnswers = { opened: true, apiVersion: 12, extension: () => 64 };
const refused = (code: string): KvmRefusal => ({
  opened: false,
  code,
  message: `open(/dev/kvm) failed with ${code}`,
});

function host(
  files: Record<string, string>,
  kvm: KvmAnswers | KvmRefusal,
  more: Partial<ProbeHost> = {},
): ProbeHost {
  return {
    read: (path) => files[path],
    exists: (path) => path in files,
    owner: () => ({ uid: 0, gid: 104, mode: 0o20660 }),
    user: { name: "ada", uid: 1000, groups: [1000] },
    kvm: () => kvm,
    ...more,
  };
}

const commands = (report: ReturnType<typeof probe>) => report.remedies.map((remedy) => remedy.command);

test("an Intel machine with KVM is ready", () => {
  const report = probe(host(INTEL_FILES, working));
  expect(report).toMatchObject({
    ready: true,
    kvm: "hardware",
    verdict: "Linux guests can run here.",
    cpu: { vendor: "GenuineIntel", extension: "vmx", insideVm: false },
    device: { usable: true, error: null },
    apiVersion: 12,
    maxCpus: { recommended: 64, most: 64 },
    hugePages: { setting: "advise", enough: true },
    remedies: [],
  });
  expect(report.modules).toContainEqual({
    name: "kvm_intel",
    loaded: true,
    parameters: { nested: "Y", ept: "Y", unrestricted_guest: "Y" },
  });
});

test("an AMD machine with KVM is ready", () => {
  const files = {
    "/proc/cpuinfo": AMD,
    "/sys/module/kvm_amd": "",
    "/sys/module/kvm_amd/parameters/npt": "1\n",
  };
  const report = probe(host(files, working));
  expect(report).toMatchObject({ ready: true, kvm: "hardware", cpu: { extension: "svm" } });
  expect(report.modules).toContainEqual({ name: "kvm_amd", loaded: true, parameters: { npt: "1" } });
});

test("a module that is not loaded is named with the command that loads it", () => {
  const missing = probe(host({ "/proc/cpuinfo": INTEL, [SHMEM]: "[always]" }, refused("ENOENT")));
  expect(missing).toMatchObject({ ready: false, kvm: "none" });
  expect(commands(missing)).toEqual(["sudo modprobe kvm_intel"]);
  expect(missing.verdict).toContain("npm run lab");
  const amd = probe(host({ "/proc/cpuinfo": AMD }, refused("ENODEV")));
  expect(commands(amd)).toEqual(["sudo modprobe kvm_amd"]);
});

test("a container without the device gets advice how to add it", () => {
  const report = probe(host(INTEL_FILES, refused("ENOENT")));
  expect(report.remedies[0].command).toContain("sudo mknod /dev/kvm c 10 232");
  expect(report.remedies[0].advice).toContain("--device /dev/kvm");
  expect(probe(host(INTEL_FILES, refused("EPERM"))).remedies[0].advice).toContain("--device /dev/kvm");
});

test("a processor without virtualization gets advice where to turn it on", () => {
  const report = probe(host({ "/proc/cpuinfo": CLOUD }, refused("ENOENT")));
  expect(report).toMatchObject({ ready: false, kvm: "none", cpu: { extension: null, insideVm: true } });
  expect(report.remedies[0].advice).toContain("nested virtualization");
});

test("a user outside the group gets the command that joins it", () => {
  const report = probe(host({ ...INTEL_FILES, "/etc/group": GROUPS }, refused("EACCES")));
  expect(commands(report)).toEqual(["sudo usermod -aG kvm ada"]);
});

test("a user who joined the group after logging in gets that as the reason", () => {
  const report = probe(host({ ...INTEL_FILES, "/etc/group": "kvm:x:104:bob,ada\n" }, refused("EACCES")));
  expect(commands(report)).toEqual(["newgrp kvm"]);
});

test("a device that belongs to root alone is given to the group kvm", () => {
  const owner = () => ({ uid: 0, gid: 0, mode: 0o20600 });
  const report = probe(host({ ...INTEL_FILES, "/etc/group": GROUPS }, refused("EACCES"), { owner }));
  expect(commands(report)).toEqual([
    "sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo usermod -aG kvm ada",
  ]);
  const noGroup = probe(host(INTEL_FILES, refused("EACCES"), { owner }));
  expect(noGroup.remedies[0].command).toMatch(/^sudo groupadd --system kvm && /);
});

test("software KVM runs tiny guests and sends Linux to the lab", () => {
  const report = probe(host({ "/proc/cpuinfo": CLOUD, "/sys/module/kvm": "" }, working));
  expect(report).toMatchObject({ ready: false, kvm: "software" });
  expect(report.verdict).toContain("Tiny guests run here");
  expect(report.verdict).toContain("npm run lab");
});

test("a KVM that lacks what is needed is not ready, and the gap is named", () => {
  const extension = (capability: number) => (capability === 36 ? 0 : 1);
  const report = probe(host(INTEL_FILES, { opened: true, apiVersion: 12, extension }));
  expect(report.ready).toBe(false);
  expect(report.remedies).toEqual([{ problem: "KVM lacks KVM_CAP_IOEVENTFD", advice: "use a later kernel" }]);
  expect(probeText(report)).toMatch(/NO {3}KVM_CAP_IOEVENTFD/);
});

test("a capability that is only used where it is may be missing", () => {
  const extension = (capability: number) => (capability === 203 ? 0 : 1);
  expect(probe(host(INTEL_FILES, { opened: true, apiVersion: 12, extension })).ready).toBe(true);
});

test("huge pages that are off come with the command that turns them on, and are not an obstacle", () => {
  const files = { ...INTEL_FILES, [SHMEM]: "always within_size advise [never] deny force\n" };
  const report = probe(host(files, working));
  expect(report).toMatchObject({ ready: true, hugePages: { setting: "never", enough: false } });
  expect(commands(report)).toEqual([`echo advise | sudo tee ${SHMEM}`]);
});

test("an empty /proc and /sys are answered, not thrown at", () => {
  const report = probe(host({}, refused("ENOENT")));
  expect(report).toMatchObject({ ready: false, cpu: { vendor: "", extension: null } });
  expect(probeText(report)).toContain("Guests cannot run here");
});

test("the text says the verdict last and shows every capability with yes or no", () => {
  const report = probe(host(INTEL_FILES, working));
  const text = probeText(report);
  expect(text.trimEnd().split("\n").at(-1)).toBe("Linux guests can run here.");
  for (const { name } of CAPABILITIES) expect(text).toMatch(new RegExp(`yes +${name} `));
  expect(text).toContain("module kvm_intel loaded nested=Y ept=Y unrestricted_guest=Y");
});

test("the report is plain data", () => {
  const report = probe(host(INTEL_FILES, working));
  expect(JSON.parse(JSON.stringify(report))).toEqual(report);
});
