/**
 * Guest RAM: one mapping that the guest, its devices and every thread's JavaScript
 * share. It is the RamSource behind GuestMemory.
 *
 * Source: memfd_create(2), mmap(2), mincore(2). A page is allocated at its first access; the
 * mapping requests transparent huge pages.
 */
import { PAGE } from "../base/units.ts";
import { check } from "./errors.ts";
import { type NativeFileIo, type NativeGuestRam, native } from "./native.ts";

const HUGETLB = 1;
const ANONYMOUS = 2;

export interface GuestRamOptions {
  /**
   * "memfd" (the default) can be shared with other processes. "anonymous" cannot, and gets huge
   * pages on hosts that use them for private memory only.
   */
  readonly backing?: "memfd" | "anonymous";
  /** Takes pages of 2 MiB from the host's pool (vm.nr_hugepages) at once. */
  readonly hugePages?: boolean;
}

/** A file that can be mapped: a HostFile. */
export interface MappableFile {
  readonly path: string;
  readonly native: NativeFileIo;
}

export class GuestRam {
  /** The handle, for the classes that pass memory to the kernel. */
  readonly native: NativeGuestRam;
  /** Length in bytes. */
  readonly size: number;

  private constructor(handle: NativeGuestRam) {
    this.native = handle;
    this.size = check(handle.size(), "mmap(guest RAM)", "asking for the size of guest RAM");
  }

  /**
   * Maps `size` bytes, all zero.
   *
   * @param size bytes, a multiple of 4096; with huge pages of 2 MiB
   * @throws {SystemError} EINVAL for another size; ENOMEM if the host has not enough memory.
   */
  static create(size: number, options: GuestRamOptions = {}): GuestRam {
    const { backing = "memfd", hugePages = false } = options;
    const flags = (hugePages ? HUGETLB : 0) | (backing === "anonymous" ? ANONYMOUS : 0);
    const handle = new native.GuestRam();
    check(handle.create(size, flags), "mmap(guest RAM)", `mapping ${size} bytes of guest RAM`);
    return new GuestRam(handle);
  }

  /**
   * Maps the first `size` bytes of a regular file. What is written stays in memory, and the file
   * may be closed. Nobody may make it shorter meanwhile: an access beyond its end ends the process (SIGBUS).
   *
   * @param size bytes, a multiple of 4096
   * @param isShared what is written goes to the file, which is open for writing
   * @throws {SystemError} EINVAL for another size, or a file that has fewer bytes; EACCES for a shared mapping of
   *   a file that is read-only.
   */
  static mapFile(file: MappableFile, size: number, isShared = false): GuestRam {
    const handle = new native.GuestRam();
    const result = handle.mapFile(file.native, size, isShared);
    check(result, "mmap(file)", `mapping ${size} bytes of ${file.path} as guest RAM`);
    return new GuestRam(handle);
  }

  /** The memory whose token another thread sent. @throws {SystemError} ENOENT if it is closed. */
  static attach(token: number): GuestRam {
    const handle = new native.GuestRam();
    check(handle.attach(token), "attach(guest RAM)", "sharing guest RAM with a thread");
    return new GuestRam(handle);
  }

  /** Names this memory in every thread; valid until the last handle closes. */
  get token(): number {
    return check(this.native.token(), "token(guest RAM)", "sharing guest RAM with a thread");
  }

  /**
   * The mapped bytes themselves, not a copy; the same ArrayBuffer for the same
   * range. It is detached (its length becomes 0) when this handle closes.
   *
   * @param offset bytes; @param length bytes, from 1 to 4 GiB - 1
   * @throws {SystemError} EINVAL outside the memory; EBADF when closed.
   */
  map(offset: number, length: number): ArrayBuffer {
    const view = this.native.view(offset, length);
    if (typeof view !== "number") return view;
    check(view, "view(guest RAM)", `looking at ${length} bytes of guest RAM at offset ${offset}`);
    throw new TypeError("a view is an ArrayBuffer or an error");
  }

  /** The address of the memory in this process: the userspace_addr of memory slots. */
  get hostAddress(): number {
    return check(this.native.hostAddress(), "mmap(guest RAM)", "asking where guest RAM lies");
  }

  /**
   * Bytes of a range that have memory of the host behind them; the others are
   * allocated at their first access.
   *
   * @param offset bytes, a multiple of 4096; @param length the same, by default up to the end
   * @throws {SystemError} EINVAL outside the memory.
   * @see mincore(2)
   */
  resident(offset = 0, length = this.size - offset): number {
    return check(this.native.resident(offset, length), "mincore(guest RAM)", "asking what is resident");
  }

  /**
   * A copy of this memory, which shares with it what neither has written since. Nobody may
   * write the memory meanwhile. Costs time for the pages that were written since the last fork.
   *
   * @throws {SystemError} EOPNOTSUPP for memory from the pool of huge pages.
   */
  fork(): GuestRam {
    const handle = new native.GuestRam();
    check(this.native.fork(handle), "mmap(guest RAM)", "sharing guest RAM with a copy");
    return new GuestRam(handle);
  }

  /**
   * Which pages of a range hold something else than zeros: a bit a page, bit 0 of byte 0 the
   * first. Pages that nobody touched stay without memory.
   *
   * @param offset bytes, a multiple of 4096; @param length the same
   * @throws {SystemError} EINVAL outside the memory.
   */
  contents(offset: number, length: number): Uint8Array {
    const bitmap = new Uint8Array(Math.ceil(length / PAGE / 8));
    check(this.native.contents(offset, length, bitmap), "read(guest RAM)", "looking for guest RAM in use");
    return bitmap;
  }

  /**
   * Returns pages to the host: they read as zero, as after power-on.
   * @param offset bytes, a multiple of 4096; @param length the same; by default all of it
   * @throws {SystemError} EINVAL outside the memory.
   */
  discard(offset = 0, length = this.size - offset): void {
    check(this.native.discard(offset, length), "fallocate(guest RAM)", "returning guest RAM to the host");
  }

  /**
   * Detaches the ArrayBuffers of this handle and closes it. The memory is unmapped
   * when no handle, VM or view uses it, at the earliest in the next turn of the event
   * loop. Closing twice does nothing.
   */
  close(): void {
    this.native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
