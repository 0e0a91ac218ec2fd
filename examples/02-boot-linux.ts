/**
 * Boots a Linux kernel with its initrd, runs commands in it over the serial
 * console, and shuts it down with the power button.
 *
 *     npm run example -- 02-boot-linux [GUEST-FOLDER]
 *
 * GUEST-FOLDER contains vmlinuz and initrd.img; `lab/guest/build` makes one.
 */
import { join } from "node:path";
import { createVm } from "vmexit";

const folder = process.argv[2] ?? process.env.VMEXIT_GUEST_DIR;
if (folder === undefined)
  throw new Error("give the folder of vmlinuz and initrd.img; lab/guest/build prints it");

await using vm = await createVm({
  memory: "256M",
  cpus: 2,
  kernel: join(folder, "vmlinuz"),
  initrd: join(folder, "initrd.img"),
  cmdline: "console=ttyS0 quiet",
});
vm.serial.pipe(process.stdout);
await vm.start();
await vm.serial.waitFor("login: ", { timeoutMs: 1_200_000 }); // an emulated host may be slow
vm.serial.write("root\n");
await vm.serial.waitFor(/# $/);
vm.serial.write("uname -a; nproc; cat /proc/interrupts\n");
await vm.serial.waitFor(/# $/);
await vm.powerdown();
const { reason } = await vm.exited;
console.log(`\n${vm.name}: ${reason}`);
console.table(vm.stats().exits);
