/** Transfers that do not block: a sleeping waiter is woken when one completes, however it ended. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { Pieces } from "../../../src/base/pieces.ts";
import { ASYNC_ENGINES, AsyncIo } from "../../../src/sys/async-io.ts";
import { SystemError } from "../../../src/sys/errors.ts";
import { Epoll } from "../../../src/sys/event.ts";
import { HostFile } from "../../../src/sys/file.ts";
import { GuestRam } from "../../../src/sys/guest-ram.ts";

const KIB = 1024;
const MIB = 2 ** 20;
const PATIENCE_MS = 3000;

const folder = mkdtempSync(join(tmpdir(), "vmexit-async-io-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "file");
writeFileSync(path, Buffer.alloc(MIB, 7));

class Requests implements Disposable {
  readonly io: AsyncIo;
  readonly ram = GuestRam.create(MIB);
  readonly #epoll = new Epoll();
  readonly #rung = new Uint32Array(1);

  constructor(engine: (typeof ASYNC_ENGINES)[number]) {
    this.io = AsyncIo.open(engine, this.ram, 16, { eager: false });
    this.#epoll.add(this.io.event, 1);
  }

  /** The results of `count` requests that were begun, as the io thread gets them: it looks, and sleeps until it is woken. */
  results(count: number): number[] {
    const results: number[] = [];
    const late = performance.now() + PATIENCE_MS;
    this.io.submit();
    for (;;) {
      const found = this.io.reap();
      for (let i = 0; i < found; i++) results.push(this.io.results[i]);
      if (results.length === count) return results;
      if (found > 0) continue;
      // A signal may end the sleep as well, and means nothing.
      while (this.#epoll.wait(this.#rung, PATIENCE_MS) === 0) {
        if (performance.now() > late) throw new Error("nobody rang");
      }
    }
  }

  [Symbol.dispose](): void {
    this.io.close();
    this.ram.close();
    this.#epoll.close();
  }
}

const piece = (length: number) => Pieces.of(0, length);

test.each(ASYNC_ENGINES)("%s: a read that the end of the file shortens completes at once", (engine) => {
  using requests = new Requests(engine);
  using file = HostFile.open(path, { readOnly: true });
  for (let round = 0; round < 20; round++) {
    requests.io.read(0, file.native, piece(64 * KIB), MIB - 4 * KIB);
    expect(requests.results(1)).toEqual([4 * KIB]);
  }
});

test.each(ASYNC_ENGINES)("%s: requests past the page cache ring when they end", (engine) => {
  using requests = new Requests(engine);
  let file: HostFile;
  try {
    file = HostFile.open(path, { direct: true });
  } catch (error) {
    if (error instanceof SystemError && error.code === "EINVAL") return; // a file system without O_DIRECT
    throw error;
  }
  onTestFinished(() => file.close());
  for (let round = 0; round < 100; round++) {
    const handle = file.transferHandle(piece(256 * KIB), 0);
    if (handle === undefined) throw new Error("this is aligned");
    for (let i = 0; i < 4; i++) {
      const at = i * 256 * KIB;
      if (round % 2 === 0) requests.io.read(i, handle, piece(256 * KIB), at);
      else requests.io.write(i, handle, piece(256 * KIB), at, false);
    }
    expect(requests.results(4)).toEqual(new Array(4).fill(256 * KIB));
  }
});

test.each(ASYNC_ENGINES)("%s: a write that the host refuses half way completes, with the error", (engine) => {
  using requests = new Requests(engine);
  const limited = join(folder, `limited-${engine}`);
  writeFileSync(limited, "");
  using file = HostFile.open(limited);
  const limit = (bytes: string) =>
    execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${bytes}`]);
  limit(`${128 * KIB}:`);
  onTestFinished(() => void limit("unlimited:"));
  for (let round = 0; round < 5; round++) {
    requests.io.write(0, file.native, piece(64 * KIB), 96 * KIB, false);
    expect(requests.results(1)).toEqual([-27]); // EFBIG
  }
});

test("data in the page cache is moved at once, and a file that bypasses it does not end that for others", () => {
  using ram = GuestRam.create(MIB);
  using io = AsyncIo.open("threads", ram, 16);
  const written = join(folder, "written");
  writeFileSync(written, Buffer.alloc(MIB, 7));
  using file = HostFile.open(written, { readOnly: true });
  const reads = () => [1, 2, 3].map((tag) => io.read(tag, file.native, piece(4 * KIB), 4 * KIB * tag));
  expect(reads()).toEqual([4 * KIB, 4 * KIB, 4 * KIB]);
  expect(io.reap()).toBe(0);
  let direct: HostFile;
  try {
    direct = HostFile.open(path, { direct: true });
  } catch (error) {
    if (error instanceof SystemError && error.code === "EINVAL") return; // a file system without O_DIRECT
    throw error;
  }
  onTestFinished(() => direct.close());
  const handle = direct.transferHandle(piece(4 * KIB), 0);
  if (handle === undefined) throw new Error("this is aligned");
  for (let round = 0; round < 10; round++) {
    expect(io.read(0, handle, piece(4 * KIB), 0)).toBe(0);
    io.wait();
    expect(io.reap()).toBe(1);
  }
  expect(reads()).toEqual([4 * KIB, 4 * KIB, 4 * KIB]);
});
