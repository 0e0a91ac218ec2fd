# own-os: the entry of the kernel from a Multiboot loader, and what C cannot express.
#
# Source: Multiboot Specification 0.6.96, 3.1 (header) and 3.2 (machine state: 32-bit
# protected mode, paging off, interrupts off, EAX the magic number, EBX the
# information structure; no valid GDT, no stack).

        .intel_syntax noprefix
        .code32

MAGIC = 0x1badb002              # "here is a Multiboot header"
FLAGS = 3                       # modules on page boundaries; a memory map
CODE  = 8                       # selectors in our GDT
DATA  = 16

# The header has to be within the first 8192 bytes of the file: own-os.s is linked
# first. Its three words add up to zero.
        .text
        .balign 4
        .long   MAGIC, FLAGS, -(MAGIC + FLAGS)

        .global start
start:
        mov     esp, offset stack_top
        lgdt    [gdt_register]          # the loader's GDT may not exist: load our own
        ljmp    CODE, offset reloaded
reloaded:
        mov     ecx, DATA
        mov     ds, ecx
        mov     es, ecx
        mov     ss, ecx
        push    ebx                     # arguments of the C function: the last one first
        push    eax
        call    kernel_main             # its result is in EAX
        mov     dx, 0x300               # a write here makes the host read the
        out     dx, al                  # screen,
        out     0xf4, al                # and isa-debug-exit ends the machine
stop:   hlt                             # (without such a port, the CPU halts)
        jmp     stop

        .section .rodata
        .balign 8
gdt:    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_register:
        .word   . - gdt - 1
        .long   gdt

        .bss
        .balign 16
        .space  16384
stack_top:
