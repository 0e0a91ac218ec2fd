/**
 * How often each cluster of the file is used, as a check found it by going
 * through all tables. A rebuild of the refcounts finds its room here, and writes
 * this down.
 */
import { ImageError } from "../../disk/image-error.ts";

/** Clusters of a file that can be checked: a gigabyte of counters. */
const MAX_CLUSTERS = 2 ** 28;
const MAX_USES = 0xffff_ffff;

export class UseCounts {
  readonly #path: string;
  #counts: Uint32Array;
  #length: number;

  /** @throws {ImageError} for more clusters than can be checked. */
  constructor(path: string, clusters: number) {
    this.#path = path;
    this.#refuseAbove(clusters);
    this.#counts = new Uint32Array(clusters);
    this.#length = clusters;
  }

  /** Clusters that are counted: those of the file, and what was taken behind its end. */
  get length(): number {
    return this.#length;
  }

  get(cluster: number): number {
    return cluster < this.#length ? this.#counts[cluster] : 0;
  }

  add(cluster: number, times: number): void {
    this.#counts[cluster] = Math.min(MAX_USES, this.#counts[cluster] + times);
  }

  /** Takes `wanted` unused clusters that lie one behind the other: the first such from `from` on, or beyond the end. Returns the first. */
  allocate(wanted: number, from: number): number {
    let first = from;
    for (let cluster = from; cluster < this.#length && cluster < first + wanted; cluster++) {
      if (this.#counts[cluster] !== 0) first = cluster + 1;
    }
    this.#lengthen(first + wanted);
    this.#counts.fill(1, first, first + wanted);
    return first;
  }

  #lengthen(clusters: number): void {
    if (clusters > this.#counts.length) {
      this.#refuseAbove(clusters);
      const more = new Uint32Array(Math.min(MAX_CLUSTERS, clusters + 1024));
      more.set(this.#counts);
      this.#counts = more;
    }
    this.#length = Math.max(this.#length, clusters);
  }

  #refuseAbove(clusters: number): void {
    if (clusters <= MAX_CLUSTERS) return;
    throw new ImageError(this.#path, `it has ${clusters} clusters; at most ${MAX_CLUSTERS} can be checked`);
  }
}
