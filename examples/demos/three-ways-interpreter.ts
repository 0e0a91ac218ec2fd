/**
 * An x86 processor in TypeScript: as much of it as three-ways.s needs.
 *
 * It fetches an instruction, decodes it, and changes variables as the processor would
 * change registers and memory. A port access is a plain function call of the monitor.
 * Full emulation works like this, for any guest on any host, privileged instructions
 * included.
 *
 * Source: Intel SDM volume 2: chapter 2 "Instruction Format", appendix A
 * "Opcode Map". Supported: 32-bit flat mode, the flags CF and ZF, addressing without an
 * index register. Not supported: prefixes, interrupts.
 */

/** Answers the guest's accesses to ports. */
export interface Ports {
  in(port: number): number;
  out(port: number, value: number): void;
}

const EAX = 0;
const EDX = 2;
const ESP = 4;
const ESI = 6;

export class Interpreter {
  /** EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI: the order in which instructions number them. */
  readonly registers = new Uint32Array(8);
  eip: number;
  /** Instructions executed so far. */
  instructions = 0;
  #carry = false;
  #zero = false;
  readonly #memory: DataView;
  readonly #ports: Ports;

  // The decoded ModRM byte of the current instruction.
  #reg = 0; // a register, or an instruction of a group
  #rm = 0; // the number of a register, or an address
  #inRegister = false;

  /** @param memory the guest's memory, from address 0 */
  constructor(memory: Uint8Array, entry: number, stack: number, ports: Ports) {
    this.#memory = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    this.#ports = ports;
    this.eip = entry;
    this.registers[ESP] = stack;
  }

  /**
   * Runs until HLT, or until `limit` instructions have been executed.
   *
   * @returns true at HLT
   * @throws {RangeError} for an access outside the memory; {Error} for an unsupported instruction.
   */
  run(limit: number): boolean {
    while (this.instructions < limit) {
      this.instructions++;
      if (!this.#execute()) return true;
    }
    return false;
  }

  /** Executes one instruction. Returns false after HLT. */
  #execute(): boolean {
    const { registers } = this;
    const at = this.eip;
    const opcode = this.#fetch8();
    const low = opcode & 7; // a register, in opcodes that end in one
    switch (opcode & 0xf8) {
      case 0x40: // inc r32; does not change the carry flag
        registers[low]++;
        this.#setZero(registers[low]);
        return true;
      case 0x48: // dec r32
        registers[low]--;
        this.#setZero(registers[low]);
        return true;
      case 0x70: // jcc rel8: jump if …
        this.#jump(this.#fetchSigned8(), this.#condition(opcode));
        return true;
      case 0xb8: // mov r32, imm32
        registers[low] = this.#fetch32();
        return true;
    }
    switch (opcode) {
      case 0x01: // add r/m32, r32
        this.#modRM();
        this.#write32(this.#add(this.#read32(), registers[this.#reg]));
        return true;
      case 0x31: // xor r/m32, r32
        this.#modRM();
        this.#write32(this.#logic(this.#read32() ^ registers[this.#reg]));
        return true;
      case 0x3d: // cmp eax, imm32
        this.#subtract(registers[EAX], this.#fetch32());
        return true;
      case 0x80: // group 1, r/m8, imm8
        this.#modRM();
        if (this.#reg !== 7) throw this.#unknown(at);
        this.#subtract(this.#read8(), this.#fetch8(), 24); // cmp
        return true;
      case 0x81: // group 1, r/m32, imm32
        this.#modRM();
        if (this.#reg !== 7) throw this.#unknown(at);
        this.#subtract(this.#read32(), this.#fetch32()); // cmp
        return true;
      case 0x83: // group 1, r/m32, imm8
        this.#modRM();
        if (this.#reg !== 0) throw this.#unknown(at);
        this.#write32(this.#add(this.#read32(), this.#fetchSigned8() >>> 0)); // add
        return true;
      case 0x85: // test r/m32, r32
        this.#modRM();
        this.#logic(this.#read32() & registers[this.#reg]);
        return true;
      case 0x88: // mov r/m8, r8
        this.#modRM();
        this.#write8(registers[this.#reg & 3] >>> (this.#reg & 4 ? 8 : 0));
        return true;
      case 0x89: // mov r/m32, r32
        this.#modRM();
        this.#write32(registers[this.#reg]);
        return true;
      case 0xa8: // test al, imm8
        this.#logic(registers[EAX] & this.#fetch8());
        return true;
      case 0xac: // lodsb: al = [esi++]
        this.#setAl(this.#memory.getUint8(registers[ESI]++));
        return true;
      case 0xc3: // ret
        this.eip = this.#memory.getUint32(registers[ESP], true);
        registers[ESP] += 4;
        return true;
      case 0xc6: // mov r/m8, imm8
        this.#modRM();
        this.#write8(this.#fetch8());
        return true;
      case 0xe5: // in eax, imm8
        registers[EAX] = this.#ports.in(this.#fetch8());
        return true;
      case 0xe8: {
        // call rel32
        const target = this.#fetch32();
        registers[ESP] -= 4;
        this.#memory.setUint32(registers[ESP], this.eip, true);
        this.#jump(target, true);
        return true;
      }
      case 0xeb: // jmp rel8
        this.#jump(this.#fetchSigned8(), true);
        return true;
      case 0xec: // in al, dx
        this.#setAl(this.#ports.in(registers[EDX] & 0xffff));
        return true;
      case 0xee: // out dx, al
        this.#ports.out(registers[EDX] & 0xffff, registers[EAX] & 0xff);
        return true;
      case 0xf4: // hlt
        return false;
      case 0xf7: // group 3, r/m32
        this.#modRM();
        if (this.#reg !== 6) throw this.#unknown(at);
        this.#divide(this.#read32(), at);
        return true;
      default:
        throw this.#unknown(at);
    }
  }

  /** Decodes the ModRM byte: two operands, of which the second is a register or in memory. */
  #modRM(): void {
    const byte = this.#fetch8();
    const mode = byte >> 6;
    const rm = byte & 7;
    this.#reg = (byte >> 3) & 7;
    this.#inRegister = mode === 3;
    if (mode === 3) this.#rm = rm;
    else if (rm === 4) throw new Error("an address with an index register is not supported");
    else if (mode === 0) this.#rm = rm === 5 ? this.#fetch32() : this.registers[rm];
    else this.#rm = (this.registers[rm] + (mode === 1 ? this.#fetchSigned8() : this.#fetch32())) >>> 0;
  }

  #read8(): number {
    if (!this.#inRegister) return this.#memory.getUint8(this.#rm);
    return (this.registers[this.#rm & 3] >>> (this.#rm & 4 ? 8 : 0)) & 0xff; // AL to BL, AH to BH
  }

  #write8(value: number): void {
    if (this.#inRegister) throw new Error("a write to a register of 8 bits is not supported");
    this.#memory.setUint8(this.#rm, value);
  }

  #read32(): number {
    return this.#inRegister ? this.registers[this.#rm] : this.#memory.getUint32(this.#rm, true);
  }

  #write32(value: number): void {
    if (this.#inRegister) this.registers[this.#rm] = value;
    else this.#memory.setUint32(this.#rm, value, true);
  }

  #setAl(value: number): void {
    this.registers[EAX] = (this.registers[EAX] & ~0xff) | (value & 0xff);
  }

  #add(a: number, b: number): number {
    const sum = a + b;
    this.#carry = sum >= 2 ** 32;
    return this.#setZero(sum >>> 0);
  }

  /** Sets the flags as a - b does; `shift` is 24 for operands of 8 bits. */
  #subtract(a: number, b: number, shift = 0): void {
    this.#carry = a < b;
    this.#setZero((a - b) << shift);
  }

  #logic(result: number): number {
    this.#carry = false;
    return this.#setZero(result);
  }

