# three-ways: counts the primes below LIMIT with Eratosthenes' sieve, and prints how many.
#
# One program with two beginnings. From `start` it prints like a program for a
# real PC: through a serial port, asking before each character whether the port
# is ready. From `start_paravirt` it knows that it is a guest: it hands the whole
# text to the monitor by a hypercall. Between the two, nothing but print_ differs.
#
# 32-bit flat mode, which three-ways.ts sets up. It uses few kinds of
# instructions, as three-ways-interpreter.ts must know each of them.

        .intel_syntax noprefix
        .code32

LIMIT          = 5000

THR            = 0x3f8          # 16550 UART: Transmitter Holding Register
LSR            = 0x3fd          # Line Status Register
LSR_THRE       = 0x20           # its bit "THR empty"

HYPERCALL_PORT = 0xf0           # free on a PC; our own choice, as the number below
HC_PRINT       = 1              # ESI: address of a text, ECX: its length

        .text
        .global start
start:                          # unmodified
        call    count_primes
        call    write_decimal
        mov     esi, offset message
        mov     ecx, offset message_length
        call    print_serial
        hlt

start_paravirt:                 # paravirtualized
        call    count_primes
        call    write_decimal
        mov     esi, offset message
        mov     ecx, offset message_length
        call    print_hypercall
        hlt

# How many primes are below LIMIT, in ECX.
count_primes:
        xor     ecx, ecx
        mov     ebx, 2          # EBX: the number that is looked at
candidate:
        cmp     byte ptr [composite + ebx], 0
        jne     next
        inc     ecx             # nobody struck it out: a prime
        mov     eax, ebx
strike:                         # strike out 2 * EBX, 3 * EBX, …
        add     eax, ebx
        cmp     eax, LIMIT
        jae     next
        mov     byte ptr [composite + eax], 1
        jmp     strike
next:
        inc     ebx
        cmp     ebx, LIMIT
        jb      candidate
        ret

# Writes ECX in decimal digits to the end of the message.
write_decimal:
        mov     eax, ecx
        mov     edi, offset digits_end
        mov     ebx, 10
digit:
        xor     edx, edx
        div     ebx             # EAX = EDX:EAX / 10, EDX = the remainder: the last digit
        add     edx, '0'
        dec     edi
        mov     [edi], dl
        test    eax, eax
        jnz     digit
        ret

# Prints ECX characters from ESI on: the driver of a real device.
print_serial:
        mov     edx, LSR
        in      al, dx          # an exit
        test    al, LSR_THRE
        jz      print_serial    # not ready: ask again
        mov     edx, THR
        lodsb
        out     dx, al          # another exit
        dec     ecx
        jnz     print_serial
        ret

# The same by a hypercall: one exit, whatever the length. EAX: how many were printed.
print_hypercall:
        mov     ebx, HC_PRINT
        in      eax, HYPERCALL_PORT
        ret
print_end:

        .data
message:
        .ascii  "Primes below 5000: "
        .ascii  "   "           # three digits
digits_end:
        .ascii  "\n"
message_end:
message_length = message_end - message

        .bss
composite:                      # a byte for each number: 1 if it is a multiple of another
        .skip   LIMIT
