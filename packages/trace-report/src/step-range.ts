/** Which exits a report shows one by one. */
export interface StepRange {
  /** The first, by its `seq`. */
  readonly from: number;
  readonly count: number;
}
