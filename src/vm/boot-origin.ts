/**
 * Carries out a boot plan: writes the guest's first bytes to RAM and the first
 * values to the registers of the CPUs.
 */
import { buildAcpi } from "../boot/acpi/tables.ts";
import { BIOS_PICS, biosData } from "../boot/bios-data.ts";
import { pcMemoryMap } from "../boot/e820.ts";
import { entryState } from "../boot/entry-state.ts";
import { planBoot } from "../boot/kernel.ts";
import { ACPI_AREA } from "../boot/low-memory.ts";
import type { ByteSource, Placement } from "../boot/plan.ts";
import { programPics } from "../kvm/pic.ts";
import { acpiDescription } from "../machine/describe/acpi.ts";
import type { Machine } from "../machine/machine.ts";
import { HostFile } from "../sys/file.ts";
import { setUpCpus } from "./cpus.ts";
import { generationIdPlace, setGenerationId } from "./generation-id.ts";
import type { Hardware } from "./hardware.ts";
import type { Origin } from "./power-cycle.ts";
import type { CheckedOptions } from "./validate.ts";

const ANONYMOUS = "(given as bytes)";

/** A power cycle that begins with a kernel. */
export class BootOrigin implements Origin {
  readonly #options: CheckedOptions;
  readonly #note: (text: string) => void;

  /** @param note called with what is not as the options have it, in a sentence */
  constructor(options: CheckedOptions, note: (text: string) => void) {
    this.#options = options;
    this.#note = note;
  }

  load(_hardware: Hardware, machine: Machine): void {
    machine.board.prepare?.(machine);
  }

  /**
   * Puts kernel, initrd, tables and registers in place. Returns the boot protocol's name.
   * @throws {BootError} for what cannot be booted, {SystemError} for files and KVM.
   */
  fill(hardware: Hardware, machine: Machine): string {
    const { spec, board } = machine;
    const options = this.#options;
    if (options.kernel === undefined) throw new RangeError("there is no kernel to start");
    using kernel = Source.open(options.kernel);
    using initrd = options.initrd === undefined ? undefined : Source.open(options.initrd);
    const flat = options.loadAddress === undefined ? undefined : { address: options.loadAddress };
    const description = acpiDescription(spec, board.parts(spec));
    const generationId = generationIdPlace(machine);
    const more = options.acpiTables ?? [];
    const acpi = buildAcpi(
      { ...description, more, ...(generationId === undefined ? {} : { generationId }) },
      ACPI_AREA.address,
    );
    const plan = planBoot({
      kernel,
      kernelName: kernel.name,
      ...(typeof options.kernel === "string" ? { kernelPath: options.kernel } : {}),
      ...(initrd === undefined ? {} : { initrd: described(initrd, options.initrd) }),
      cmdline: options.cmdline,
      memory: pcMemoryMap(spec.ram),
      rsdp: acpi.rsdp,
      ...(flat === undefined ? {} : { flat }),
    });
    const entry = entryState(plan.entry);
    const files = { kernel, initrd };
    const comPorts = description.serial.map(({ port }) => port);
    // These first: a flat binary may be loaded over them.
    setGenerationId(hardware, machine);
    const bios = biosData(spec.ram, comPorts);
    for (const placement of [...bios, ...acpi.placements, ...entry.placements, ...plan.placements]) {
      place(hardware, placement, files);
    }
    programPics(hardware.vm, BIOS_PICS.master, BIOS_PICS.slave);
    setUpCpus(hardware, spec, entry, options.cpuChoice).forEach(this.#note);
    return plan.protocol;
  }
}

function described({ size, name }: Source, given: string | Uint8Array | undefined) {
  return typeof given === "string" ? { size, name, path: given } : { size, name };
}

type Files = { readonly kernel: Source; readonly initrd: Source | undefined };

function place(hardware: Hardware, { address, data, what }: Placement, files: Files): void {
  if (data instanceof Uint8Array) {
    hardware.memory.write(address, data);
    return;
  }
  const source = files[data.file];
  if (source === undefined) throw new RangeError(`${what}: there is no ${data.file}`);
  source.into(hardware, address, data.offset, data.length);
}

/** A kernel or an initrd: a file, or bytes that the program has. */
class Source implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #file: HostFile | undefined;
  readonly #bytes: Uint8Array;

  private constructor(name: string, file: HostFile | undefined, bytes: Uint8Array) {
    this.name = name;
    this.#file = file;
    this.#bytes = bytes;
    this.size = file?.size ?? bytes.length;
  }

  static open(from: string | Uint8Array): Source {
    if (typeof from !== "string") return new Source(ANONYMOUS, undefined, from);
    return new Source(from, HostFile.open(from, { readOnly: true }), new Uint8Array());
  }

  read(offset: number, length: number): Uint8Array {
    if (this.#file === undefined) return this.#bytes.subarray(offset, offset + length);
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - offset)));
    return bytes.subarray(0, this.#file.read(bytes, offset));
  }

  /** Copies `length` bytes from offset `from` to guest-physical `to`. A file is read directly into RAM. */
  into(hardware: Hardware, to: number, from: number, length: number): void {
    if (this.#file === undefined) {
      hardware.memory.write(to, this.#bytes.subarray(from, from + length));
      return;
    }
    const offset = hardware.memory.translate(to, length);
    if (offset < 0)
      throw new RangeError(`${this.name}: ${length} bytes at 0x${to.toString(16)} are not all RAM`);
    this.#file.readInto(hardware.ram, offset, length, from);
  }

  [Symbol.dispose](): void {
    this.#file?.close();
  }
}
