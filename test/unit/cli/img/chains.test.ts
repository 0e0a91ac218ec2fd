/**
 * Random chains of images and random commands on them, each tool in its own
 * folder: same words, same status, and afterwards the same disks, which both
 * tools read, check and map alike. A failure names its seed and what was done.
 */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ImgPair, ours, theirs } from "../../../support/img-pair.ts";
import { sameForm } from "../../../support/old-qemu.ts";
import { qemuIo } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

/** Chains in an ordinary run; VMEXIT_CHAIN_SEEDS=FIRST-LAST tries others. */
const [FIRST, LAST] = (process.env.VMEXIT_CHAIN_SEEDS ?? "1-4").split("-").map(Number);
const COMMANDS = 6;

interface Layer {
  readonly name: string;
  readonly format: "raw" | "qcow2";
  readonly size: number;
  /** QEMU's map shows the place of subclusters that hold nothing. */
  readonly isMapped: boolean;
}

class Trial {
  readonly log: string[] = [];
  readonly #draw: () => number;
  readonly #layers: Layer[] = [];
  readonly #pair: ImgPair;
  #serial = 0;

  constructor(seed: number) {
    this.#draw = random(seed);
    this.#pair = new ImgPair((folder) => this.#makeChain(folder));
  }

  run(): void {
    for (let i = 0; i < COMMANDS; i++) {
      const words = this.#command();
      this.log.push(words.join(" "));
      const keeps = words[0] === "rebase" && !words.includes("-u") ? this.#disk(words) : undefined;
      const { vmexit } = this.#pair;
      // What is measured depends on the holes of files, and those on who copied them.
      if (words[0] === "measure") expect(ours(vmexit, words)).toEqual(theirs(vmexit, words));
      else {
        const both = this.#pair.run(words);
        expect(both.ours).toEqual(both.theirs);
      }
      if (keeps !== undefined) this.#isKept(keeps);
      for (const layer of this.#layers) this.#agree(layer);
    }
  }

  close(): void {
    this.#pair.close();
  }

  /** A base, images over it, and a disk beside them that is nearly the base's. */
  #makeChain(folder: string): void {
    const size = 512 * this.#int(64, 12_000);
    this.#makeLayer(folder, "base", size, undefined);
    for (let i = this.#int(1, 3); i > 0; i--) {
      const below = this.#layers[this.#layers.length - 1];
      const other = this.#chance(0.3) ? 512 * this.#int(64, 14_000) : below.size;
      this.#makeLayer(folder, `over${this.#layers.length}`, other, below);
    }
    this.#makeLayer(folder, "other", this.#chance(0.6) ? size : 512 * this.#int(64, 14_000), undefined);
  }

  #makeLayer(folder: string, name: string, size: number, below: Layer | undefined): void {
    const format = below === undefined && this.#chance(0.4) ? "raw" : "qcow2";
    const extended = format === "qcow2" && this.#chance(0.2);
    const clusterBits = this.#int(extended ? 14 : 9, 17);
    const words = ["create", "-q", "-f", format];
    if (format === "qcow2") {
      const version = extended || this.#chance(0.75) ? "1.1" : "0.10";
      words.push(
        "-o",
        `cluster_size=${2 ** clusterBits},compat=${version},extended_l2=${extended ? "on" : "off"}`,
      );
    }
    if (below !== undefined) words.push("-b", below.name, "-F", below.format);
    const file = `${name}.${format}`;
    expect(theirs(folder, [...words, file, String(size)])).toMatchObject({ status: 0 });
    this.#layers.push({ name: file, format, size, isMapped: !extended });
    const writes = Array.from({ length: this.#int(0, 10) }, () => this.#write(size));
    if (writes.length > 0) qemuIo(join(folder, file), writes, format);
    this.log.push([...words, file, size, ...writes].join(" "));
  }

  #write(size: number): string {
    const at = 512 * this.#int(0, size / 512 - 1);
    const length = Math.min(size - at, 512 * this.#int(1, this.#chance(0.5) ? 16 : 1500));
    return this.#chance(0.25) ? `write -z ${at} ${length}` : `write -P ${this.#int(0, 5)} ${at} ${length}`;
  }

  #command(): string[] {
    const at = this.#int(0, this.#layers.length - 1);
    const layer = this.#layers[at];
    // Never one above: QEMU follows a chain that comes back to itself for ever.
    const other = this.#layers[this.#int(0, Math.max(0, at - 1))];
    const kinds = ["commit", "commit", "rebase", "rebase", "rebase", "unsafe", "dd", "measure", "write"];
    switch (this.#one(kinds)) {
      case "commit":
        return [
          "commit",
          ...(this.#chance(0.3) ? ["-d"] : []),
          ...this.#base(),
          "-f",
          layer.format,
          layer.name,
        ];
      case "rebase":
        if (other === layer || this.#chance(0.2)) return ["rebase", "-f", layer.format, "-b", "", layer.name];
        return ["rebase", "-f", layer.format, "-b", other.name, "-F", other.format, layer.name];
      case "unsafe":
        if (other === layer) return ["rebase", "-u", "-b", "", "-f", layer.format, layer.name];
        return ["rebase", "-u", "-f", layer.format, "-b", other.name, "-F", other.format, layer.name];
      case "dd": {
        const name = `dd${this.#serial++}.${this.#chance(0.5) ? "raw" : "qcow2"}`;
        const format = name.endsWith("raw") ? "raw" : "qcow2";
        this.#layers.push({ name, format, size: 512, isMapped: true });
        const blocks = [`bs=${this.#int(1, 60) * 100}`, `skip=${this.#int(0, 60)}`];
        return ["dd", "-f", layer.format, "-O", format, `if=${layer.name}`, `of=${name}`, ...blocks];
      }
      case "measure": {
        const size = 2 ** this.#int(9, 21);
        return ["measure", "-f", layer.format, "-O", "qcow2", "-o", `cluster_size=${size}`, layer.name];
      }
      default:
        return ["snapshot", "-c", `s${this.#serial++}`, layer.name];
    }
  }

  /** The disk that a command is about, before it is changed. Undefined if nobody can read it. */
  #disk(words: readonly string[]): Layer | undefined {
    const layer = this.#layers.find(({ name }) => name === words[words.length - 1]);
    if (layer === undefined || layer.format === "raw") return undefined;
    const { status } = theirs(this.#pair.vmexit, [
      "convert",
      "-f",
      "qcow2",
      "-O",
      "raw",
      layer.name,
      "before",
    ]);
    return status === 0 ? layer : undefined;
  }

