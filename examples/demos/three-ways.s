# three-ways: counts the primes below LIMIT with Eratosthenes' sieve, and prints how many.
#
# One program with two beginnings. From `start` it prints like a program for a
# real PC: through a serial port, and it checks before each character whether the
# port is ready. From `start_paravirt` it knows that it is a guest: it passes the
# whole text to the monitor by a hypercall. Only the print_ routines differ.
#
# three-ways.ts sets up 32-bit flat mode. The program uses few kinds of
# instructions, because three-ways-interpreter.ts must support each of them.

        .intel_syntax noprefix
        .code32

LIMIT          = 5000

THR            = 0x3f8          # 16550 UART: Transmitter Holding Register
LSR            = 0x3fd          # Line Status Register
LSR_THRE       = 0x20           # its bit "THR empty"

HYPERCALL_PORT = 0xf0           # free on a PC; this demo's own choice, like HC_PRINT
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

# Counts the primes below LIMIT in ECX.
count_primes:
        xor     ecx, ecx
        mov     ebx, 2          # EBX: the number that is tested
candidate:
        cmp     byte ptr [composite + ebx], 0
        jne     next
        inc     ecx             # not struck out: a prime
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
        jz      print_serial    # not ready: read again
        mov     edx, THR
        lodsb
        out     dx, al          # another exit
        dec     ecx
        jnz     print_serial
        ret

# The same by a hypercall: one exit for any length. EAX: the number of characters printed.
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
