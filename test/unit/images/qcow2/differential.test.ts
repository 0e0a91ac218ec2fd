/**
 * Random images and random operations, with QEMU's tools as the judge: whatever
 * is done here by one side is read, checked and gone on with by the other. A
 * failure names its seed.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { type CreateOptions, createQcow2 } from "../../../../src/images/qcow2/create.ts";
import type { Qcow2Image } from "../../../../src/images/qcow2/image.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { resizeQcow2 } from "../../../../src/images/qcow2/resize.ts";
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
} from "../../../../src/images/qcow2/snapshots.ts";
import { qemuCheck, qemuContents, qemuImg, qemuIo } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

/** Images in an ordinary run; VMEXIT_QCOW2_SEEDS=FIRST-LAST tries others. */
const [FIRST, LAST] = (process.env.VMEXIT_QCOW2_SEEDS ?? "1-25").split("-").map(Number);

const folder = mkdtempSync(join(tmpdir(), "vmexit-qcow2-"));
afterAll(() => rmSync(folder, { recursive: true }));

class Trial {
  readonly path: string;
  readonly options: CreateOptions;
  readonly log: string[] = [];
  /** What the disk has to have. */
  model: Uint8Array;
  readonly #draw: () => number;
  readonly #cacheBytes: number;
  readonly #snapshots = new Map<string, Uint8Array>();
  #serial = 0;
  #image: Qcow2Image | undefined;

  constructor(seed: number) {
    this.#draw = random(seed);
    this.path = join(folder, `${seed}.qcow2`);
    const version = this.#one([2, 3, 3, 3] as const);
    const extendedL2 = version === 3 && this.#chance(0.25);
    const clusterBits = this.#int(extendedL2 ? 14 : 9, this.#chance(0.1) ? 21 : 16);
    // Small clusters make small disks interesting, large ones need room for more than one.
    const most = Math.min(2 ** (clusterBits + 9), 6 * 2 ** 20);
    const size = 512 * this.#int(1, Math.max(2, Math.min(12 * 2 ** 20, most * 2) / 512));
    // QEMU looks for a relative name where it runs.
    const dataFile = version === 3 && this.#chance(0.12) ? join(folder, `${seed}.data`) : undefined;
    const raw = dataFile !== undefined && this.#chance(0.5);
    const backing = !raw && this.#chance(0.4) ? this.#makeBacking(seed, size) : undefined;
    this.options = {
      size,
      version,
      clusterSize: 2 ** clusterBits,
      extendedL2,
      ...(version === 3 && {
        refcountBits: this.#one([1, 2, 4, 8, 16, 32, 64]),
        lazyRefcounts: this.#chance(0.3),
        compressionType: this.#one(["zlib", "zstd"]),
      }),
      ...(dataFile !== undefined && { dataFile, dataFileRaw: raw }),
      ...(backing && { backingFile: backing.name, backingFormat: backing.format }),
      preallocation:
        backing === undefined && this.#chance(0.2) ? this.#one(["metadata", "falloc", "full"]) : "off",
    };
    this.model = new Uint8Array(size);
    if (backing) this.model.set(backing.bytes.subarray(0, size));
    this.#cacheBytes = this.#chance(0.5) ? 1 : 2 ** 20;
    createQcow2(this.path, this.options);
    this.log.push(JSON.stringify(this.options));
  }

  run(): void {
    for (let round = 0; round < 4; round++) {
      for (let i = this.#int(3, 12); i > 0; i--) this.#ours();
      this.#close();
      this.#compare();
      if (this.#chance(0.7)) {
        this.#theirs();
        this.#compare();
      }
    }
  }

  #compare(): void {
    const verdict = qemuCheck(this.path);
    expect(verdict, verdict.output).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
    expectSame(qemuContents(this.path), this.model, "as qemu-img reads it");
    const image = this.#open();
    const found = new Uint8Array(image.size);
    readDisk(image, found, 0);
    expectSame(found, this.model, "as we read it");
    const check = checkQcow2(image);
    expect(check).toMatchObject({ corruptions: 0, leaks: 0 });
    const theirs = JSON.parse(verdict.output.slice(verdict.output.indexOf("{")));
    expect(check.imageEndOffset).toBe(theirs["image-end-offset"]);
    expect(check.allocatedClusters).toBe(theirs["allocated-clusters"] ?? 0);
    expect(check.fragmentedClusters).toBe(theirs["fragmented-clusters"] ?? 0);
    expect(check.compressedClusters).toBe(theirs["compressed-clusters"] ?? 0);
    this.#close();
  }

