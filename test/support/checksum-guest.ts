/** A guest whose output shows whether anything that it computes, stores or measures was disturbed. */

/** Prints a running checksum and the uptime; beside it, a file is written and read back, past the page cache. */
export const SCRIPT = `
mkdir -p /mnt; mount /dev/vda /mnt
(while :; do
  head -c 200000 /dev/urandom >/mnt/data; want=$(md5sum </mnt/data); sync; echo 3 >/proc/sys/vm/drop_caches
  [ "$(md5sum </mnt/data)" = "$want" ] && echo "disk good" || echo "disk BAD"
done) &
i=0; s=0
while :; do
  i=$((i+1)); s=$(((s*31+i)%1000003)); read up rest </proc/uptime; echo "n $i $s $up"
done`;

/** What it, or its kernel, prints then. */
export const TROUBLE = /BAD|soft lockup|clocksource|I\/O error|BUG|WARNING/;
