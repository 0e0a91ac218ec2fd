# entry-exit-more: one of each kind of exit that a tiny guest can have. Real mode.

        .intel_syntax noprefix
        .code16

PORT     = 0x80                 # no device anywhere: only the monitor knows what it is
SEGMENT  = 0xd000               # address 0xd0000: no RAM there, so every access is an exit
BUFFER   = 0x2000
ELEMENTS = 4
REPEATS  = 1000

        .text
        .global start
start:
        cpuid                   # leaves guest mode on a processor with VT-x or AMD-V, but the
                                # kernel answers: KVM_RUN does not return
        in      al, PORT        # an answer is wanted: AL is what the monitor puts
        out     PORT, al        # and goes back to it
        mov     eax, 0x12345678
        out     PORT, ax        # two bytes at once
        out     PORT, eax       # four

        cld                     # strings go upwards
        mov     dx, PORT
        mov     di, BUFFER
        mov     cx, ELEMENTS
        rep     insb            # as many bytes as CX says, from the port to ES:DI
        mov     si, BUFFER
        mov     cx, ELEMENTS
        rep     outsb           # and back, from DS:SI

        mov     ax, SEGMENT
        mov     fs, ax
        mov     ebx, fs:[4]     # a load where no RAM is: KVM_EXIT_MMIO
        mov     fs:[8], ebx     # a store
        hlt                     # the monitor may call KVM_RUN again: it goes on here

        # One exit as often as REPEATS says, to see what it costs when it is no longer new.
        mov     cx, REPEATS
again:
        out     PORT, al
        loop    again           # CX = CX - 1; again while it is not 0
        hlt
