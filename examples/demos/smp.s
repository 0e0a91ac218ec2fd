# smp: one processor starts another; then both count, protected by a spin lock.
#
# Processor 0 (BSP, bootstrap processor) begins at `start`, in the 32-bit flat mode
# that smp.ts sets up. Processor 1 (AP, application processor) waits until processor
# 0 sends it INIT and a start-up IPI, and begins in real mode at `trampoline`.
#
# Source: Intel MultiProcessor Specification 1.4, B.4 "Application Processor
# Startup"; Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller".

        .intel_syntax noprefix

LAPIC        = 0xfee00000       # each processor has its own local APIC here
LAPIC_SVR    = LAPIC + 0x0f0    # Spurious-Interrupt Vector Register
SVR_ENABLE   = 0x100
LAPIC_ICR_LO = LAPIC + 0x300    # Interrupt Command Register: a write here sends
LAPIC_ICR_HI = LAPIC + 0x310    # … to the processor whose APIC id is in bits 31-24
ICR_INIT     = 0xc500           # delivery mode INIT, level-triggered, asserted
ICR_STARTUP  = 0x4600           # delivery mode Start-Up; bits 7-0: the page to start at

REPORT_PORT  = 0xe9             # reports to smp.ts what comes next:
SENDING_INIT = 1
SENDING_SIPI = 2
SENDING_SIPI_AGAIN = 3
AWAKE        = 4                # the first instructions of processor 1
END_PORT     = 0xf4             # this processor has finished
CPUS         = 2

ORIGIN          = 0x1000        # the address of the image: see guest.ld
TRAMPOLINE_PAGE = 2             # where processor 1 begins: address / 4096

# Counts `rounds` times, each time inside the lock. BTS reads a bit, sets it, and stores
# the old value in the carry flag. Without LOCK, another processor can access the bit
# between the read and the write of this ONE instruction.
        .macro  count prefix
        mov     ecx, [rounds]
1:
        cmp     dword ptr [spinlock], 0
        jne     2f              # taken: read again, without writing
        \prefix bts dword ptr [spinlock], 0
        jnc     3f              # it was 0: this processor has the lock
2:
        pause                   # a hint to the processor: this is a wait loop
        jmp     1b
3:
        mov     eax, [counter]  # the work that needs the lock:
        inc     eax             # in three instructions, so that
        mov     [counter], eax  # another processor can come between
        mov     dword ptr [spinlock], 0
        dec     ecx
        jnz     1b
        .endm

# The common part of both processors, once in 32-bit code and once in 16-bit code.
        .macro  part
        lock inc dword ptr [ready]
4:
        pause
        cmp     dword ptr [ready], CPUS
        jne     4b              # both begin at the same time
        cmp     dword ptr [with_lock], 0
        je      5f
        count   lock
        jmp     6f
5:
        count
6:
        out     END_PORT, al
7:
        hlt
        jmp     7b
        .endm

        .macro  report event
        mov     al, \event
        out     REPORT_PORT, al
        .endm

        .text
        .code32
        .global start
start:
        or      dword ptr [LAPIC_SVR], SVR_ENABLE
        report  SENDING_INIT
        mov     dword ptr [LAPIC_ICR_HI], 1 << 24
        mov     dword ptr [LAPIC_ICR_LO], ICR_INIT
        call    wait
        report  SENDING_SIPI
        mov     dword ptr [LAPIC_ICR_LO], ICR_STARTUP + TRAMPOLINE_PAGE
        call    wait
        report  SENDING_SIPI_AGAIN      # because a real processor may miss the first
        mov     dword ptr [LAPIC_ICR_LO], ICR_STARTUP + TRAMPOLINE_PAGE
        part

# The specification requires 10 ms after INIT and 200 µs after a start-up IPI. KVM
# needs no delay; this loop shows where it belongs.
wait:
        mov     ecx, 100
8:
        pause
        dec     ecx
        jnz     8b
        ret

# Real mode, CS = TRAMPOLINE_PAGE * 256, IP = 0: a start-up IPI sets nothing else.
        .code16
        .org    TRAMPOLINE_PAGE * 4096 - ORIGIN
trampoline:
        xor     ax, ax
        mov     ds, ax          # CS is not 0, but DS has to be: the labels are offsets from 0
        report  AWAKE
        part

        .data
        .balign 64              # a cache line for each
spinlock:
        .long   0
        .balign 64
counter:
        .long   0
        .balign 64
ready:
        .long   0
rounds:
        .long   0               # smp.ts fills in these two
with_lock:
        .long   0
