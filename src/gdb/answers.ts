/** Short answers of the remote protocol. Source: GDB manual, Appendix E.2 and E.3. */

export const OK = "OK";
/** "I do not know this packet": gdb then does without. */
export const UNKNOWN = "";

// Numbers of errors are ours to choose: those of errno.
export const EFAULT = "E0e";
export const EBUSY = "E10";
export const EINVAL = "E16";
export const ENOSPC = "E1c";
