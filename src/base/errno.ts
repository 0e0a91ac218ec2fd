/**
 * Error numbers of Linux on x86-64, as the addon returns them: negative.
 *
 * Source: <asm-generic/errno-base.h>, <asm-generic/errno.h>. The name of any
 * number is in sys/errors.ts.
 */

export const EPERM = -1;
export const EINTR = -4;
export const EIO = -5;
export const ENXIO = -6;
export const EBADF = -9;
export const EAGAIN = -11;
export const EACCES = -13;
export const EINVAL = -22;
export const ENOSPC = -28;
export const EROFS = -30;
export const ENOSYS = -38;
export const EOPNOTSUPP = -95;
export const EINPROGRESS = -115;
