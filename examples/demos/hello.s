# hello: prints a text, one byte after the other, on port 0xe9.
#
# Real mode, in which an x86 CPU is after power-on: 16-bit registers, no protection,
# and an address is segment * 16 + offset. All segments are 0 here.

        .intel_syntax noprefix
        .code16

DEBUG_PORT = 0xe9               # a convention of emulators: text for a human

        .text
        .global start
start:
        mov     si, offset text # SI: the address of the next character
next:
        lodsb                   # AL = the byte at DS:SI, then SI = SI + 1
        test    al, al          # is it the zero at the end of the text?
        jz      done
        out     DEBUG_PORT, al  # exits: KVM_RUN returns KVM_EXIT_IO
        jmp     next
done:
        hlt                     # exits: KVM_RUN returns KVM_EXIT_HLT

text:
        .asciz  "Hello, world!"
