/**
 * A program that writes to a qcow2 image until it is killed:
 *
 *   node qcow2-writer.mjs IMAGE SEED [WRITES]
 *
 * With WRITES it kills itself after so many writes to the file: between any two
 * system calls, not only in those that take long.
 *
 * It prints a line before each change and after each flush:
 * "write TAG SECTOR SECTORS", "zero 0 SECTOR SECTORS", "discard 0 SECTOR SECTORS", "flush". A
 * write fills its sectors with its tag, a 32-bit number.
 */
import { writeSync } from "node:fs";
import { writeDisk } from "../../dist/disk/image.js";
import { openQcow2 } from "../../dist/images/qcow2/open.js";
import { HostFile } from "../../dist/sys/file.js";

const [path, seed, writes] = process.argv.slice(2);
const say = (line) => writeSync(1, `${line}\n`);

let state = Number(seed) >>> 0;
function draw(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const image = openQcow2(path, { cacheBytes: 1 });
let left = writes === undefined ? Number.POSITIVE_INFINITY : Number(writes);
for (const name of ["write", "writev", "discard"]) {
  const original = HostFile.prototype[name];
  HostFile.prototype[name] = function (...args) {
    if (left-- === 0) process.kill(process.pid, "SIGKILL");
    return original.apply(this, args);
  };
}
const sectors = image.size / 512;
say("ready");
for (let tag = 1 + draw(2 ** 31); ; tag++) {
  const first = draw(sectors);
  const count = 1 + draw(Math.min(sectors - first, draw(8) === 0 ? 2048 : 48));
  switch (draw(12)) {
    case 0:
      if (image.flush() === 0) say("flush");
      break;
    case 1:
      say(`zero 0 ${first} ${count}`);
      image.writeZeroes(first * 512, count * 512, draw(2) === 0);
      break;
    case 2:
      say(`discard 0 ${first} ${count}`);
      image.discard(first * 512, count * 512);
      break;
    default: {
      const bytes = new Uint32Array(count * 128).fill(tag);
      say(`write ${tag} ${first} ${count}`);
      writeDisk(image, new Uint8Array(bytes.buffer), first * 512);
    }
  }
}
