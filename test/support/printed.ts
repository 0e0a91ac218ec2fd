import type { VirtualMachine } from "vmexit";

/** All that a machine prints on COM1 from now on, when it has ended. */
export function printed(vm: VirtualMachine): Promise<Buffer> {
  const chunks: Buffer[] = [];
  vm.serial.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => vm.serial.once("end", () => resolve(Buffer.concat(chunks))));
}