  /** QEMU 7.2 loses the zeros of an image of version 2 that stood on nothing. */
  #isKept({ name }: Layer): void {
    const { qemu, vmexit } = this.#pair;
    const before = join(vmexit, "before");
    const compare = ["compare", "-f", "qcow2", "-F", "raw", name, before];
    expect(theirs(vmexit, compare).stdout).toBe("Images are identical.\n");
    if (theirs(qemu, compare).status !== 0) copyFileSync(join(vmexit, name), join(qemu, name));
  }

  #base(): string[] {
    return this.#chance(0.3) ? ["-b", this.#one(this.#layers).name] : [];
  }

  #agree(layer: Layer): void {
    const { qemu, vmexit } = this.#pair;
    const { name, format } = layer;
    const both = (...args: string[]) => {
      const [found, expected] = [ours(vmexit, args), theirs(vmexit, args)];
      expect(found.status).toBe(expected.status);
      return [sameForm(args, found).stdout, sameForm(args, expected).stdout];
    };
    const [info, expected] = both("info", "--output=json", "-f", format, name);
    expect(JSON.parse(info)).toEqual(JSON.parse(expected));
    const theirInfo = theirs(qemu, ["info", "--output=json", "-f", format, name]).stdout;
    expect(withoutHost(info)).toEqual(withoutHost(theirInfo));
    // A chain may lead to something of another kind by now.
    if (theirs(qemu, ["map", "-f", format, name]).status !== 0 && !this.#isReadable(layer)) return;
    if (format === "qcow2") {
      const [check, verdict] = both("check", "--output=json", "-f", format, name);
      expect(JSON.parse(check)).toEqual(JSON.parse(verdict));
      expect(JSON.parse(verdict)).not.toHaveProperty("corruptions");
      expect(JSON.parse(verdict)).not.toHaveProperty("leaks");
    }
    if (this.#layers.every(({ isMapped }) => isMapped)) {
      const [map, theirMap] = both("map", "--output=json", "-f", format, name);
      expect(withoutHoles(map)).toEqual(withoutHoles(theirMap));
    }
    const pair = ["compare", "-f", format, "-F", format, name, join(qemu, name)];
    const same = theirs(vmexit, pair);
    expect(same.stdout, same.stderr).toBe("Images are identical.\n");
    const mine = ours(vmexit, [...pair, "--other-files=anywhere"]);
    expect(mine.stdout, mine.stderr).toBe("Images are identical.\n");
  }

  #isReadable({ name, format }: Layer): boolean {
    return theirs(this.#pair.qemu, ["map", "--output=json", "-f", format, name]).status === 0;
  }

  #int(low: number, high: number): number {
    return low + Math.floor(this.#draw() * (high - low + 1));
  }

  #chance(part: number): boolean {
    return this.#draw() < part;
  }

  #one<T>(values: readonly T[]): T {
    return values[Math.floor(this.#draw() * values.length)];
  }
}

interface MapEntry {
  readonly start: number;
  readonly length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  readonly offset?: number;
}

/** Which parts of stored data are holes of the file is the host's business, and changes as it writes back. */
function withoutHoles(json: string): readonly MapEntry[] {
  const merged: MapEntry[] = [];
  const entries: readonly MapEntry[] = JSON.parse(json);
  for (const found of entries) {
    const entry = { ...found, zero: found.zero && !found.data };
    const last = merged[merged.length - 1];
    const goesOn =
      last !== undefined &&
      (["depth", "present", "zero", "data"] as const).every((key) => last[key] === entry[key]) &&
      (last.offset === undefined) === (entry.offset === undefined) &&
      (last.offset ?? 0) + (last.offset === undefined ? 0 : last.length) === (entry.offset ?? 0);
    if (goesOn) merged[merged.length - 1] = { ...last, length: last.length + entry.length };
    else merged.push(entry);
  }
  return merged;
}

/** What depends on the host's file system, and when snapshots were taken. */
function withoutHost(json: string): unknown {
  return JSON.parse(json, (key, value) => (/^(actual-size|date-n?sec)$/.test(key) ? 0 : value));
}

test.each(Array.from({ length: LAST - FIRST + 1 }, (_, i) => FIRST + i))(
  "chain %d is the same for both tools, whatever is done to it",
  { timeout: 120_000 },
  (seed) => {
    const trial = new Trial(seed);
    try {
      trial.run();
    } catch (error) {
      throw new Error(`seed ${seed}: ${error}\n${trial.log.join("\n")}`, { cause: error });
    } finally {
      trial.close();
    }
  },
);
