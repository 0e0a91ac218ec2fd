/**
 * A device of your own: a thermometer at port 0x300 that a guest reads.
 *
 * Its handlers run in this program, on this thread. They may be async: the guest
 * waits in its `in` instruction until the promise settles.
 *
 *     npm run example -- 04-own-device
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createVm } from "vmexit";

const thermometer = {
  async read() {
    await sleep(10); // a sensor takes some time to answer
    return 21; // degrees Celsius
  },
};

// A real-mode guest: it reads the thermometer, prints two digits on COM1, and ends the machine.
const guest = Uint8Array.of(
  ...[0xba, 0x00, 0x03], //  mov dx, 0x300
  ...[0xec], //              in al, dx
  ...[0xd4, 0x0a], //        aam              AH = AL / 10, AL = AL % 10
  ...[0x0d, 0x30, 0x30], //  or ax, 0x3030    makes ASCII digits of both
  ...[0xba, 0xf8, 0x03], //  mov dx, 0x3f8
  ...[0x86, 0xc4, 0xee], //  xchg al, ah; out dx, al
  ...[0x86, 0xc4, 0xee], //  xchg al, ah; out dx, al
  ...[0xb0, 0x00, 0xe6, 0xf4], // mov al, 0; out 0xf4, al
);

await using vm = await createVm({
  memory: "1M",
  kernel: guest,
  loadAddress: 0x1000,
  devices: [{ name: "thermometer", port: 0x300, length: 1, handlers: thermometer }],
});
await vm.start();
const [digits] = await vm.serial.waitFor(/\d\d/);
console.log(`the guest says it is ${digits} °C`);