  #ours(): void {
    const image = this.#open();
    const kind = this.#one([
      "write",
      "write",
      "write",
      "zero",
      "discard",
      "read",
      "flush",
      "close",
      "compress",
      "snapshot",
      "resize",
    ]);
    const [offset, length] = this.#range();
    this.log.push(`${kind} ${offset} ${length}`);
    switch (kind) {
      case "write": {
        const bytes = this.#bytes(length);
        writeDisk(image, bytes, offset);
        this.model.set(bytes, offset);
        break;
      }
      case "zero":
        expect(image.writeZeroes(offset, length, this.#chance(0.5))).toBe(0);
        this.model.fill(0, offset, offset + length);
        break;
      case "discard": {
        if (image.discard(offset, length) < 0) break;
        const after = new Uint8Array(length);
        readDisk(image, after, offset);
        for (let i = 0; i < length; i++) {
          if (after[i] !== 0 && after[i] !== this.model[offset + i])
            throw new Error(`discard made byte ${offset + i} ${after[i]}`);
        }
        this.model.set(after, offset);
        break;
      }
      case "read": {
        const found = new Uint8Array(length);
        readDisk(image, found, offset);
        expectSame(found, this.model.subarray(offset, offset + length), "in the middle");
        break;
      }
      case "flush":
        expect(image.flush()).toBe(0);
        break;
      case "close":
        this.#close();
        break;
      case "compress":
        this.#compress(image);
        break;
      case "snapshot":
        this.#snapshot(image);
        break;
      case "resize":
        this.#resize(image);
        break;
    }
  }

  #compress(image: Qcow2Image): void {
    if (this.options.dataFile !== undefined) return;
    const { clusterSize } = image.metadata.geometry;
    const first = this.#int(0, Math.ceil(image.size / clusterSize) - 1);
    for (let cluster = first; cluster < first + 3 && cluster * clusterSize < image.size; cluster++) {
      const bytes = new Uint8Array(clusterSize);
      const length = Math.min(clusterSize, image.size - cluster * clusterSize);
      bytes.set(this.#bytes(length));
      image.writeCompressed(bytes, cluster * clusterSize);
      this.model.set(bytes.subarray(0, length), cluster * clusterSize);
    }
  }

  #snapshot(image: Qcow2Image): void {
    if (this.options.dataFile !== undefined || this.options.refcountBits === 1) return;
    const [name] = this.#snapshots.keys();
    if (name === undefined || this.#chance(0.4)) {
      if (this.#snapshots.size > 1) return; // the narrowest refcounts count to three
      const fresh = `s${this.#serial++}`;
      try {
        createSnapshot(image, fresh);
      } catch (error) {
        // Several compressed clusters in one host cluster may be all that two bits hold.
        if ((this.options.refcountBits ?? 16) <= 4 && String(error).includes("too narrow")) return;
        throw error;
      }
      this.#snapshots.set(fresh, this.model.slice());
    } else if (this.#chance(0.5)) {
      try {
        applySnapshot(image, name);
      } catch (error) {
        if ((this.options.refcountBits ?? 16) <= 4 && String(error).includes("too narrow")) return;
        throw error;
      }
      this.model = this.#snapshots.get(name)?.slice() ?? this.model;
    } else {
      deleteSnapshot(image, name);
      this.#snapshots.delete(name);
    }
    expect(listSnapshots(image).map((snapshot) => snapshot.name)).toEqual([...this.#snapshots.keys()]);
  }

  #resize(image: Qcow2Image): void {
    if (this.options.version === 2 && this.#snapshots.size > 0) return;
    const size = 512 * this.#int(1, Math.floor((image.size * 1.5) / 512));
    if (size < image.size && this.#snapshots.size > 0) return;
    resizeQcow2(image, size);
    const model = new Uint8Array(size);
    model.set(this.model.subarray(0, size));
    this.model = model;
  }

  #theirs(): void {
    const commands: string[] = [];
    for (let i = this.#int(1, 6); i > 0; i--) {
      const [offset, length] = this.#range();
      const value = this.#int(1, 255);
      if (this.#chance(0.3)) {
        commands.push(`write -z ${this.#chance(0.5) ? "-u " : ""}${offset} ${length}`);
        this.model.fill(0, offset, offset + length);
      } else {
        commands.push(`write -P ${value} ${offset} ${length}`);
        this.model.fill(value, offset, offset + length);
      }
    }
    this.log.push(...commands);
    qemuIo(this.path, commands);
    if (this.options.dataFile === undefined && (this.options.refcountBits ?? 16) > 4 && this.#chance(0.3)) {
      const name = `q${this.#serial++}`;
      this.log.push(`qemu-img snapshot -c ${name}`);
      qemuImg("snapshot", "-c", name, this.path);
      this.#snapshots.set(name, this.model.slice());
    }
  }

  #makeBacking(seed: number, size: number): { name: string; format: "raw" | "qcow2"; bytes: Uint8Array } {
    const format = this.#one(["raw", "qcow2"] as const);
    const bytes = this.#bytes(512 * this.#int(1, Math.ceil((size / 512) * 1.2)));
    const name = `${seed}.base.${format}`;
    const raw = join(folder, `${seed}.base.raw`);
    writeFileSync(raw, bytes);
    if (format === "qcow2") {
      qemuImg(
        "convert",
        ...(this.#chance(0.5) ? ["-c"] : []),
        "-f",
        "raw",
        "-O",
        "qcow2",
        raw,
        join(folder, name),
      );
    }
    return { name, format, bytes };
  }

  #open(): Qcow2Image {
    this.#image ??= openQcow2(this.path, { cacheBytes: this.#cacheBytes, durable: false });
    return this.#image;
  }

  #close(): void {
    this.#image?.close();
    this.#image = undefined;
  }

  #range(): [number, number] {
    const sectors = this.model.length / 512;
    const offset = this.#int(0, sectors - 1);
    const most = this.#chance(0.7) ? Math.min(sectors, 64) : sectors;
    const length = Math.min(sectors - offset, this.#int(1, most));
    return [offset * 512, length * 512];
  }

  /** Some runs of one byte, some noise. */
  #bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const end = Math.min(length, at + this.#int(1, 20000));
      if (this.#chance(0.5)) bytes.fill(this.#int(0, 255), at, end);
      else for (let i = at; i < end; i++) bytes[i] = this.#draw() * 256;
      at = end;
    }
    return bytes;
  }

  #int(least: number, most: number): number {
    return least + Math.floor(this.#draw() * (most - least + 1));
  }

  #chance(probability: number): boolean {
    return this.#draw() < probability;
  }

  #one<T>(choices: readonly T[]): T {
    return choices[Math.floor(this.#draw() * choices.length)];
  }
}

function expectSame(found: Uint8Array, expected: Uint8Array, how: string): void {
  if (Buffer.compare(found, expected) === 0) return;
  const at = found.findIndex((byte, i) => byte !== expected[i]);
  throw new Error(
    `the disk ${how}: ${found.length} bytes for ${expected.length}, byte ${at} is ${found[at]} instead of ${expected[at]}`,
  );
}

test.each(Array.from({ length: LAST - FIRST + 1 }, (_, i) => FIRST + i))(
  "QEMU's tools and we agree on every image (seed %i)",
  { timeout: 60_000 },
  (seed) => {
    const trial = new Trial(seed);
    try {
      trial.run();
    } catch (error) {
      throw new Error(`seed ${seed}:\n${trial.log.join("\n")}`, { cause: error });
    }
  },
);
