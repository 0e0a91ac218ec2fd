/** A guest that uses its disk with the program guest/blk-load.cc, and what that costs its monitor. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Load } from "./blk-matrix.ts";
import { ObedientGuest } from "./guest.ts";
import { kvmRuns } from "./kvm-counters.ts";
import type { Monitor } from "./monitor.ts";
import { monitorCpuSeconds } from "./process.ts";

const MIB = 2 ** 20;

export interface Sample {
  readonly perSecond: number;
  /** Seconds of CPU outside the guest, per million requests. */
  readonly cpu: number;
  /** KVM_RUN calls per request. */
  readonly runs: number;
}

export class DiskUser {
  readonly name: string;
  readonly guest: ObedientGuest;
  samples: Sample[] = [];
  readonly #device: string;

  /** @param device the disk in the guest: /dev/vda */
  constructor(name: string, monitor: Monitor, device: string) {
    this.name = name;
    this.guest = new ObedientGuest(monitor);
    this.#device = device;
  }

  value(of: (sample: Sample) => number): number[] {
    return this.samples.map(of);
  }

  async run(load: Load, seconds: number): Promise<Sample> {
    const at: { cpu: number; runs: number }[] = [];
    const line = `blk-load ${this.#device} ${load.mode} ${load.block} ${load.depth} ${seconds}`;
    const { ms, printed } = await this.guest.time(line, (pid) => {
      at.push({ cpu: monitorCpuSeconds(pid), runs: kvmRuns(pid) });
    });
    const requests = Number(printed);
    if (!(requests > 0)) throw new Error(`blk-load printed ${printed}`);
    const [before, after] = at.slice(-2); // of the last attempt
    return {
      perSecond: requests / (ms / 1000),
      cpu: ((after.cpu - before.cpu) / requests) * 1e6,
      runs: (after.runs - before.runs) / requests,
    };
  }
}

/** The contents of all images: a file without holes. */
export function filledDisk(folder: string, mib: number): string {
  const file = join(folder, "filled.raw");
  const fd = openSync(file, "w");
  const chunk = Buffer.alloc(MIB, 0xa5);
  for (let i = 0; i < mib; i++) writeSync(fd, chunk);
  closeSync(fd);
  return file;
}

export function compileLoad(folder: string): string {
  const source = fileURLToPath(new URL("../../../../bench/guest/blk-load.cc", import.meta.url));
  const program = join(folder, "blk-load");
  execFileSync("g++", ["-std=c++20", "-O2", "-static", "-o", program, source], { stdio: "inherit" });
  return program;
}
