/** From the user's kernel, initrd and command line to a plan: recognises the image and leaves the rest to its protocol. */
import { bzImageRefusal } from "./bzimage.ts";
import { planFlat } from "./flat.ts";
import { planLinux } from "./linux64.ts";
import { multibootRefusal, planMultiboot } from "./multiboot.ts";
import { BootError, type BootPlan } from "./plan.ts";
import { planPvh, pvhRefusal } from "./pvh.ts";
import type { BootRequest } from "./request.ts";

export type { BootRequest } from "./request.ts";

const FORMATS = [
  { name: "bzImage", refusal: bzImageRefusal, plan: planLinux },
  { name: "Multiboot", refusal: multibootRefusal, plan: planMultiboot },
  { name: "PVH", refusal: pvhRefusal, plan: planPvh },
];

/** @throws {BootError} that says what is wrong with which file. */
export function planBoot(request: BootRequest): BootPlan {
  if (request.flat !== undefined) return planFlat(request, request.flat.address);
  const refusals: string[] = [];
  for (const format of FORMATS) {
    const refusal = format.refusal(request.kernel);
    if (refusal === undefined) return format.plan(request);
    refusals.push(`${format.name}: ${refusal}`);
  }
  throw new BootError(
    `${request.kernelName}: no boot image that vmexit knows: ${refusals.join("; ")}; a flat binary needs an address`,
  );
}
