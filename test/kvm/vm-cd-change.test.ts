/** The medium of a CD drive is changed while a guest uses it; the guest sends the packets that the test types. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createVm, type DriveOptions, restoreVm, type VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { outByte } from "../support/flat-machine.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-cd-"));
afterAll(() => rmSync(folder, { recursive: true }));

const BLOCK = 2048;
const PROMPT_MS = 20_000;

/** A CD of `blocks` blocks, full of a byte. */
function disc(name: string, blocks: number, byte: number): string {
  const file = join(folder, name);
  writeFileSync(file, Buffer.alloc(blocks * BLOCK, byte));
  return file;
}

const port = (number: number) => [0xba, number & 0xff, number >> 8]; // mov dx, number
const PACKET = 0x800;
const DATA = 0x900;
/** in al, dx; test al, 0x80; jnz: waits until BSY is clear. */
const WAIT = [...port(0x177), 0xec, 0xa8, 0x80, 0x75, 0xfb];

/** mov di, PACKET; mov cx, 12; each: waits for a byte on COM1; stosb; loop. */
const TAKE_PACKET = [
  ...[0xbf, PACKET & 0xff, PACKET >> 8, 0xb9, 12, 0],
  ...[...port(0x3fd), 0xec, 0xa8, 0x01, 0x74, 0xfb],
  ...[...port(0x3f8), 0xec, 0xaa, 0xe2, 0xf1],
];
const SEND_PACKET = [
  ...[...outByte(0x176, 0xa0), ...outByte(0x171, 0), ...outByte(0x174, 0), ...outByte(0x175, 0x08)],
  ...[...outByte(0x177, 0xa0), ...WAIT],
  ...[0xbe, PACKET & 0xff, PACKET >> 8, 0xb9, 6, 0, ...port(0x170), 0xf3, 0x6f], // rep outsw
];
/** Without DRQ skips what follows; else: cx = the byte count; in words; rep insw; rep outsb to COM1. */
const TAKE_DATA = [
  ...[...port(0x175), 0xec, 0x88, 0xc7, ...port(0x174), 0xec, 0x88, 0xc3], // bx = byte count
  ...[0x89, 0xd9, 0xd1, 0xe9, 0xbf, DATA & 0xff, DATA >> 8, ...port(0x170), 0xf3, 0x6d],
  ...[0xbe, DATA & 0xff, DATA >> 8, 0x89, 0xd9, ...port(0x3f8), 0xf3, 0x6e],
];
const AFTER_PACKET = [...WAIT, 0xa8, 0x08, 0x74, TAKE_DATA.length + 2, ...TAKE_DATA];
/** Then an "=", the error register, and "\n". */
const ANSWERED = [
  ...[...outByte(0x3f8, 0x3d), ...port(0x171), 0xec, ...port(0x3f8), 0xee, ...outByte(0x3f8, 0x0a)],
];
const jump = (distance: number) => [0xe9, distance & 0xff, (distance >> 8) & 0xff]; // jmp near
const ONCE = [...TAKE_PACKET, ...SEND_PACKET, ...AFTER_PACKET];
const LOOP = [...ONCE, 0xeb, -(AFTER_PACKET.length + 2) & 0xff, ...ANSWERED];
const CODE = [...outByte(0x376, 2), 0xfc, ...LOOP, ...jump(-(LOOP.length + 3))];

class CdGuest {
  readonly vm: VirtualMachine;

  constructor(vm: VirtualMachine) {
    this.vm = vm;
  }

  static async start(drive: DriveOptions): Promise<CdGuest> {
    const vm = await createVm({
      ...{ machine: "pc", memory: "2M", loadAddress: 0x1000, onReset: "exit", drives: [drive] },
      kernel: Uint8Array.from(CODE),
    });
    await vm.start();
    return new CdGuest(vm);
  }

  get drive() {
    return this.vm.drives[0];
  }

  /** Sends a packet; returns the data, and the sense key. */
  async ask(...packet: number[]): Promise<{ data: Buffer; key: number }> {
    const done = new Promise<Buffer>((resolve) => {
      const chunks: Buffer[] = [];
      const listen = (chunk: Buffer) => {
        chunks.push(chunk);
        const all = Buffer.concat(chunks);
        if (all.at(-1) !== 0x0a || all.at(-3) !== 0x3d) return;
        this.vm.serial.off("data", listen);
        resolve(all);
      };
      this.vm.serial.on("data", listen);
    });
    this.vm.serial.write(Uint8Array.from({ length: 12 }, (_, n) => packet[n] ?? 0));
    const all = await done;
    return { data: all.subarray(0, -3), key: all[all.length - 2] >> 4 };
  }

  async sense(...packet: number[]): Promise<number[]> {
    const { key } = await this.ask(...packet);
    const { data } = await this.ask(3, 0, 0, 0, 18);
    expect(data[2]).toBe(key);
    return [key, data[12]];
  }

  /** The first byte of the first block, and how many blocks there are. */
  async contents(): Promise<number[]> {
    const { data: capacity } = await this.ask(0x25);
    const { data: block } = await this.ask(0x28, 0, 0, 0, 0, 0, 0, 0, 1);
    expect(block).toEqual(Buffer.alloc(BLOCK, block[0]));
    return [block[0], capacity.readUInt32BE(0) + 1];
  }
}

const cd = (file?: string): DriveOptions => ({
  ...{ interface: "ide", media: "cdrom", index: 2 },
  ...(file === undefined ? {} : { file, format: "raw" }),
});

