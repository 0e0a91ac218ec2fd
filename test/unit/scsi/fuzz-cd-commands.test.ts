/**
 * Packets of any bytes for a CD drive: each gets an outcome that the drive can send, within the
 * medium and the buffer. VMEXIT_CD_PACKETS sets how many there are, of all seeds together.
 */
import { expect, test } from "vitest";
import { CdCommands, ON_ATAPI, ON_SCSI } from "../../../src/scsi/cd-commands.ts";
import { CdUnitState } from "../../../src/scsi/cd-unit.ts";
import { ANSWER, CHECK, GOOD, READ } from "../../../src/scsi/unit.ts";
import { random } from "../../support/random.ts";
import { blank } from "../../support/virtio-driver.ts";

const SEEDS = [1, 2, 3, 4];
const PACKETS = Number(process.env.VMEXIT_CD_PACKETS ?? 400_000) / SEEDS.length;
const KNOWN = [
  0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2b, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbb, 0xbd, 0xbe,
];
/** The smaller of the two buffers that answers are made in: a logical unit's. */
const BUFFER_BYTES = 512;
const SENSE_KEYS = [0x02, 0x05, 0x06];
const MOST_BLOCKS = 5_000_000;

test.each(SEEDS)(
  "seed %i",
  (seed) => {
    const next = random(seed);
    const below = (end: number) => Math.floor(next() * end);
    const regs = blank(CdUnitState);
    const buffer = new Uint8Array(BUFFER_BYTES);
    const drive = new CdCommands(regs, buffer, seed % 2 === 0 ? ON_SCSI : ON_ATAPI);
    const packet = new Uint8Array(12);
    const outcomes = new Map<number, number>();
    drive.powerOn(4 * 1000, false);
    for (let n = 0; n < PACKETS; n++) {
      for (let at = 1; at < packet.length; at++) packet[at] = next() < 0.7 ? below(2) : below(256);
      packet[0] = next() < 0.9 ? KNOWN[below(KNOWN.length)] : below(256);
      if (next() < 0.01) drive.insert(4 * below(next() < 0.5 ? 100_000 : MOST_BLOCKS));
      if (next() < 0.001) drive.eject(next() < 0.5);
      const outcome = drive.execute(packet);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      if (!isPossible(outcome))
        expect.unreachable(`${[...packet]}: outcome ${outcome}, ${drive.length} bytes`);
    }
    expect([...outcomes.keys()].sort()).toEqual([GOOD, CHECK, ANSWER, READ]);

    function isPossible(outcome: number): boolean {
      const blocks = regs.mediaSectors / 4;
      switch (outcome) {
        case GOOD:
          return true;
        case CHECK:
          return SENSE_KEYS.includes(drive.sense >> 16) && drive.sense < 1 << 24;
        case ANSWER:
          return drive.length >= 0 && drive.length <= buffer.length;
        default:
          return (
            outcome === READ && drive.blocks > 0 && drive.lba + drive.blocks <= blocks && drive.hasMedium
          );
      }
    }
  },
  600_000,
);
