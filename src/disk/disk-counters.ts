/** What is counted for each disk: places in an array of counters, which the io thread increments. */

export const DISK_REQUESTS = 0;
export const DISK_BYTES_READ = 1;
export const DISK_BYTES_WRITTEN = 2;
export const DISK_FLUSHES = 3;
export const DISK_ERRORS = 4;
export const DISK_COUNTERS = 5;
/** Their names, in that order. */
export const DISK_FIELDS = ["requests", "bytesRead", "bytesWritten", "flushes", "errors"] as const;
