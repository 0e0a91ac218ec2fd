# entry-exit: the least that leaves a guest in two ways. Real mode.

        .intel_syntax noprefix
        .code16

        .text
        .global start
start:
        mov     al, 'H'         # stays inside: a register changes, nobody is told
output:
        out     0xe9, al        # KVM_RUN returns KVM_EXIT_IO
halt:
        hlt                     # KVM_RUN returns KVM_EXIT_HLT
end:
