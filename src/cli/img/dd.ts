/**
 * `vmexit img dd`: copies a part of a disk into a new image, with dd's operands.
 *
 * Source: QEMU 11.1, qemu-img.c (img_dd). In 7.2 `count` is the block of the input up
 * to which is copied; here, as with dd(1), it is the number of blocks.
 */
import { copyDisk } from "../../image-tools/copy.ts";
import { createImage } from "../../image-tools/create-image.ts";
import type { WritableFormat } from "../../images/formats.ts";
import type { OpenedImage } from "../../images/open-image.ts";
import type { MadeImage } from "../../images/qcow2/create.ts";
import type { ImgCommand, ImgOutput } from "./command.ts";
import { targetFormatRow } from "./creation.ts";
import { FORMAT, OTHER_FILES, open, REFUSED, SHARED, whyNotOpened, writableFormatNamed } from "./files.ts";
import { ImgError } from "./img-error.ts";
import { readCommandLine } from "./options.ts";
import { parseSize, sizeRangeError } from "./sizes.ts";

const MAX_BLOCK = 2 ** 31 - 1;
const SECTOR = 512;

/** The values of the operands. */
interface DdOperands {
  input: string | undefined;
  output: string | undefined;
  /** Bytes. */
  block: number;
  /** Blocks. */
  count: number | undefined;
  skip: number;
}

const OPTIONS = {
  ...FORMAT,
  targetFormat: targetFormatRow(["O", "output-format"]),
  ...SHARED,
  ...OTHER_FILES,
  ...REFUSED,
} as const;

const OPERANDS: Readonly<Record<string, (operands: DdOperands, value: string) => void>> = {
  if: (operands, value) => {
    operands.input = value;
  },
  of: (operands, value) => {
    operands.output = value;
  },
  bs: (operands, value) => {
    operands.block = parseSize(value, "bs");
    if (operands.block < 1 || operands.block > MAX_BLOCK) throw sizeRangeError("bs", 1, MAX_BLOCK);
  },
  count: (operands, value) => {
    operands.count = parseSize(value, "count");
  },
  skip: (operands, value) => {
    operands.skip = parseSize(value, "skip");
  },
};

export const dd: ImgCommand = {
  name: "dd",
  operands: "[bs=SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT",
  help: "copies a part of a disk into a new image",
  options: OPTIONS,
  run: (argv, output) => {
    const { operands: words, options: draft } = readCommandLine(argv, OPTIONS);
    const operands: DdOperands = {
      input: undefined,
      output: undefined,
      block: SECTOR,
      count: undefined,
      skip: 0,
    };
    for (const word of words) setOperand(operands, word);
    const { input, output: target } = operands;
    if (input === undefined || target === undefined) {
      throw new ImgError("Must specify both input and output files");
    }
    const format = writableFormatNamed(
      draft.targetFormat,
      (meant) => new ImgError(`Unknown file format${meant}`),
      (sentence) => new ImgError(sentence),
    );
    using source = open(input, draft);
    copyPart(source, target, format, operands, output);
    return 0;
  },
};

function setOperand(operands: DdOperands, word: string): void {
  const equals = word.indexOf("=");
  const name = equals < 0 ? word : word.slice(0, equals);
  const set = equals < 0 || !Object.hasOwn(OPERANDS, name) ? undefined : OPERANDS[name];
  if (set === undefined) throw new ImgError(`unrecognized operand ${name}`);
  set(operands, word.slice(equals + 1));
}

function copyPart(
  source: OpenedImage,
  path: string,
  format: WritableFormat,
  { block, count, skip }: DdOperands,
  { stderr }: ImgOutput,
): void {
  const start = Math.min(skip * block, source.size);
  if (skip * block > source.size) {
    stderr.write(`vmexit img: ${source.path}: cannot skip to specified offset\n`);
  }
  const length = Math.min(source.size - start, count === undefined ? source.size : count * block);
  let made: MadeImage;
  try {
    made = createImage(path, { format, size: Math.ceil(length / SECTOR) * SECTOR });
  } catch (error) {
    throw new ImgError(`${path}: error while creating output image: ${whyNotOpened(path, error, "create")}`);
  }
  try {
    using target = open(path, { format }, { readOnly: false, durable: false });
    copyDisk(source, target, { start, length, sparse: 0 });
  } catch (error) {
    made.undo();
    if (error instanceof ImgError) throw error;
    throw new ImgError(`error while copying to '${path}': ${whyNotOpened(path, error)}`);
  }
}
