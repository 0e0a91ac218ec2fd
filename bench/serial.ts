/**
 * How fast a guest writes to its serial port: 128 KiB to ttyS0. The reader measures
 * the time between marks that the guest prints before and after.
 *
 *   npm run bench -- serial [--json FILE]
 *
 * The peer is QEMU's microvm with the same guest. Both guests run during the whole
 * benchmark; the one that waits is in HLT. They alternate every 16 KiB, so other
 * load on the machine affects both equally, and little is lost with a guest that
 * dies (150 000 exits are many for an emulated SVM).
 */
import { bootArguments, findGuest, ObedientGuest, obey } from "./support/guest.ts";
import { kvmRuns } from "./support/kvm-counters.ts";
import { qemu, vmexit } from "./support/monitor.ts";
import { median, Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 3);
const KIB = 128;
const PIECE_KIB = 16;
const PIECE_BYTES = PIECE_KIB * 1024;

interface Pair {
  readonly ours: number[];
  readonly peer: number[];
}

/** Without newlines, because the terminal layer would write two bytes for each. */
const MAKE_TEXT = `dd if=/dev/zero bs=1024 count=${PIECE_KIB} 2>/dev/null | tr '\\000' x >/tmp/text`;
const WRITE_TEXT = `echo "<start>"; cat /tmp/text; echo "<end>"`;

const guest = findGuest();
const boot = bootArguments(guest.vmlinux, guest.initrd, obey);
const ours = new ObedientGuest(vmexit("-M", "microvm", ...boot), MAKE_TEXT);
const peer = new ObedientGuest(
  qemu("microvm", "-M", "microvm,acpi=on,rtc=on", "-display", "none", ...boot),
  MAKE_TEXT,
);

const ms: Pair = { ours: [], peer: [] };
const runs: Pair = { ours: [], peer: [] };
await write(ours); // warm-up
await write(peer);
for (let round = 0; round < ROUNDS; round++) {
  const sum = { ours: { ms: 0, runs: 0 }, peer: { ms: 0, runs: 0 } };
  for (let written = 0; written < KIB; written += PIECE_KIB) {
    add(sum.ours, await write(ours));
    add(sum.peer, await write(peer));
  }
  for (const who of ["ours", "peer"] as const) {
    ms[who].push(sum[who].ms);
    runs[who].push(sum[who].runs / (KIB * 1024));
  }
}
await Promise.all([ours.stop(), peer.stop()]);

const rate = (samples: number[]) => Math.round(KIB / (median(samples) / 1000));
console.log(
  `serial: medians of ${ROUNDS} rounds; ${rate(ms.ours)} KiB/s, and ${rate(ms.peer)} KiB/s of the peer`,
);
const results = new Results();
results.add(`${KIB} KiB to ttyS0`, "ms", { ...ms, peerName: peer.monitor.name }, { goal: 1 });
if (runs.ours.every(Number.isFinite)) {
  results.add("exits to user space", "per byte", { ...runs, peerName: peer.monitor.name });
}
results.finish();

interface Written {
  ms: number;
  /** KVM_RUN calls. */
  runs: number;
}

function add(to: Written, more: Written): void {
  to.ms += more.ms;
  to.runs += more.runs;
}

async function write(guest: ObedientGuest): Promise<Written> {
  const at: number[] = [];
  const { ms, printed } = await guest.time(WRITE_TEXT, (pid) => at.push(kvmRuns(pid)));
  if (printed.length !== PIECE_BYTES) throw new Error(`${printed.length} bytes of ${PIECE_BYTES} arrived`);
  const [before, after] = at.slice(-2); // of the last attempt
  return { ms, runs: after - before };
}