  #setZero(result: number): number {
    this.#zero = result === 0;
    return result;
  }

  /** EDX:EAX / divisor: quotient in EAX, remainder in EDX. */
  #divide(divisor: number, at: number): void {
    const { registers } = this;
    // Numbers beyond 2^53 are not exact; three-ways.s has no such dividend.
    if (registers[EDX] !== 0 || divisor === 0) throw this.#unknown(at);
    registers[EDX] = registers[EAX] % divisor;
    registers[EAX] = registers[EAX] / divisor;
  }

  /** The condition in an opcode's low four bits. */
  #condition(opcode: number): boolean {
    switch (opcode & 0xf) {
      case 0x2: // b, below
        return this.#carry;
      case 0x3: // ae, above or equal
        return !this.#carry;
      case 0x4: // e, equal; z, zero
        return this.#zero;
      case 0x5: // ne, nz
        return !this.#zero;
      default:
        throw this.#unknown(this.eip - 2);
    }
  }

  #jump(distance: number, taken: boolean): void {
    if (taken) this.eip = (this.eip + distance) >>> 0;
  }

  #fetch8(): number {
    return this.#memory.getUint8(this.eip++);
  }

  #fetchSigned8(): number {
    return this.#memory.getInt8(this.eip++);
  }

  #fetch32(): number {
    const value = this.#memory.getUint32(this.eip, true);
    this.eip += 4;
    return value;
  }

  #unknown(at: number): Error {
    const opcode = this.#memory.getUint8(at).toString(16);
    return new Error(`the interpreter does not know the instruction 0x${opcode} at 0x${at.toString(16)}`);
  }
}
