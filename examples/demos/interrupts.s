# interrupts: a guest that sleeps until it is interrupted.
#
# It switches from real to protected mode, sets up its interrupt handlers (the
# IDT), programs the interrupt controller (the PIC) and halts. From then on it runs
# only after an interrupt. It reports through port 0xe9:
#
#   'z'   the guest halts after two more instructions
#   'L'   the handler of input 5 runs       the host raises it with KVM_IRQ_LINE
#   'E'   the handler of input 6 runs       the host raises it with an irqfd
#
# Sources: Intel SDM volume 3A, 6.10 and 6.11 (IDT and gates); Intel 8259A data
# sheet (ICW1 to ICW4, OCW1, OCW2).

        .intel_syntax noprefix

DEBUG_PORT   = 0xe9
PIC_COMMAND  = 0x20                     # The first 8259A. KVM answers these two
PIC_DATA     = 0x21                     # ports itself: KVM_RUN does not return for them.
FIRST_VECTOR = 0x20                     # vectors 0 to 0x1f are the CPU's own exceptions
LINE_INPUT   = 5
EVENT_INPUT  = 6
CODE         = 8                        # selectors: offsets into the GDT below
DATA         = 16

        .text
        .code16
        .global start
start:
        cli                             # no interrupts until there is an IDT
        lgdt    [gdt_register]
        mov     eax, cr0
        or      al, 1                   # CR0.PE: protection enable
        mov     cr0, eax
        ljmp    CODE, offset protected  # loads CS: from here on 32-bit code

        .code32
protected:
        mov     eax, DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     esp, offset stack_top
        lidt    [idt_register]          # the table of the handlers

# After power-on the PIC would send vectors that are CPU exceptions. Four words in
# a row initialize it.
        mov     al, 0x11                # ICW1: edge-triggered, cascaded, ICW4 follows
        out     PIC_COMMAND, al
        mov     al, FIRST_VECTOR        # ICW2: input n sends vector 0x20 + n
        out     PIC_DATA, al
        mov     al, 0x04                # ICW3: a second PIC sits on input 2
        out     PIC_DATA, al
        mov     al, 0x01                # ICW4: 8086 mode, handlers send an end of interrupt
        out     PIC_DATA, al
        mov     al, 0xff ^ (1 << LINE_INPUT) ^ (1 << EVENT_INPUT)
        out     PIC_DATA, al            # OCW1: a 1 masks that input

sleep:
        mov     al, 'z'
        out     DEBUG_PORT, al
        sti                             # interrupts on, but only after the next
halt:   hlt                             # instruction: none can come before the HLT
awake:  cli
        jmp     sleep

# The CPU has pushed EFLAGS, CS and EIP, and has cleared EFLAGS.IF.
on_line:
        push    eax
        mov     al, 'L'
        jmp     report
on_event:
        push    eax
        mov     al, 'E'
report:
        out     DEBUG_PORT, al
        mov     al, 0x20                # OCW2: end of interrupt. Until then the PIC blocks
        out     PIC_COMMAND, al         # this input and those of lower priority.
        pop     eax
# A handler ends with IRETD, which pops EIP, CS and EFLAGS. RETF 4 pops EIP and CS
# and drops EFLAGS, so interrupts stay disabled, as `awake` needs it. It is used
# here because a KVM that emulates ring 0 supports IRET in real mode only.
        retf    4

        .balign 8
gdt:    .quad   0                       # selector 0 is never valid
        .quad   0x00cf9a000000ffff      # CODE: from 0 to 4 GiB, 32-bit, execute and read
        .quad   0x00cf92000000ffff      # DATA: the same, read and write
gdt_register:
        .word   . - gdt - 1             # its last byte
        .long   gdt

# Eight bytes for each gate: offset 15:0, selector, type 0x8e00 (present, ring 0,
# 32-bit interrupt gate), offset 31:16. An IDT may have 256 gates; this one ends
# after the last gate that is used.
        .balign 8
idt:    .fill   FIRST_VECTOR + LINE_INPUT, 8, 0     # all zero: not present
        .word   on_line, CODE, 0x8e00, 0
        .word   on_event, CODE, 0x8e00, 0
idt_register:
        .word   . - idt - 1
        .long   idt

        .balign 16
        .space  256
stack_top:
