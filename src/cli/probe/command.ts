/** `vmexit probe [--json]`: checks the computer that it runs on. */
import { closeSync, existsSync, openSync, readFileSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import type { Writable } from "node:stream";
import { didYouMean } from "../../base/errors.ts";
import { FAILED, OK, USAGE } from "../exit-status.ts";
import type { KvmAnswers, KvmRefusal, ProbeHost } from "./probe.ts";
import { probe } from "./probe.ts";
import { probeText } from "./text.ts";

const HELP = `Usage: vmexit probe [--json]

Checks what this computer can do for a guest, and says what to change where something is missing.
The exit status is ${OK} if Linux guests can run here, ${FAILED} if not.

  -json   prints one JSON object
  -help   prints this text
`;

export async function probeCommand(
  argv: readonly string[],
  stdout: Writable,
  stderr: Writable,
): Promise<number> {
  let json = false;
  for (const word of argv) {
    const name = word.replace(/^--?/, "");
    if (name === "help" || name === "h") {
      stdout.write(HELP);
      return OK;
    }
    if (name !== "json" || name === word) {
      stderr.write(`vmexit probe: ${word}: unknown option${didYouMean(name, ["json", "help"], "-")}\n`);
      return USAGE;
    }
    json = true;
  }
  const report = probe(await thisComputer());
  stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : probeText(report));
  return report.ready ? OK : FAILED;
}

async function thisComputer(): Promise<ProbeHost> {
  const kvm = await askKvm();
  const { username, uid } = userInfo();
  return {
    read: (path) => attempt(() => readFileSync(path, "utf8")),
    exists: existsSync,
    owner: (path) => attempt(() => statSync(path)),
    user: { name: username, uid, groups: process.getgroups?.() ?? [] },
    kvm: () => kvm,
  };
}

/** Opens the device without the addon first, to tell their failures apart. */
async function askKvm(): Promise<KvmAnswers | KvmRefusal> {
  try {
    closeSync(openSync("/dev/kvm", "r+"));
    const { Kvm } = await import("../../kvm/system.ts");
    const kvm = Kvm.open();
    return { opened: true, apiVersion: kvm.apiVersion, extension: (number) => kvm.checkExtension(number) };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    return { opened: false, code, message: error instanceof Error ? error.message : String(error) };
  }
}

/** Undefined if `read` fails. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
