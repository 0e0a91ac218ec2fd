/** What users of a disk have to know of it, whatever it is stored in. */
export interface DiskFacts {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Bytes that the storage writes at once, a power of two from 512 on. */
  readonly blockSize: number;
}
