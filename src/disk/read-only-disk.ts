/** What all read-only disks have in common: they refuse what would change them. */
import { EROFS } from "../base/errno.ts";

export abstract class ReadOnlyDisk {
  readonly readOnly = true;

  writev(): number {
    return EROFS;
  }

  flush(): number {
    return 0;
  }

  discard(): number {
    return EROFS;
  }

  writeZeroes(): number {
    return EROFS;
  }
}
