# step: the greatest common divisor of 48 and 36, after Euclid, by subtraction.
#
# It is short enough to follow every instruction: a call and a return, a loop with a
# branch that is taken and not taken, a write to memory. step.ts sets up 32-bit flat
# mode.

        .intel_syntax noprefix
        .code32

        .text
        .global start
start:
        mov     eax, 48
        mov     ebx, 36
        call    gcd             # pushes the address of the next line: ESP goes down by 4
stored:
        mov     [result], eax   # the only write to memory, except that of the call
        hlt

# The greatest common divisor of EAX and EBX, in EAX. Neither may be 0.
gcd:
        cmp     eax, ebx        # sets ZF if they are equal, CF if EAX is below EBX
        je      done
        jb      swap
        sub     eax, ebx
        jmp     gcd
swap:
        xchg    eax, ebx
        jmp     gcd
done:
        ret                     # pops the return address into EIP

        .balign 4
result:
        .long   0
