# modes: from real mode through protected mode to long mode, one step at a time.
#
# Three things decide the mode of a CPU, and each step below changes one of them:
# CR0 (PE: protection, PG: paging), EFER (LME: long mode wanted, LMA: long mode
# active, which the CPU sets by itself), and CS (which decides the width of code).
# After each step the guest reports what it reads from these registers.
#
# Source: Intel SDM volume 3, "Switching to Protected Mode" and "Initializing IA-32e
# Mode"; AMD APM volume 2, chapter 14.

        .intel_syntax noprefix

CR0_PE    = 1 << 0              # protection enable
CR0_PG    = 1 << 31             # paging
CR4_PAE   = 1 << 5              # page table entries of 64 bits; long mode needs it
IA32_EFER = 0xc0000080          # a model-specific register
EFER_LME  = 1 << 8              # long mode enable

# Ports of the monitor. Each takes 4 bytes; a write of CS ends a report.
PORT_CR0  = 0xc0
PORT_EFER = 0xc4
PORT_CS   = 0xc8
PORT_WORD = 0xcc                # half of a 64-bit register, at the very end

# Page tables, in RAM behind the guest: one page each.
PML4      = 0x8000
PDPT      = 0x9000
DIRECTORY = 0xa000
PRESENT   = 1 << 0
WRITABLE  = 1 << 1
LARGE     = 1 << 7              # a page of 2 MiB, no further table

        # Three reads, the same in each mode. Only in 64-bit code, a control register
        # can be read into a 64-bit register only.
        .macro  report register=eax
        mov     \register, cr0
        out     PORT_CR0, eax
        mov     ecx, IA32_EFER
        rdmsr                   # EDX:EAX = the register that ECX names
        out     PORT_EFER, eax
        xor     eax, eax
        mov     ax, cs
        out     PORT_CS, eax    # KVM_RUN returns; the monitor reads the registers too
        .endm

        .text
        .global start

        .code16                 # 1. Real mode: as after power-on.
start:
        report

        cli                     # no interrupts: there are no handlers
        lgdt    [gdt_pointer]   # where the segment descriptors are
        mov     eax, cr0
        or      eax, CR0_PE
        mov     cr0, eax        # 2. Protected mode, but CS is still as real mode loaded it.
        report

        jmp     (code32 - gdt):protected

        .code32                 # 3. The jump loaded CS from the table: 32-bit code.
protected:
        mov     ax, offset (data - gdt)
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        report

        # One page table of each level: they map the first 2 MiB to themselves.
        mov     dword ptr [PML4], offset PDPT + PRESENT + WRITABLE
        mov     dword ptr [PDPT], offset DIRECTORY + PRESENT + WRITABLE
        mov     dword ptr [DIRECTORY], PRESENT + WRITABLE + LARGE
        mov     eax, offset PML4
        mov     cr3, eax        # has no effect until paging is on
        mov     eax, cr4
        or      eax, CR4_PAE
        mov     cr4, eax

        mov     ecx, IA32_EFER
        rdmsr
        or      eax, EFER_LME
        wrmsr                   # 4. Long mode is wanted. Nothing happens yet.
        report

        mov     eax, cr0
        or      eax, CR0_PG
        mov     cr0, eax        # 5. Paging on, and with it long mode: the CPU sets LMA.
        report                  #    CS is still a 32-bit one: compatibility mode.

        jmp     (code64 - gdt):long

        .code64                 # 6. CS has its L bit: 64-bit code.
long:
        report  rax

        movabs  rax, 0x0123456789abcdef # a constant that does not fit into a 32-bit register
        out     PORT_WORD, eax
        shr     rax, 32
        out     PORT_WORD, eax
        hlt

        # Segment descriptors, 8 bytes each; the offset in the table is the selector.
        # Base and limit are scattered: limit 15..0, base 15..0, base 23..16, access,
        # flags with limit 19..16, base 31..24. All are flat: base 0, limit 4 GiB.
        .balign 8
gdt:
        .quad   0                               # selector 0 is never valid
code32:
        .word   0xffff, 0
        .byte   0, 0b10011010, 0b11001111, 0    # present, code, readable; G, D: 32-bit
data:
        .word   0xffff, 0
        .byte   0, 0b10010010, 0b11001111, 0    # present, data, writable; G, B
code64:
        .word   0xffff, 0
        .byte   0, 0b10011010, 0b10101111, 0    # present, code, readable; G, L: 64-bit
gdt_end:

gdt_pointer:
        .word   gdt_end - gdt - 1               # limit: the last byte of the table
        .long   gdt                             # its address
