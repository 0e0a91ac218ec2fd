/**
 * The memory and CPU time of a process, without those of its guest.
 *
 * Source: proc(5), /proc/PID/smaps and /proc/PID/stat.
 */
import { readFileSync } from "node:fs";

/** The unit of times in proc(5): USER_HZ, 100 on every Linux that KVM runs on. */
const TICKS_PER_SECOND = 100;

/**
 * Resident bytes that are not guest RAM. Guest RAM is the mapping that has the size
 * of the guest's memory, or a few pages more.
 */
export function residentBeyond(pid: number, guestBytes: number): number | undefined {
  let smaps: string;
  try {
    smaps = readFileSync(`/proc/${pid}/smaps`, "utf8");
  } catch {
    return undefined; // the process has just ended
  }
  let total = 0;
  let guest = 0;
  let length = 0;
  for (const line of smaps.split("\n")) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range !== null) length = Number.parseInt(range[2], 16) - Number.parseInt(range[1], 16);
    if (!line.startsWith("Rss:")) continue;
    const resident = Number.parseInt(line.slice("Rss:".length), 10) * 1024;
    total += resident;
    if (length >= guestBytes && length < guestBytes * 1.05) guest = Math.max(guest, resident);
  }
  return total - guest;
}

/** Seconds of CPU that all threads of a process spent outside its guest. */
export function monitorCpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The second field is a name that may contain anything; the third follows the last ")".
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3]);
  const [utime, stime, guestTime] = [field(14), field(15), field(43)];
  // utime includes guest time.
  return (utime + stime - guestTime) / TICKS_PER_SECOND;
}
