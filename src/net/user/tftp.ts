/**
 * A TFTP server for network boot (RFC 1350; options of RFC 2347, 2348, 2349): files of one folder, read only. Names
 * lead nowhere else: they are resolved, links included, and have to stay inside.
 */
import { type FileHandle, open, realpath } from "node:fs/promises";
import { join, sep } from "node:path";
import { get16, put16 } from "./bytes.ts";

export const TFTP_PORT = 69;
const READ_REQUEST = 1;
const DATA = 3;
const ACKNOWLEDGEMENT = 4;
const ERROR = 5;
const OPTIONS = 6;

const NOT_FOUND = 1;
const ACCESS = 2;
const ILLEGAL = 4;

const DEFAULT_BLOCK = 512;
const MAX_BLOCK = 1428;

/** A transfer: one block is in flight; the client asks again for what it lost. */
export class TftpTransfer {
  readonly #root: string;
  readonly #send: (data: Uint8Array) => void;
  #file: FileHandle | undefined;
  #size = 0;
  #blockSize = DEFAULT_BLOCK;
  /** How many blocks the client has. */
  #block = 0;
  #isBusy = false;
  #isClosed = false;

  constructor(root: string, send: (data: Uint8Array) => void) {
    this.#root = root;
    this.#send = send;
  }

  /** A datagram of the client. */
  async input(data: Uint8Array): Promise<void> {
    // One at a time: a client that sends more while it waits has sent the same again.
    if (this.#isBusy || this.#isClosed || data.length < 4) return;
    this.#isBusy = true;
    try {
      const operation = get16(data, 0);
      if (operation === READ_REQUEST) await this.#begin(data);
      else if (operation === ACKNOWLEDGEMENT) await this.#sendBlock(get16(data, 2));
      else if (operation === ERROR) await this.close();
      else this.#fail(ILLEGAL, "only reading is possible");
    } catch {
      this.#fail(NOT_FOUND, "cannot read this file");
    } finally {
      this.#isBusy = false;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #begin(request: Uint8Array): Promise<void> {
    const [name, mode = "", ...options] = Buffer.from(request.subarray(2)).toString("latin1").split("\0");
    if (mode.toLowerCase() !== "octet") {
      this.#fail(ILLEGAL, "only mode octet is possible");
      return;
    }
    const root = await realpath(this.#root);
    const path = await realpath(join(root, name)).catch(() => undefined);
    if (path === undefined || !path.startsWith(root.endsWith(sep) ? root : root + sep)) {
      this.#fail(
        path === undefined ? NOT_FOUND : ACCESS,
        path === undefined ? "file not found" : "access violation",
      );
      return;
    }
    await this.#file?.close();
    this.#file = await open(path, "r");
    const facts = await this.#file.stat();
    if (!facts.isFile()) {
      this.#fail(ACCESS, "not a file");
      return;
    }
    this.#size = facts.size;
    this.#blockSize = DEFAULT_BLOCK;
    this.#block = 0;
    const accepted = this.#negotiate(options);
    if (accepted === "") await this.#sendBlock(0);
    else this.#send(Buffer.concat([Buffer.from([0, OPTIONS]), Buffer.from(accepted, "latin1")]));
  }

  /** The options that are accepted, as they are in the answer. */
  #negotiate(options: readonly string[]): string {
    let accepted = "";
    for (let n = 0; n + 1 < options.length && n < 16; n += 2) {
      const name = options[n].toLowerCase();
      const value = Number(options[n + 1]);
      if (name === "blksize" && value >= 8) {
        this.#blockSize = Math.min(value, MAX_BLOCK);
        accepted += `blksize\0${this.#blockSize}\0`;
      } else if (name === "tsize") accepted += `tsize\0${this.#size}\0`;
    }
    return accepted;
  }

  /** The block behind the one that the client has. Numbers of a long file begin again at 0. */
  async #sendBlock(acknowledged: number): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    this.#block = nearestBlock(this.#block, acknowledged);
    const offset = this.#block * this.#blockSize;
    if (offset > this.#size) {
      await this.close();
      return;
    }
    const message = new Uint8Array(4 + this.#blockSize);
    const { bytesRead } = await file.read(message, 4, this.#blockSize, offset);
    put16(message, 0, DATA);
    put16(message, 2, (this.#block + 1) & 0xffff);
    this.#send(message.subarray(0, 4 + bytesRead));
  }

  #fail(code: number, message: string): void {
    this.#send(Buffer.concat([Buffer.from([0, ERROR, 0, code]), Buffer.from(`${message}\0`, "latin1")]));
    void this.close();
  }
}

/** The block number with these low 16 bits that follows `now` or is it. */
function nearestBlock(now: number, low: number): number {
  const ahead = (low - now) & 0xffff;
  return ahead < 0x8000 ? now + ahead : Math.max(0, now + ahead - 0x1_0000);
}
