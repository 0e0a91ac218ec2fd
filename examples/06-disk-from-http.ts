/**
 * Disks that are not files: one on an HTTP server, one in a Buffer.
 *
 * A disk is an object with a size and a method to read, which the machine or the
 * NBD server calls when it needs bytes. HttpDisk fetches only the ranges that are
 * read, so an image of gigabytes is available at once. Writes go to an overlay in
 * memory, which is lost when the program ends.
 *
 *     npm run example -- 06-disk-from-http [URL]
 *
 * boots a guest whose root disk is in a Buffer (/dev/vda), and whose second disk
 * is on the HTTP server (/dev/vdb). The same disks for NBD clients, without KVM:
 *
 *     node build/tools/examples/06-disk-from-http.js --serve [URL]
 *     qemu-io -f raw -c "read -v 0 64" nbd://127.0.0.1:…
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { createVm } from "vmexit";
import { type DiskSource, serveNbd } from "vmexit/block";

const BLOCK = 64 * 1024; // the unit of the overlay

/** A disk in a Buffer. Its methods complete before they return, so they need no promises. */
class BufferDisk implements DiskSource {
  readonly size: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.size = bytes.length;
    this.#bytes = bytes;
  }

  read(offset: number, views: readonly Uint8Array[]): void {
    let at = offset;
    for (const view of views) {
      view.set(this.#bytes.subarray(at, at + view.length));
      at += view.length;
    }
  }

  write(offset: number, views: readonly Uint8Array[]): void {
    let at = offset;
    for (const view of views) {
      this.#bytes.set(view, at);
      at += view.length;
    }
  }
}

/** A disk on an HTTP server, with an overlay in memory. */
class HttpDisk implements DiskSource {
  readonly size: number;
  readonly blockSize = 4096;
  readonly #url: string;
  /** Blocks that were written to, by number. Promises, because two writes may need the same block at once. */
  readonly #overlay = new Map<number, Promise<Uint8Array>>();

  private constructor(url: string, size: number) {
    this.#url = url;
    this.size = size;
  }

  static async open(url: string): Promise<HttpDisk> {
    const { ok, status, headers } = await fetch(url, { method: "HEAD" });
    if (!ok) throw new Error(`${url}: the server says ${status}`);
    if (headers.get("accept-ranges") !== "bytes") throw new Error(`${url}: the server has no range requests`);
    const length = Number(headers.get("content-length"));
    return new HttpDisk(url, length - (length % 512));
  }

  async read(offset: number, views: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    for (const view of views) {
      await this.#readInto(view, at);
      at += view.length;
    }
  }

  async write(offset: number, views: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    for (const view of views) {
      for (const { block, start, from, to } of parts(at, view.length)) {
        const ours = await this.#own(block);
        ours.set(view.subarray(from, to), start);
      }
      at += view.length;
    }
  }

  /** Reads each run of blocks that were not written to in one request. */
  async #readInto(view: Uint8Array, offset: number): Promise<void> {
    let remote: { from: number; to: number } | undefined;
    const fetchRun = async () => {
      if (remote !== undefined)
        await this.#fetch(view.subarray(remote.from, remote.to), offset + remote.from);
      remote = undefined;
    };
    for (const { block, start, from, to } of parts(offset, view.length)) {
      const ours = this.#overlay.get(block);
      if (ours === undefined) {
        remote = { from: remote?.from ?? from, to };
        continue;
      }
      await fetchRun();
      view.set((await ours).subarray(start, start + to - from), from);
    }
    await fetchRun();
  }

  #own(block: number): Promise<Uint8Array> {
    const known = this.#overlay.get(block);
    if (known !== undefined) return known;
    const bytes = new Uint8Array(Math.min(BLOCK, this.size - block * BLOCK));
    const fetched = this.#fetch(bytes, block * BLOCK).then(() => bytes);
    this.#overlay.set(block, fetched);
    // After a failure of the server, the next write tries again.
    fetched.catch(() => this.#overlay.delete(block));
    return fetched;
  }

  async #fetch(view: Uint8Array, offset: number): Promise<void> {
    const range = `bytes=${offset}-${offset + view.length - 1}`;
    const { status, body } = await fetch(this.#url, { headers: { range } });
    if (status !== 206 || body === null) throw new Error(`${this.#url}: ${range}: the server says ${status}`);
    let done = 0;
    for await (const chunk of body) {
      if (done + chunk.length > view.length) throw new Error(`${this.#url}: ${range}: the server sends more`);
      view.set(chunk, done);
      done += chunk.length;
    }
    if (done < view.length) throw new Error(`${this.#url}: ${range}: the server sends ${done} bytes only`);
  }
}

/** The blocks of a range, and the bytes of the range that are in each. */
function* parts(offset: number, length: number) {
  for (let from = 0; from < length; ) {
    const block = Math.floor((offset + from) / BLOCK);
    const start = offset + from - block * BLOCK;
    const to = Math.min(length, from + BLOCK - start);
    yield { block, start, from, to };
    from = to;
  }
}

/** A server with 1 MiB of text, for use without a URL. */
async function ownServer(): Promise<string> {
  const disk = Buffer.alloc(2 ** 20, "A disk that an HTTP server has. ");
  const server = createServer(({ headers }, response) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
    const bytes = first === undefined ? disk : disk.subarray(Number(first), Number(last) + 1);
    const lengths = { "accept-ranges": "bytes", "content-length": bytes.length };
    response.writeHead(first === undefined ? 200 : 206, lengths).end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
  server.unref();
  const address = server.address();
  return `http://localhost:${typeof address === "object" ? address?.port : ""}/`;
}

/** Serves the disks to NBD clients, until Ctrl-C. */
async function serve(disks: Record<string, DiskSource>): Promise<void> {
  for (const [name, disk] of Object.entries(disks)) {
    const { uri } = await serveNbd(disk);
    console.log(`${name}: ${disk.size} bytes at ${uri}`);
  }
}

/** Commands that the guest runs as root before it powers off. */
const SCRIPT = `
df -h /
echo "vdb: $(head -c 32 /dev/vdb)"
printf 'Now it has what a guest wrote.  ' | dd of=/dev/vdb bs=32 conv=notrunc,fsync 2>/dev/null
echo 3 > /proc/sys/vm/drop_caches
echo "vdb: $(head -c 64 /dev/vdb)"
`;

/** Boots the guest of docs/guest.md from a disk in memory. */
async function boot(folder: string, http: DiskSource): Promise<void> {
  const root = new BufferDisk(await readFile(join(folder, "root.img")));
  await using vm = await createVm({
    memory: "256M",
    kernel: join(folder, "vmlinuz"),
    initrd: join(folder, "initrd.img"),
    cmdline: `console=ttyS0 root=/dev/vda quiet vmexit.run=${Buffer.from(SCRIPT).toString("base64")}`,
    drives: [{ source: root }, { source: http }],
  });
  vm.on("error", (error) => console.error(error.message));
  vm.serial.pipe(process.stdout);
  await vm.start();
  const { reason } = await vm.exited;
  console.log(`\n${vm.name}: ${reason}`);
  console.table(vm.stats().drives);
}

const args = process.argv.slice(2);
const wantsServers = args[0] === "--serve";
const http = await HttpDisk.open(args[wantsServers ? 1 : 0] ?? (await ownServer()));
const folder = process.env.VMEXIT_GUEST_DIR;
if (wantsServers) await serve({ http, buffer: new BufferDisk(Buffer.alloc(2 ** 20)) });
else if (folder !== undefined) await boot(folder, http);
else throw new Error("give the folder of the guest: VMEXIT_GUEST_DIR=$(lab/guest/build)");