const TEST_READY = 0x00;
const OK = [0, 0];
const NOT_READY = [2, 0x3a];
const CHANGED = [6, 0x28];
const limits = { timeout: patience(PROMPT_MS) };

test(
  "a CD is inserted, changed and ejected; after a reset the last one is in the drive",
  limits,
  async () => {
    const guest = await CdGuest.start(cd());
    await using vm = guest.vm;
    expect(await guest.sense(TEST_READY)).toEqual(NOT_READY);
    await guest.drive.insert(disc("first.iso", 4, 0x41));
    expect(await guest.sense(TEST_READY)).toEqual(CHANGED);
    expect(await guest.contents()).toEqual([0x41, 4]);
    await guest.drive.insert(disc("second.iso", 7, 0x42));
    expect(await guest.sense(TEST_READY)).toEqual(CHANGED);
    expect(await guest.contents()).toEqual([0x42, 7]);
    await vm.pause();
    await guest.drive.eject();
    await vm.resume();
    expect(await guest.sense(TEST_READY)).toEqual(NOT_READY);
    await guest.drive.insert(disc("third.iso", 5, 0x43));
    expect(await guest.sense(TEST_READY)).toEqual(CHANGED);
    await vm.reset();
    expect(await guest.sense(TEST_READY)).toEqual(OK);
    expect(await guest.contents()).toEqual([0x43, 5]);
    expect(vm.stats().drives[0]).toMatchObject({ errors: 0, bytesRead: 3 * BLOCK });
  },
);

test("a tray that the guest has opened stays open when the machine is reset", limits, async () => {
  const guest = await CdGuest.start(cd(disc("tray.iso", 4, 0x41)));
  await using vm = guest.vm;
  expect(await guest.sense(0x1b, 0, 0, 0, 2)).toEqual(OK);
  for (let resets = 0; resets < 2; resets++) {
    await vm.reset();
    expect(await guest.sense(TEST_READY)).toEqual(NOT_READY);
  }
  expect(await guest.sense(0x1b, 0, 0, 0, 3)).toEqual(OK);
  expect(await guest.sense(TEST_READY)).toEqual(CHANGED);
  await vm.reset();
  expect(await guest.contents()).toEqual([0x41, 4]);
});

test("a drive that the guest has locked stays closed, unless by force", limits, async () => {
  const guest = await CdGuest.start(cd(disc("locked.iso", 4, 0x41)));
  await using _ = guest.vm;
  expect(await guest.sense(0x1e, 0, 0, 0, 1)).toEqual(OK);
  const other = disc("other.iso", 5, 0x42);
  for (const change of [() => guest.drive.eject(), () => guest.drive.insert(other)]) {
    await expect(change()).rejects.toMatchObject({
      name: "DriveError",
      code: "EBUSY",
      message: expect.stringMatching(/the guest has locked the drive/),
    });
  }
  // GET EVENT STATUS NOTIFICATION: somebody wants it open.
  const { data: events } = await guest.ask(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8);
  expect(events[4]).toBe(1);
  expect(await guest.contents()).toEqual([0x41, 4]);
  await guest.drive.insert(other, { force: true });
  expect(await guest.sense(TEST_READY)).toEqual(CHANGED);
  expect(await guest.contents()).toEqual([0x42, 5]);
});

test("what cannot be inserted leaves the drive as it is; disks have no other medium", limits, async () => {
  const guest = await CdGuest.start(cd(disc("stays.iso", 4, 0x41)));
  await using _ = guest.vm;
  await expect(guest.drive.insert(join(folder, "missing.iso"))).rejects.toMatchObject({ code: "ENOENT" });
  await expect(guest.drive.insert("nbd://localhost/cd")).rejects.toMatchObject({ code: "ENOTSUP" });
  await expect(guest.drive.insert("")).rejects.toMatchObject({ code: "EOPTION" });
  expect(await guest.contents()).toEqual([0x41, 4]);
  await using disk = await createVm({
    ...{ machine: "pc", memory: "2M", loadAddress: 0x1000, kernel: Uint8Array.of(0xf4) },
    drives: [{ interface: "ide", file: disc("disk.img", 4, 0), format: "raw" }],
  });
  await expect(disk.drives[0].eject()).rejects.toMatchObject({ name: "DriveError", code: "ENOTSUP" });
  await guest.vm.stop();
  await expect(guest.drive.eject()).rejects.toMatchObject({ code: "ESTATE" });
});

test("a snapshot is of the medium that is in the drive when it is made", limits, async () => {
  const second = disc("saved.iso", 9, 0x42);
  const dir = join(folder, "snapshot");
  {
    const guest = await CdGuest.start(cd(disc("before.iso", 4, 0x41)));
    await using vm = guest.vm;
    await vm.mark();
    await guest.drive.insert(second);
    await expect(vm.rewind()).rejects.toMatchObject({ code: "ESTATE" });
    expect(await guest.sense(TEST_READY)).toEqual(CHANGED);
    await vm.snapshot({ dir });
  }
  await expect(restoreVm(dir, { drives: [cd(join(folder, "before.iso"))] })).rejects.toThrow(
    /is not as it was when the machine was saved/,
  );
  const guest = new CdGuest(await restoreVm(dir, { drives: [cd(second)] }));
  await using vm = guest.vm;
  await vm.resume();
  expect(await guest.sense(TEST_READY)).toEqual(OK);
  expect(await guest.contents()).toEqual([0x42, 9]);
});
