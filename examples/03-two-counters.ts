/**
 * Two machines in one program: pauses one while the other runs, reads its registers
 * and memory, changes a register, and traces its next exits.
 *
 *     npm run example -- 03-two-counters
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createVm } from "vmexit";

// A real-mode guest that counts for ever: in CX, in memory, and on the POST code port.
const guest = Uint8Array.of(
  ...[0x41], //                    inc cx
  ...[0x89, 0x0e, 0x00, 0x20], //  mov [0x2000], cx
  ...[0x88, 0xc8], //              mov al, cl
  ...[0xe6, 0x80], //              out 0x80, al      exits to user space
  ...[0xeb, 0xf5], //              jmp back to inc cx
);
const LOADED_AT = 0x1000; // CS and DS begin there
const COUNTER = LOADED_AT + 0x2000;

const options = { memory: "1M", kernel: guest, loadAddress: LOADED_AT };
await using tick = await createVm({ ...options, name: "tick" });
await using tock = await createVm({ ...options, name: "tock" });

/** How many times a machine's guest has written to port 0x80. */
const written = (vm: typeof tick) => vm.stats().devices["post-code"] ?? 0;

await Promise.all([tick.start(), tock.start()]);
while (written(tick) < 1000) await sleep(10);

await tick.pause();
const [cpu] = tick.vcpus;
const { cs, rip, rcx } = cpu.registers();
const [low, high] = tick.memory.read(COUNTER, 2);
console.log(
  `tick is paused at 0x${(cs.base + rip).toString(16)}: CX is ${rcx}, and memory has ${low | (high << 8)}`,
);

const before = written(tock);
while (written(tock) === before) await sleep(10);
console.log("tock runs meanwhile");

cpu.setRegisters({ rip: 0, rcx: 41 }); // back to its first instruction
const trace = tick.trace({ devices: ["post-code"], registers: true });
await tick.resume();
for await (const record of trace) {
  if (record.kind !== "exit") continue;
  const { reason, direction, port = 0, values, regs } = record;
  console.log(
    `exit: ${reason} ${direction} 0x${port.toString(16)} ${values?.[0]}, with CX ${Number(regs?.rcx)}`,
  );
  if (values?.[0] === 44) break; // leaving the loop ends the trace
}
