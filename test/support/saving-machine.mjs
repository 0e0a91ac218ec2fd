/** Saves a machine again and again, until it is killed. Argument: where. */
import { createVm } from "vmexit";

const [, , dir] = process.argv;
// inc dword [bx]; add bx, 64; jmp: writes all of a segment.
const code = [0x66, 0xff, 0x07, 0x83, 0xc3, 0x40, 0xeb, 0xf8];
const vm = await createVm({
  memory: "16M",
  kernel: Uint8Array.from([0x31, 0xdb, ...code]),
  loadAddress: 0x1000,
});
await vm.start();
for (;;) {
  await vm.snapshot({ dir });
  process.send("saved");
}
