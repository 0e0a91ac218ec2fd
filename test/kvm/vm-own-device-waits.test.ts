/** A device of the program's own that does not answer must not make the machine unstoppable. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { createVm, type DeviceHandlers } from "vmexit";

/** mov dx, 0x300; again: in al, dx; jmp again */
const READS_FOR_EVER = Uint8Array.of(0xba, 0x00, 0x03, 0xec, 0xeb, 0xfd);

async function machine(handlers: DeviceHandlers) {
  const vm = await createVm({
    memory: "1M",
    kernel: READS_FOR_EVER,
    loadAddress: 0x1000,
    devices: [{ name: "sensor", port: 0x300, length: 1, handlers }],
  });
  await vm.start();
  return vm;
}

/** A handler that was called, and is answered when the test says so. */
function asked() {
  let tell: (answer: Promise<number>) => void = () => {};
  const answer = new Promise<number>((resolve, reject) => {
    tell = (given) => void given.then(resolve, reject);
  });
  let called: () => void = () => {};
  const call = new Promise<void>((resolve) => {
    called = resolve;
  });
  return {
    call,
    tell,
    read: () => {
      called();
      return answer;
    },
  };
}

test("a handler that never answers does not keep stop() from stopping", async () => {
  const sensor = asked();
  const vm = await machine({ read: sensor.read });
  await sensor.call;
  await vm.stop();
  expect(await vm.exited).toEqual({ reason: "stopped" });
});

test("nor does it when pause() waits for it already", async () => {
  const sensor = asked();
  const vm = await machine({ read: sensor.read });
  await sensor.call;
  const pausing = vm.pause();
  await sleep(50);
  await vm.stop();
  await pausing;
  expect(await vm.exited).toEqual({ reason: "stopped" });
});

test("a handler that throws while pause() waits for it ends the machine, with its name and reason", async () => {
  const sensor = asked();
  const vm = await machine({ read: sensor.read });
  await sensor.call;
  const pausing = vm.pause();
  await sleep(50);
  sensor.tell(Promise.reject(new Error("the wire is cut")));
  await pausing;
  expect(await vm.exited).toMatchObject({
    reason: "crash",
    message: expect.stringMatching(/read\(0, 1\) of device "sensor" threw: Error: the wire is cut/),
  });
});

test("pause() waits for a handler that answers late", async () => {
  const sensor = asked();
  const vm = await machine({ read: sensor.read });
  await sensor.call;
  const pausing = vm.pause();
  await sleep(50);
  sensor.tell(Promise.resolve(1));
  await pausing;
  expect(vm.state).toBe("paused");
  await vm.resume();
  expect(vm.state).toBe("running");
  await vm.stop();
});
