/** A PC that boots from the user network: SeaBIOS, iPXE, DHCP, TFTP, and the program that came by it. */
import { writeFileSync } from "node:fs";
import { test } from "vitest";
import { createVm, type VmOptions } from "vmexit";
import { bootMs, Scratch } from "../support/guest.ts";

/** A program that iPXE starts at 0:7c00. It prints its text on COM1, and halts. */
const PROGRAM = Buffer.concat([
  Buffer.from([
    0xfc, // cld
    ...[0xbe, 0x14, 0x7c], // mov si, 0x7c14
    ...[0x2e, 0xac], // 4: cs lodsb
    ...[0x84, 0xc0], // test al, al
    ...[0x74, 0x06], // jz 0x10
    ...[0xba, 0xf8, 0x03], // mov dx, 0x3f8
    0xee, // out dx, al
    ...[0xeb, 0xf4], // jmp 4
    0xf4, // 0x10: hlt
    ...[0xeb, 0xfd], // jmp 0x10
    0x90,
  ]),
  Buffer.from("booted by PXE\r\n\0"),
  Buffer.alloc(20_000), // several blocks
]);

async function boots(options: (tftp: string) => VmOptions): Promise<void> {
  using scratch = new Scratch();
  writeFileSync(scratch.path("boot.bin"), PROGRAM);
  await using vm = await createVm({ machine: "pc", memory: "64M", ...options(scratch.folder) });
  await vm.start();
  await vm.serial.waitFor("booted by PXE", { timeoutMs: bootMs() });
}

test("-boot n: the e1000 of an old line boots from the network", async () => {
  await boots((tftp) => ({
    bootOrder: "n",
    network: [{ model: "e1000", user: { tftp, bootfile: "boot.bin" } }],
  }));
});

test("bootindex: a virtio card is before a disk that cannot be booted", async () => {
  using scratch = new Scratch();
  writeFileSync(scratch.path("empty.img"), Buffer.alloc(1 << 20));
  await boots((tftp) => ({
    drives: [{ file: scratch.path("empty.img"), format: "raw", bootindex: 2 }],
    network: [{ bootindex: 1, user: { tftp, bootfile: "boot.bin" } }],
  }));
});
