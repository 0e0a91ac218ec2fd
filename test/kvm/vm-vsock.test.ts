/** A tiny guest with a vsock device: vsock-kernel.c returns what it gets. */
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { createVm, restoreVm, type VirtualMachine, type VmVsock, type VsockStream } from "vmexit";
import { buildKernel } from "../support/multiboot-build.ts";

let kernel: Uint8Array;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-vsock-"));
  buildKernel("vsock-kernel.c", join(folder, "kernel.elf"));
  kernel = readFileSync(join(folder, "kernel.elf"));
  return () => rmSync(folder, { recursive: true });
});

function vsockOf({ vsock }: VirtualMachine): VmVsock {
  if (vsock === undefined) throw new Error("the machine has no vsock device");
  return vsock;
}

/** The guest's connection to `port` of the host. */
function accepted(vsock: VmVsock, port: number): Promise<VsockStream> {
  return new Promise((resolve) => {
    vsock.listen(port, (stream) => {
      stream.on("error", () => {});
      resolve(stream);
    });
  });
}

async function echoed(stream: VsockStream, bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= bytes) break;
  }
  return Buffer.concat(chunks);
}

test("streams in both directions, through pauses, and in a restored copy the guest starts anew", async () => {
  const options = { machine: "microvm", memory: "16M", kernel, vsock: { cid: 42 } } as const;
  const vm = await createVm(options);
  const vsock = vsockOf(vm);
  expect(vsock.cid).toBe(42);
  const guests = accepted(vsock, 1024);
  await vm.start();
  const fromGuest = await guests;
  fromGuest.write("hello");
  expect(String(await echoed(fromGuest, 5))).toBe("hello");

  // More than the guest's buffers, the ring and its credit hold at once.
  const stream = vsock.connect(7);
  const data = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, n) => (n * 7) & 0xff));
  stream.write(data);
  await vm.pause();
  await vm.resume();
  expect((await echoed(stream, data.length)).equals(data)).toBe(true);

  await expect(once(vsock.connect(8), "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });

  const dir = join(folder, "snapshot");
  await vm.pause();
  await vm.snapshot({ dir });
  await vm.resume();
  stream.write("still there");
  expect(String(await echoed(stream, 11))).toBe("still there");
  stream.end();
  stream.resume();
  await once(stream, "close");

  const copy = await restoreVm(dir, { vsock: { cid: 42 } });
  const again = accepted(vsockOf(copy), 1025);
  await copy.resume();
  const renewed = await again;
  renewed.write("copy");
  expect(String(await echoed(renewed, 4))).toBe("copy");
  vsockOf(copy)
    .connect(9)
    .on("error", () => {});
  await copy.exited;
  expect(renewed.destroyed).toBe(true);

  vsock.connect(9).on("error", () => {});
  await vm.exited;
  expect(fromGuest.destroyed).toBe(true);
  expect(() => vsock.connect(7)).toThrow("ended");
}, 60_000);
