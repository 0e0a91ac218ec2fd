/** What a machine has besides its CPUs and disks, as Linux' drivers find it. */
import { expect, test } from "vitest";
import { createVm } from "vmexit";
import { bootMs, linux, logIn, Scratch, type } from "../support/guest.ts";

test("entropy, a second serial port, a disk without write cache, and the time of day", async () => {
  using scratch = new Scratch();
  await using vm = await logIn({
    cmdline: "root=/dev/vda",
    drives: [{ file: scratch.rootDisk() }, { file: scratch.rootDisk("second.img"), writeCache: false }],
    rng: true,
    serialPorts: 2,
  });
  expect(await type(vm, "cat /sys/class/misc/hw_random/rng_current")).toMatch(/^virtio_rng/m);
  const entropy = "dd if=/dev/hwrng bs=32 count=1 2>/dev/null | hexdump -ve '1/1 \"%02x\"'; echo";
  const [first, second] = [await type(vm, entropy), await type(vm, entropy)];
  expect(first).toMatch(/^[0-9a-f]{64}$/m);
  expect(second).not.toBe(first);

  // Not a job of this shell, which would say between two prompts that it is done.
  await type(vm, 'stty -F /dev/ttyS1 raw -echo; ( (read line; echo "got $line") </dev/ttyS1 >/dev/ttyS1 & )');
  vm.serials[1].write("a word\n");
  await vm.serials[1].waitFor("got a word", { timeoutMs: bootMs() });

  expect(await type(vm, "cat /sys/block/vd?/queue/write_cache")).toMatch(/write back\nwrite through/);
  const written = vm.stats().drives[1];
  await type(vm, "dd if=/dev/zero of=/dev/vdb bs=4k count=4 oflag=direct");
  expect(vm.stats().drives[1].bytesWritten - written.bytesWritten).toBe(16_384);

  const seconds = Number(/^\d+$/m.exec(await type(vm, "date +%s"))?.[0]);
  expect(Math.abs(seconds - Date.now() / 1000)).toBeLessThan(60);
});

test("a balloon takes memory from a running guest, gives it back, and knows what the guest uses", async () => {
  using scratch = new Scratch();
  await using vm = await logIn({
    cmdline: "root=/dev/vda",
    drives: [{ file: scratch.rootDisk() }],
    balloon: { deflateOnOom: true, freePageReporting: true },
  });
  const { balloon } = vm;
  if (balloon === undefined) throw new Error("the machine has no balloon");
  await type(vm, "mkdir -p /tmp/shm; mount -t tmpfs none /tmp/shm");
  const mib = 2 ** 20;

  // The guest touches memory and lets it go: with reporting, the host gets it back after some seconds.
  await type(vm, "dd if=/dev/zero of=/tmp/shm/fill bs=1M count=100 2>/dev/null");
  const full = vm.memory.resident();
  await type(vm, "rm /tmp/shm/fill");
  await expect
    .poll(() => vm.memory.resident(), { timeout: bootMs(), interval: 500 })
    .toBeLessThan(full - 64 * mib);

  const stats = await balloon.stats({ timeoutMs: bootMs() });
  const total = Number(/MemTotal: +(\d+) kB/.exec(await type(vm, "cat /proc/meminfo"))?.[1]);
  expect(stats.totalMemory).toBe(total * 1024);
  expect(stats.freeMemory).toBeGreaterThan(64 * mib);

  balloon.resize(160 * mib);
  expect(balloon.target).toBe(160 * mib);
  await expect.poll(() => balloon.size, { timeout: bootMs(), interval: 500 }).toBe(160 * mib);
  // Linux keeps its total where the balloon may deflate by itself: what is free tells.
  const free = stats.freeMemory ?? 0;
  expect((await balloon.stats({ timeoutMs: bootMs() })).freeMemory).toBeLessThan(free - 80 * mib);
  expect(vm.memory.resident()).toBeLessThan(165 * mib);

  balloon.resize(256 * mib);
  await expect.poll(() => balloon.size, { timeout: bootMs(), interval: 500 }).toBe(256 * mib);
  expect((await balloon.stats({ timeoutMs: bootMs() })).freeMemory).toBeGreaterThan(free - 16 * mib);
});

test("two guests in one program run side by side, each with its own console and disk", async () => {
  using scratch = new Scratch();
  const disks = ["ann", "bob"].map((name) => scratch.rootDisk(`${name}.img`));
  const machines = await Promise.all(
    disks.map((file) => createVm(linux({ cmdline: "root=/dev/vda", drives: [{ file }] }))),
  );
  await Promise.all(
    machines.map(async (vm, n) => {
      await vm.start();
      await vm.serial.waitFor("login: ", { timeoutMs: bootMs() });
      vm.serial.write("root\n");
      await vm.serial.waitFor(/# $/, { timeoutMs: bootMs() });
      await type(vm, `echo guest ${n} >/root/who; sync`);
    }),
  );
  await machines[0].stop();
  expect(await type(machines[1], "cat /root/who")).toMatch(/^guest 1$/m);
  await machines[1].close();
});
