/**
 * How fast a guest writes to its serial port: 128 KiB to ttyS0, timed at the
 * other end, between a mark that the guest prints before and one after.
 *
 *   npm run bench -- serial [--json FILE]
 *
 * Against QEMU's microvm, same guest. Both guests are up for the whole run and
 * take turns; the one that waits is in HLT.
 */
import { bootArguments, findGuest, obey, Shell } from "./support/guest.ts";
import { qemu, vmexit, withMonitor } from "./support/monitor.ts";
import { median, Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 5);
const KIB = 128;
const BYTES = KIB * 1024;

/** Without newlines, which the terminal layer would turn into two bytes. */
const MAKE_TEXT = `dd if=/dev/zero bs=1024 count=${KIB} 2>/dev/null | tr '\\000' x >/tmp/text`;
const WRITE_TEXT = `echo "<start>"; cat /tmp/text; echo "<end>"`;

const guest = findGuest();
const boot = bootArguments(guest.vmlinux, guest.initrd, obey);
const ours = vmexit("-M", "microvm", ...boot);
const peer = qemu("microvm", "-M", "microvm,acpi=on,rtc=on", "-display", "none", ...boot);

await withMonitor(ours, async (ourRunning) => {
  const ourShell = await Shell.of(ourRunning);
  await withMonitor(peer, async (peerRunning) => {
    const peerShell = await Shell.of(peerRunning);
    const ms: { ours: number[]; peer: number[] } = { ours: [], peer: [] };
    for (const shell of [ourShell, peerShell]) {
      await shell.run(MAKE_TEXT);
      await write(shell); // a first time, untimed
    }
    for (let round = 0; round < ROUNDS; round++) {
      ms.ours.push(await write(ourShell));
      ms.peer.push(await write(peerShell));
    }
    const kibPerSecond = (samples: number[]) => Math.round(KIB / (median(samples) / 1000));
    console.log(
      `serial: medians of ${ROUNDS} rounds; ${kibPerSecond(ms.ours)} and ${kibPerSecond(ms.peer)} KiB/s`,
    );
    const results = new Results();
    results.add(`${KIB} KiB to ttyS0`, "ms", { ...ms, peerName: peer.name }, { goal: 1 });
    results.finish();
  });
});

async function write(shell: Shell): Promise<number> {
  const { ms, printed } = await shell.time(WRITE_TEXT);
  if (printed.length !== BYTES) throw new Error(`${printed.length} bytes of ${BYTES} arrived`);
  return ms;
}
