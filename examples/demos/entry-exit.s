# entry-exit: the smallest guest that exits in two ways. Real mode.

        .intel_syntax noprefix
        .code16

        .text
        .global start
start:
        mov     al, 'H'         # does not exit: only a register changes
output:
        out     0xe9, al        # KVM_RUN returns KVM_EXIT_IO
halt:
        hlt                     # KVM_RUN returns KVM_EXIT_HLT
end:
