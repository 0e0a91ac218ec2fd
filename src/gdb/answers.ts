/** Short answers of the remote protocol. Source: GDB manual, Appendix E.2 and E.3. */

export const OK = "OK";
/** An unknown packet: gdb then does not use it. */
export const UNKNOWN = "";

// The protocol does not define error numbers: these are those of errno.
export const EFAULT = "E0e";
export const EBUSY = "E10";
export const EINVAL = "E16";
export const ENOSPC = "E1c";
