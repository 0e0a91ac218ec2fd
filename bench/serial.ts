/**
 * How fast a guest writes to its serial port: 128 KiB to ttyS0, timed at the
 * other end, between a mark that the guest prints before and one after.
 *
 *   npm run bench -- serial [--json FILE]
 *
 * Against QEMU's microvm, same guest. Both guests are up for the whole run and
 * take turns; the one that waits is in HLT.
 */
import { bootArguments, findGuest, ObedientGuest, obey } from "./support/guest.ts";
import { kvmRuns } from "./support/kvm-counters.ts";
import { qemu, vmexit } from "./support/monitor.ts";
import { median, Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 5);
const KIB = 128;
const BYTES = KIB * 1024;

interface Pair {
  readonly ours: number[];
  readonly peer: number[];
}

/** Without newlines, which the terminal layer would turn into two bytes. */
const MAKE_TEXT = `dd if=/dev/zero bs=1024 count=${KIB} 2>/dev/null | tr '\\000' x >/tmp/text`;
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
for (let round = 0; round <= ROUNDS; round++) {
  const our = await write(ours);
  const their = await write(peer);
  if (round === 0) continue; // warm-up
  ms.ours.push(our.ms);
  ms.peer.push(their.ms);
  runs.ours.push(our.runs);
  runs.peer.push(their.runs);
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

async function write(guest: ObedientGuest): Promise<{ ms: number; runs: number }> {
  const at: number[] = [];
  const { ms, printed } = await guest.time(WRITE_TEXT, (pid) => at.push(kvmRuns(pid)));
  if (printed.length !== BYTES) throw new Error(`${printed.length} bytes of ${BYTES} arrived`);
  const [before, after] = at.slice(-2); // of the last attempt
  return { ms, runs: (after - before) / BYTES };
}
