"""Sends frames out of tap interface argv[1] to a guest that returns each (net-kernel.c), runs the program
argv[3:] as that guest, and prints what came. With "fd" as argv[2] the guest gets the interface as descriptor 32."""
import fcntl, os, socket, struct, subprocess, sys

name, how, command = sys.argv[1], sys.argv[2], sys.argv[3:]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.settimeout(20)
quiet = "/proc/sys/net/ipv6/conf/default/disable_ipv6"  # or the kernel sends frames of its own
if os.path.exists(quiet):
    open(quiet, "w").write("1")
subprocess.check_call(["ip", "tuntap", "add", "dev", name, "mode", "tap"])
subprocess.check_call(["ip", "link", "set", "dev", name, "up"])
wire.bind((name, 0))

passed = []
if how == "fd":
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x5002))
    os.dup2(tap, 32, inheritable=True)
    passed = [32]
guest = subprocess.Popen(command, pass_fds=passed, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def next_frame():
    while True:
        frame = wire.recv(65536)
        if frame[12:13] == b"\x88" and frame[6:12] == bytes.fromhex("525400123456"):
            return frame


print(next_frame()[14:19].decode())
for length in (46, 1500):
    wire.send(bytes.fromhex("525400123456") + bytes.fromhex("020000000001") + b"\x88\x00" + bytes([length & 0xFF]) * length)
    frame = next_frame()
    print(len(frame), frame[14] == length & 0xFF, frame[-1])
wire.send(bytes.fromhex("525400123456") + bytes.fromhex("020000000001") + b"\x88\x01" + bytes(46))
next_frame()
print("status", guest.wait(30))
