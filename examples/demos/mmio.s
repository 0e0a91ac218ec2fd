# mmio: drives a device whose registers are in memory. Real mode.
#
# The device squares numbers. Its window is at segment 0xd000, address 0xd0000, as
# are the windows of a PC's expansion cards:
#
#   +0  ID       load: four letters
#   +4  OPERAND  load and store: a number of 32 bits
#   +8  SQUARE   load: OPERAND * OPERAND, modulo 2^32

        .intel_syntax noprefix
        .code16

SEGMENT  = 0xd000
ID       = 0
OPERAND  = 4
SQUARE   = 8
LENGTH   = 0x1000               # bytes of the window: one page
RESULTS  = 0x2000               # the values that the guest loaded, in ordinary memory
UNUSED   = 0x100                # a place in the window without a register

        .text
        .global start
start:
        mov     ax, SEGMENT
        mov     fs, ax          # fs:[x] is address 0xd0000 + x from here on
        mov     di, RESULTS

        mov     eax, fs:[ID]    # a load. The instruction is the same as for RAM
        mov     [di], eax

        mov     dword ptr fs:[OPERAND], 12      # a store
        mov     eax, fs:[SQUARE]
        mov     [di + 4], eax

        inc     dword ptr fs:[OPERAND]          # one instruction, a load and a store
        mov     eax, fs:[SQUARE]
        mov     [di + 8], eax

        mov     al, fs:[ID + 1] # one byte in the middle of a register
        mov     [di + 12], al

        mov     eax, fs:[UNUSED]        # nothing answers
        mov     [di + 16], eax

        mov     eax, fs:[LENGTH - 2]    # two bytes in the window, two behind it
        mov     [di + 20], eax
        hlt
