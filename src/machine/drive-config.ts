/** What a drive on an IDE channel or a SCSI controller is assembled from. */
import type { ErrorPolicy } from "../disk/host-errors.ts";
import type { ThrottleLimits } from "../disk/throttle.ts";

export interface DriveConfig {
  /** Bytes, a multiple of 512; 0 for an empty CD drive. */
  readonly size: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  readonly serial: string;
  readonly model: string;
  readonly writeCache: boolean;
  readonly rerror: ErrorPolicy;
  readonly werror: ErrorPolicy;
  readonly throttling: ThrottleLimits | undefined;
  /** The lowest is what firmware starts first; -1 or undefined: no matter. */
  readonly bootindex: number | undefined;
}
