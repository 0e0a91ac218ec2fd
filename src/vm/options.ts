/**
 * What a caller of createVm may say, and what it means. Everything is checked
 * here, once; what leaves is plain data that every thread can be given.
 */

/** A disk. */
export interface DriveOptions {
  /** Path of a file or a block device. */
  readonly file: string;
  /** How the disk is stored in the file. Without it "raw", and then the file must not look like another format. */
  readonly format?: "raw" | "qcow2";
  /** Which other files a qcow2 image may name: those in its own folder and below (the default), or any. */
  readonly otherFiles?: "folder" | "anywhere";
  readonly readOnly?: boolean;
  /** What GET_ID answers, at most 20 bytes of ASCII; by default made from the drive's number. */
  readonly serial?: string;
  /** Request queues; by default one per CPU. */
  readonly queues?: number;
  /** False starts with the write cache off: each write is on stable storage when it completes. */
  readonly writeCache?: boolean;
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
