# three-ways-vmcall: the instruction that is made for hypercalls.
#
# Intel calls it VMCALL, AMD calls it VMMCALL, and their bytes differ. By KVM's
# convention the number is in EAX, and so is the answer.
#
# `start` makes two calls and stores their answers; `start_many` and
# `start_many_ports` make CALLS calls each, to measure their time. 32-bit flat mode.

        .intel_syntax noprefix
        .code32

VAPIC_POLL_IRQ = 1              # KVM_HC_VAPIC_POLL_IRQ: does nothing, returns 0
UNKNOWN        = 0x1234         # a number that KVM does not know
CALLS          = 1000
HYPERCALL_PORT = 0xf0

        .text
        .global start
start:
        call    choose
        mov     eax, VAPIC_POLL_IRQ
        call    esi
        mov     [known_answer], eax
        mov     eax, UNKNOWN
        call    esi
        mov     [unknown_answer], eax
        hlt

start_many:
        call    choose
        mov     edi, CALLS
many:
        mov     eax, UNKNOWN
        call    esi
        dec     edi
        jnz     many
        hlt

start_many_ports:
        mov     edi, CALLS
many_ports:
        mov     ebx, UNKNOWN
        in      eax, HYPERCALL_PORT
        dec     edi
        jnz     many_ports
        hlt

# ESI = intel or amd, by the processor's vendor: "GenuineIntel", "AuthenticAMD".
choose:
        xor     eax, eax
        cpuid                   # the vendor is in EBX, EDX, ECX
        mov     esi, offset intel
        cmp     ebx, 0x68747541 # "Auth", least significant byte first
        jne     chosen
        mov     esi, offset amd
chosen:
        ret

intel:
        vmcall
        ret
amd:
        vmmcall
        ret

        .data
        .balign 4
known_answer:
        .long   0x55555555      # a value that no call returns
unknown_answer:
        .long   0x55555555
