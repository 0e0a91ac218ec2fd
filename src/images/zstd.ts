/**
 * Zstandard, synchronous: Node's own where it has one (from
 * 22.15 and 23.8 on), else the C library compiled to WebAssembly.
 *
 * That is @bokuweb/zstd-wasm, which is loaded when the first cluster needs it.
 * Its own start is asynchronous, and its `decompress` allocates whatever size a frame
 * claims. So the Emscripten module in it is used directly: `instantiateWasm` allows a
 * synchronous start, and ZSTD_decompress takes a limit.
 *
 * Source: zstd.h, Simple API and Explicit context; Emscripten's Module object.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** As in qemu-img: ZSTD_CLEVEL_DEFAULT. */
const LEVEL = 3;

export interface Zstd {
  /** One frame. */
  compress(bytes: Uint8Array): Uint8Array;
  /** Decompresses a frame to the start of `into`. Returns how many bytes. @throws {Error} if it is damaged, or does not fit */
  decompress(frame: Uint8Array, into: Uint8Array): number;
}

let engine: Zstd | undefined;
let wasm: WasmZstd | undefined;

export function zstd(): Zstd {
  engine ??= bestZstd();
  return engine;
}

/** zlib is loaded when it is needed: it takes Node ten milliseconds. */
function bestZstd(): Zstd {
  const zlib = process.getBuiltinModule("node:zlib");
  return hasZstd(zlib) ? new NodeZstd(zlib) : wasmZstd();
}

/** The one in WebAssembly, also where Node has its own. There is one in each thread, because there is one module. */
export function wasmZstd(): Zstd {
  wasm ??= new WasmZstd();
  return wasm;
}

/** The additional part of a newer Node's zlib. */
interface ZstdZlib {
  zstdCompressSync(bytes: Uint8Array): Uint8Array;
  zstdDecompressSync(frame: Uint8Array, options: { readonly maxOutputLength: number }): Uint8Array;
}

function hasZstd(module: object): module is ZstdZlib {
  return "zstdCompressSync" in module && "zstdDecompressSync" in module;
}

class NodeZstd implements Zstd {
  readonly #zlib: ZstdZlib;

  constructor(module: ZstdZlib) {
    this.#zlib = module;
  }

  compress(bytes: Uint8Array): Uint8Array {
    return this.#zlib.zstdCompressSync(bytes);
  }

  decompress(frame: Uint8Array, into: Uint8Array): number {
    const bytes = this.#zlib.zstdDecompressSync(frame, { maxOutputLength: Math.max(1, into.length) });
    into.set(bytes);
    return bytes.length;
  }
}

/** The part of WebAssembly that is needed; TypeScript declares it only together with all types of browsers. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: object };
};

/** Addresses in its memory are numbers; 0 is none. */
interface ZstdModule {
  /** The memory, until the next call that may need more of it. */
  readonly HEAPU8: Uint8Array;
  instantiateWasm: (imports: object, started: (instance: object) => void) => object;
  init(): void;
  _malloc(bytes: number): number;
  _free(place: number): void;
  _ZSTD_isError(result: number): number;
  _ZSTD_compressBound(bytes: number): number;
  _ZSTD_createCCtx(): number;
  _ZSTD_compress_usingDict(
    context: number,
    to: number,
    most: number,
    from: number,
    bytes: number,
    dictionary: number,
    dictionaryBytes: number,
    level: number,
  ): number;
  _ZSTD_decompress(to: number, most: number, from: number, bytes: number): number;
}

function startModule(): ZstdModule {
  const require = createRequire(import.meta.url);
  const folder = dirname(require.resolve("@bokuweb/zstd-wasm"));
  const { Module: module }: { Module: ZstdModule } = require(join(folder, "zstd.js"));
  module.instantiateWasm = (imports, started) => {
    const code = new WebAssembly.Module(readFileSync(join(folder, "zstd.wasm")));
    const instance = new WebAssembly.Instance(code, imports);
    started(instance);
    return instance.exports;
  };
  module.init();
  return module;
}

class WasmZstd implements Zstd {
  readonly #module = startModule();
  /** The address of the input, followed by the output. */
  #place = 0;
  #room = 0;
  #context = 0;

  compress(bytes: Uint8Array): Uint8Array {
    const module = this.#module;
    const most = module._ZSTD_compressBound(bytes.length);
    const from = this.#put(bytes, most);
    const to = from + bytes.length;
    this.#context ||= module._ZSTD_createCCtx();
    const { length } = bytes;
    const made = module._ZSTD_compress_usingDict(this.#context, to, most, from, length, 0, 0, LEVEL) >>> 0;
    if (module._ZSTD_isError(made) !== 0) throw new Error(`zstd cannot compress: error ${made | 0}`);
    return module.HEAPU8.slice(to, to + made);
  }

  decompress(frame: Uint8Array, into: Uint8Array): number {
    const module = this.#module;
    const from = this.#put(frame, into.length);
    const to = from + frame.length;
    const got = module._ZSTD_decompress(to, into.length, from, frame.length) >>> 0;
    if (module._ZSTD_isError(got) !== 0) throw new Error(`zstd error ${got | 0}`);
    into.set(module.HEAPU8.subarray(to, to + got));
    return got;
  }

  /** Copies `bytes` into the module's memory, with room for `more` bytes behind them. Returns the address. */
  #put(bytes: Uint8Array, more: number): number {
    const module = this.#module;
    const room = bytes.length + more;
    if (room > this.#room) {
      module._free(this.#place);
      this.#place = module._malloc(room);
      this.#room = this.#place === 0 ? 0 : room;
      if (this.#place === 0) throw new RangeError(`no ${room} bytes of memory for zstd`);
    }
    module.HEAPU8.set(bytes, this.#place);
    return this.#place;
  }
}
