/**
 * What a caller of createVm may say, and what it means. validate.ts checks it.
 */
import type { DiskSource } from "../disk/disk-source.ts";
import type { DetectZeroes } from "../disk/guest-disk.ts";
import type { ThrottleLimits } from "../disk/throttle.ts";
import type { AsyncEngine } from "../sys/async-io.ts";
import type { ErrorPolicy } from "../virtio/blk/blk-requests.ts";

/** How a disk uses the host's page cache, and what its writes promise, as QEMU's cache=. */
export const CACHE_MODES = ["writeback", "none", "writethrough", "directsync", "unsafe"] as const;
export type CacheMode = (typeof CACHE_MODES)[number];

/** A disk. */
export interface DriveOptions {
  /** Path of a file or a block device, or an NBD export: "nbd://host/export". Either this or `source` is given. */
  readonly file?: string;
  /** A disk that the program provides. It runs on the caller's thread, and is closed with the machine. */
  readonly source?: DiskSource;
  /**
   * How the disk is stored in the file. Without it "raw", and then the file must not look like
   * another format. All but raw and qcow2 need `readOnly` or `snapshot`.
   */
  readonly format?: "raw" | "qcow2" | "vmdk" | "vpc" | "vhdx" | "vdi";
  /** Which other files a qcow2 image may name: those in its own folder and below (the default), or any. */
  readonly otherFiles?: "folder" | "anywhere";
  /** Bytes that the L2 tables of a qcow2 image may take in memory, for each image of its chain; refcounts take up to a quarter of that. Default 32 MiB. */
  readonly cacheBytes?: number;
  readonly readOnly?: boolean;
  /** What GET_ID answers, at most 20 bytes of ASCII; by default made from the drive's number. */
  readonly serial?: string;
  /** Request queues; by default one per CPU. */
  readonly queues?: number;
  /** False starts with the write cache off: each write is on stable storage when it completes. Default: as `cache` says. */
  readonly writeCache?: boolean;
  /**
   * writeback (the default): through the host's page cache; stable once flushed.
   * writethrough: stable with each write. none, directsync: the same two past the
   * page cache (O_DIRECT). unsafe: flushes do nothing; for what may be lost.
   */
  readonly cache?: CacheMode;
  /** What carries requests out: io_uring (the default), or threads; these also where io_uring is not permitted. */
  readonly aio?: AsyncEngine;
  /** Whether storage that the guest discards is given back to the host (the default). */
  readonly discard?: "unmap" | "ignore";
  /** What becomes of writes of nothing but zeros: a hole in the image ("on"), which gives its storage back ("unmap"). Default "off". */
  readonly detectZeroes?: DetectZeroes;
  /** What becomes of reads that the host failed. Default "report". */
  readonly rerror?: ErrorPolicy;
  /** What becomes of writes, flushes and discards that the host failed. Default "report". */
  readonly werror?: ErrorPolicy;
  readonly throttling?: ThrottleLimits;
  /** What the guest writes goes to a temporary file, which vanishes with the machine; the image stays as it is. */
  readonly snapshot?: boolean;
}

/** Registers of a device that the program itself provides. It runs on the caller's thread. */
export interface DeviceHandlers {
  /** Answers a load of `size` bytes (1, 2 or 4) at `offset` from the start of the range. */
  read?(offset: number, size: number): number | Promise<number>;
  /** Takes a store. The guest goes on when the promise is settled. */
  write?(offset: number, size: number, value: number): void | Promise<void>;
}

/** Where a program's own device answers: at an I/O port or in memory, `length` bytes from there on. */
export interface DeviceOptions {
  readonly name: string;
  readonly port?: number;
  readonly address?: number;
  readonly length: number;
  readonly handlers: DeviceHandlers;
}

export interface VmOptions {
  /** For messages. */
  readonly name?: string;
  /** Only microvm is known. */
  readonly machine?: "microvm";
  /** Bytes, or a number with K, M, G or T: "256M". Default 128M; a multiple of 4 KiB from 1M on. */
  readonly memory?: number | string;
  /** How guest RAM is backed by the host: a memfd (shared, the default) or private anonymous memory. */
  readonly memoryBacking?: "memfd" | "anonymous";
  /** CPUs, 1 by default. */
  readonly cpus?: number;
  /**
   * A bzImage, an ELF vmlinux with a PVH entry, a Multiboot 1 kernel, or, with
   * `loadAddress`, a flat real-mode binary: a path or the bytes.
   */
  readonly kernel: string | Uint8Array;
  /** Guest-physical address below 1 MiB at which a flat binary is loaded and entered in real mode. */
  readonly loadAddress?: number;
  readonly initrd?: string | Uint8Array;
  readonly cmdline?: string;
  readonly drives?: readonly DriveOptions[];
  /** 16550A ports COM1 and up, 1 to 4. Default 1. */
  readonly serialPorts?: number;
  /** Adds a virtio entropy device. Default false. */
  readonly rng?: boolean;
  readonly devices?: readonly DeviceOptions[];
  /** What a guest's own reset does: start it again ("reset", the default) or end the machine ("exit"). */
  readonly onReset?: "reset" | "exit";
  /** Called for each access to a port or address where no device answers. Slow: for looking, not for running. */
  readonly onUnclaimed?: (access: UnclaimedAccess) => void;
  /** Default "/dev/kvm". */
  readonly kvm?: string;
}

/** An access that no device answered. */
export interface UnclaimedAccess {
  readonly space: "port" | "memory";
  readonly direction: "read" | "write";
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** What was written; all ones for a read. */
  readonly value: number;
}
