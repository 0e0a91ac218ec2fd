# entry-exit-more: one of each kind of exit that a tiny guest can have. Real mode.

        .intel_syntax noprefix
        .code16

PORT     = 0x80                 # no device of KVM's: only the monitor knows this port
SEGMENT  = 0xd000               # address 0xd0000: no RAM there, so every access is an exit
BUFFER   = 0x2000
ELEMENTS = 4
REPEATS  = 1000

        .text
        .global start
start:
        cpuid                   # leaves guest mode on a processor with VT-x or AMD-V, but the
                                # kernel answers: KVM_RUN does not return
        in      al, PORT        # a read: the monitor supplies the value for AL
        out     PORT, al        # and gets it back
        mov     eax, 0x12345678
        out     PORT, ax        # two bytes at once
        out     PORT, eax       # four

        cld                     # string instructions count upwards
        mov     dx, PORT
        mov     di, BUFFER
        mov     cx, ELEMENTS
        rep     insb            # as many bytes as CX says, from the port to ES:DI
        mov     si, BUFFER
        mov     cx, ELEMENTS
        rep     outsb           # and to the port, from DS:SI

        mov     ax, SEGMENT
        mov     fs, ax
        mov     ebx, fs:[4]     # a load where there is no RAM: KVM_EXIT_MMIO
        mov     fs:[8], ebx     # a store
        hlt                     # the next KVM_RUN continues behind it

        # REPEATS times the same exit: the cost after the first time.
        mov     cx, REPEATS
again:
        out     PORT, al
        loop    again           # CX = CX - 1; again while it is not 0
        hlt
