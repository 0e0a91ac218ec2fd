import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Pieces } from "../../../src/base/pieces.ts";
import { DumpBackend, openDump } from "../../../src/net/dump.ts";
import { FakeBackend, frameTo } from "../../support/net-rig.ts";
import { TestMemory } from "../../support/virtio-driver.ts";

/** RAM offset of the first byte of test RAM. */
const FIRST = 0x3000;

test("frames in both directions are in the file, as far as was asked for", () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-dump-"));
  const file = join(folder, "frames.pcap");
  const memory = new TestMemory();
  const bare = new FakeBackend(memory);
  const dump = openDump(file, 40);
  const card = new DumpBackend(bare, memory, dump);

  memory.bytes.set([1, 2, 3, 4, 5], FIRST);
  card.send(0, new Uint8Array(12), Pieces.of(FIRST, 2, FIRST + 2, 3));
  bare.isFull = true;
  card.send(0, new Uint8Array(12), Pieces.of(FIRST, 5)); // not taken: it will come again
  bare.incoming.push(frameTo([1, 2, 3, 4, 5, 6], 60));
  card.receive(0, new Uint8Array(100));
  card.receive(0, new Uint8Array(100)); // nothing there
  dump.close();

  const bytes = readFileSync(file);
  rmSync(folder, { recursive: true });
  expect(bytes.readUInt32LE(0)).toBe(0xa1b2c3d4);
  expect(bytes.readUInt32LE(20)).toBe(1); // Ethernet
  const record = (at: number) => [bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12)];
  expect(record(24)).toEqual([5, 5]);
  expect([...bytes.subarray(40, 45)]).toEqual([1, 2, 3, 4, 5]);
  expect(Math.abs(bytes.readUInt32LE(24) - Date.now() / 1000)).toBeLessThan(60);
  expect(record(45)).toEqual([40, 60]);
  expect(bytes.length).toBe(45 + 16 + 40);
});
