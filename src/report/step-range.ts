/** Which exits a report shows one by one. */
export interface StepRange {
  /** The first, by its `seq`. */
  readonly from: number;
  readonly count: number;
}

/** Unless the caller says otherwise, and at most. */
export const DEFAULT_STEPS = 10_000;
export const MAX_STEPS = 100_000;
