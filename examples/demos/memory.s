# memory: three routines that access memory at the address in EDI.
#
# memory.ts sets up 32-bit flat mode without paging, so the address in EDI is the
# guest-physical one.

        .intel_syntax noprefix
        .code32

PAGE = 4096

        .text
        .global start
start:                          # write one byte into each of ECX pages
        mov     byte ptr [edi], 1
        add     edi, PAGE
        dec     ecx
        jnz     start
        hlt

store:                          # write 4 bytes
        mov     [edi], eax
        hlt

replace:                        # read a byte, write another, read again
        mov     al, [edi]
        mov     byte ptr [edi], 0x55
        mov     ah, [edi]
        hlt
