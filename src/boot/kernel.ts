/** Makes a plan from a kernel, an initrd and a command line: recognises the image and calls the planner of its protocol. */
import { bzImageRefusal } from "./bzimage.ts";
import { planFlat } from "./flat.ts";
import { planLinux } from "./linux64.ts";
import { lookAlike } from "./look-alike.ts";
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

/** @throws {BootError} with the file and its error; for a file that is not a kernel, with the reason of each format. */
export function planBoot(request: BootRequest): BootPlan {
  if (request.flat !== undefined) return planFlat(request, request.flat.address);
  const refusals: string[] = [];
  for (const format of FORMATS) {
    const refusal = format.refusal(request.kernel, request.kernelName);
    if (refusal === undefined) return format.plan(request);
    refusals.push(`${format.name}: ${refusal}`);
  }
  refusals.push("flat binary: only with a load address");
  const likeness = lookAlike(request.kernel);
  const seems = likeness === undefined ? "" : ` (it seems to be ${likeness})`;
  throw new BootError(
    `${request.kernelName}: not a boot image that vmexit supports${seems}. Tried: ${refusals.join("; ")}`,
  );
}
