/** The exits that a report shows one by one. */
export interface StepRange {
  /** The `seq` of the first. */
  readonly from: number;
  readonly count: number;
}
