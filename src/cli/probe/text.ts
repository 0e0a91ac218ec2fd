/** A probe's report as text: what was found, then problems and their solutions, then the verdict. */
import type { ProbeReport, Remedy } from "./probe.ts";

export function probeText(report: ProbeReport): string {
  const { cpu, device, maxCpus, hugePages } = report;
  const inside = cpu.insideVm ? ", inside a virtual machine" : "";
  const lines = [
    `processor        ${cpu.model || cpu.vendor || "unknown"}${inside}`,
    `virtualization   ${cpu.extension ?? "no vmx, no svm"}`,
    ...report.modules.map(({ name, loaded, parameters }) => {
      const shown = Object.entries(parameters).map(([key, value]) => ` ${key}=${value}`);
      return `module ${name.padEnd(9)} ${loaded ? "loaded" : "not loaded"}${shown.join("")}`;
    }),
    `${device.path}         ${device.error ?? "opens for reading and writing"}`,
  ];
  if (report.apiVersion !== null) {
    const who = report.kvm === "hardware" ? "hardware" : "software: the guest's kernel is emulated";
    lines.push(`kvm              ${who}`);
    lines.push(`API version      ${report.apiVersion}`);
    if (maxCpus !== null) lines.push(`CPUs in a guest  ${maxCpus.recommended}, at most ${maxCpus.most}`);
    lines.push("capabilities");
    for (const { name, needed, available, use } of report.capabilities) {
      const missing = needed ? "NO " : "no ";
      lines.push(`  ${available ? "yes" : missing}  ${name.padEnd(30)} ${use}`);
    }
  }
  lines.push(`huge pages       ${hugePages.setting ?? "unknown"} for shared memory`);
  const { tun, vhostNet, admin } = report.network;
  lines.push(
    `/dev/net/tun     ${tun ? "there: cards can have tap interfaces" : "not there: sudo modprobe tun"}`,
  );
  lines.push(
    `/dev/vhost-net   ${vhostNet ? "there: vhost=on moves frames in the kernel" : "not there: sudo modprobe vhost_net"}`,
  );
  lines.push(
    `CAP_NET_ADMIN    ${admin ? "yes: interfaces can be made" : "no: interfaces are made beforehand, by vmexit net"}`,
  );
  lines.push("", ...report.remedies.flatMap(remedyLines), report.verdict);
  return `${lines.join("\n")}\n`;
}

function remedyLines({ problem, command, advice }: Remedy): string[] {
  return [
    `! ${problem}`,
    ...(command === undefined ? [] : [`    ${command}`]),
    ...(advice === undefined ? [] : [`    (${advice})`]),
    "",
  ];
}
