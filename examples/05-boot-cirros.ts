/**
 * Boots CirrOS (kernel, initramfs and disk given by path) to its login prompt.
 *
 *     npm run example -- 05-boot-cirros cirros-0.6.2-x86_64-kernel cirros-0.6.2-x86_64-initramfs disk.img
 *
 * The disk is CirrOS' root file system as a raw image (cirros-0.6.2-x86_64-blank.img,
 * or one that `qemu-img convert -O raw` made). Without a disk, CirrOS runs from its
 * initramfs. The disk is opened read-only, unless `--write` follows.
 */
import { createVm } from "vmexit";

const [kernel, initrd, disk, write] = process.argv.slice(2);
if (kernel === undefined || initrd === undefined) {
  console.error("usage: 05-boot-cirros KERNEL INITRAMFS [DISK [--write]]");
  process.exit(2);
}

await using vm = await createVm({
  name: "cirros",
  memory: "256M",
  kernel,
  initrd,
  // dslist= stops CirrOS from searching for a metadata server: this machine has no network.
  cmdline: `console=ttyS0 ${disk === undefined ? "" : "root=/dev/vda"} dslist=nocloud`,
  drives: disk === undefined ? [] : [{ file: disk, readOnly: write !== "--write" }],
});
vm.serial.pipe(process.stdout);
await vm.start();
await vm.serial.waitFor("login: ", { timeoutMs: 1_200_000 }); // an emulated host may be slow
console.log("\nCirrOS is up.");
await vm.stop();
