# virtqueue: a virtio driver that sends one request, by hand.
#
# It asks a virtio-blk disk behind a virtio-mmio transport for one sector, waits
# for the answer in memory, and prints the sector on the serial port. At three
# places it writes the number of the place to port 0x300. The host then prints the
# queue.
#
# Source: VIRTIO 1.2: 3.1.1 (initialization), 2.7 (split virtqueues), 4.2.2
# (virtio-mmio registers), 5.2.6 (block requests).

        .intel_syntax noprefix

DEVICE       = 0xfeb00000               # the address of this machine's first virtio device
STOP_PORT    = 0x300
COM1         = 0x3f8
DEBUG_EXIT   = 0xf4                     # a write here ends the machine
SECTOR       = 2                        # the sector to read
SECTOR_BYTES = 512
QUEUE_SIZE   = 4                        # descriptors; a power of two

# Registers, as offsets from DEVICE (4.2.2).
DRIVER_FEATURES     = 0x20
DRIVER_FEATURES_SEL = 0x24
QUEUE_SEL           = 0x30
QUEUE_NUM           = 0x38
QUEUE_READY         = 0x44
QUEUE_NOTIFY        = 0x50
STATUS              = 0x70
QUEUE_DESC          = 0x80              # the low half of each address; the high half is 0
QUEUE_DRIVER        = 0x90              # the available ring
QUEUE_DEVICE        = 0xa0              # the used ring

ACKNOWLEDGE  = 1                        # bits of STATUS (2.1)
DRIVER       = 2
DRIVER_OK    = 4
FEATURES_OK  = 8
F_VERSION_1  = 32                       # a feature bit: VIRTIO 1.0 or later
NEXT         = 1                        # flags of a descriptor (2.7.5): another follows,
WRITE        = 2                        # the device writes to this buffer
NO_INTERRUPT = 1                        # flag of the available ring (2.7.6)
BLK_T_IN     = 0                        # type of a request (5.2.6): read

        .macro  put register, value     # one register access: one exit
        mov     dword ptr [ebx + \register], \value
        .endm
        .macro  describe index, address, length, flags, next
        mov     dword ptr [descriptors + 16 * \index], offset \address
        mov     dword ptr [descriptors + 16 * \index + 8], \length
        mov     word ptr [descriptors + 16 * \index + 12], \flags
        mov     word ptr [descriptors + 16 * \index + 14], \next
        .endm
        .macro  stop place
        mov     al, \place
        mov     dx, STOP_PORT
        out     dx, al
        .endm

        .text
        .code16
        .global start
start:
        ljmp    0, offset based         # CS was 0x100 with IP 0; labels count from 0
based:  mov     ax, cs
        mov     ds, ax
        cli                             # to protected mode, as the demo `modes` explains:
        lgdt    [gdt_register]          # real mode does not reach DEVICE
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        ljmp    8, offset protected
        .code32
protected:
        mov     eax, 16
        mov     ds, eax
        mov     ss, eax
        mov     ebx, DEVICE

# Layer 2, virtio: driver and device agree on features (3.1.1). The numbers are the
# specification's steps.
        put     STATUS, 0                                       # 1. reset
        put     STATUS, ACKNOWLEDGE                             # 2. the device was noticed
        put     STATUS, ACKNOWLEDGE+DRIVER                      # 3. there is a driver for it
        put     DRIVER_FEATURES_SEL, 0
        put     DRIVER_FEATURES, 0                              # 4. no feature of the first 32,
        put     DRIVER_FEATURES_SEL, 1
        put     DRIVER_FEATURES, 1<<(F_VERSION_1-32)            #    one of the second
        put     STATUS, ACKNOWLEDGE+DRIVER+FEATURES_OK          # 5. do the features fit?
        test    dword ptr [ebx + STATUS], FEATURES_OK           # 6. yes, if the bit is still set (not an exit: see docs/virtio.md)
        jz      done
        put     QUEUE_SEL, 0                                    # 7. set up queue 0
        put     QUEUE_NUM, QUEUE_SIZE
        put     QUEUE_DESC, "offset descriptors"
        put     QUEUE_DRIVER, "offset available"
        put     QUEUE_DEVICE, "offset used"
        put     QUEUE_READY, 1
        put     STATUS, ACKNOWLEDGE+DRIVER+FEATURES_OK+DRIVER_OK        # 8. go
        stop    1

# Layer 1, the front end, knows what a disk is: a request is a header that the
# device reads, room for the data, and a byte for the device's answer (5.2.6).
        mov     dword ptr [header], BLK_T_IN
        mov     dword ptr [header + 8], SECTOR

# Layer 3, the virtqueue: only stores to the guest's own memory (2.7.13). Three
# descriptors are a chain. The number of the first one goes into the available
# ring. The index is stored last: it says that there is one chain more.
        describe 0, header, 16, NEXT, 1
        describe 1, data, SECTOR_BYTES, NEXT+WRITE, 2
        describe 2, status, 1, WRITE, 0
        mov     word ptr [available], NO_INTERRUPT
        mov     word ptr [available_ring], 0            # slot 0: descriptor 0
        mov     word ptr [available_index], 1           # x86 keeps the order of stores;
        stop    2                                       # other CPUs need a barrier here

# The notification: queue 0 has work. The answer is in memory, too.
        put     QUEUE_NOTIFY, 0
poll:   pause
        cmp     word ptr [used_index], 1
        jne     poll
        stop    3

        mov     esi, offset data        # print the sector
        mov     ecx, SECTOR_BYTES
        mov     dx, COM1
next:   lodsb
        test    al, al                  # up to the first zero
        jz      done
        out     dx, al
        loop    next
done:   mov     al, 0
        out     DEBUG_EXIT, al
        hlt

        .balign 8
gdt:    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_register:
        .word   . - gdt - 1
        .long   gdt

        .balign 16
header: .fill   16, 1, 0                # type, reserved, sector
data:   .fill   SECTOR_BYTES, 1, 0
status: .byte   0xff                    # not an answer of the device

        .balign 16                      # the three parts of a virtqueue (2.7)
descriptors:                            # 16 bytes each: address, length, flags, next
        .fill   2 * QUEUE_SIZE, 8, 0
available:                              # the driver writes, the device reads: flags,
        .word   0
available_index:                        # how many chains were ever offered,
        .word   0
available_ring:                         # and their heads
        .fill   QUEUE_SIZE, 2, 0
        .balign 4
used:                                   # the device writes, the driver reads: flags,
        .word   0
used_index:                             # how many chains were ever used,
        .word   0
used_ring:                              # their heads, and the bytes written to each
        .fill   QUEUE_SIZE, 8, 0
