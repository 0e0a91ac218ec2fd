"""The host kernel as a guest: a tap in this network namespace, and a workload that uses it.

Frames cross on stdin and stdout, each behind its length in two bytes. What the workload prints goes to stderr. Started
in a namespace of its own: unshare -n python3 tap-peer.py [--dhcp] [--netem RULES] PROGRAM ARGUMENTS...

With --netem the workload is behind a bridge, in one more namespace, and tc's netem disturbs the frames of both
directions: "loss 3% duplicate 1% delay 5ms reorder 20%".
"""
import fcntl, os, struct, subprocess, sys, threading, time

TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002

tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", b"tap0", IFF_TAP_NO_PI))


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


arguments = sys.argv[1:]
run("ip", "link", "set", "lo", "up")
run("ip", "link", "set", "tap0", "up")
workload = []


def disturb(rules):
    """Puts a bridge between the tap and the workload; frames that leave it on either side are disturbed."""
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    child = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
    own = os.readlink("/proc/self/ns/net")
    while os.readlink("/proc/%d/ns/net" % child.pid) == own:
        time.sleep(0.01)
    run("ip", "link", "set", "veth1", "netns", str(child.pid))
    for name in ("tap0", "veth0"):
        run("ip", "link", "set", name, "master", "br0", "up")
        run("tc", "qdisc", "add", "dev", name, "root", "netem", *rules.split())
    run("ip", "link", "set", "br0", "up")
    inside = ["nsenter", "-t", str(child.pid), "-n"]
    run(*inside, "ip", "link", "set", "lo", "up")
    run(*inside, "ip", "link", "set", "veth1", "up")
    run(*inside, "ip", "addr", "add", "10.0.2.15/24", "dev", "veth1")
    run(*inside, "ip", "route", "add", "default", "via", "10.0.2.2")
    return child, inside


if arguments[0] == "--netem":
    peer, workload = disturb(arguments[1])
    arguments = arguments[2:]
elif arguments[0] == "--dhcp":
    arguments = arguments[1:]
else:
    run("ip", "addr", "add", "10.0.2.15/24", "dev", "tap0")
    run("ip", "route", "add", "default", "via", "10.0.2.2")


def to_network():
    while True:
        frame = os.read(tap, 65536)
        out = struct.pack(">H", len(frame)) + frame
        while out:
            out = out[os.write(1, out):]


def from_network():
    stdin = os.fdopen(0, "rb", buffering=1 << 20)
    while True:
        header = stdin.read(2)
        if len(header) < 2:
            os._exit(0)
        os.write(tap, stdin.read(struct.unpack(">H", header)[0]))


threading.Thread(target=to_network, daemon=True).start()
threading.Thread(target=from_network, daemon=True).start()
status = subprocess.run([*workload, *arguments], stdin=subprocess.DEVNULL, stdout=2).returncode
if workload:
    peer.kill()
os._exit(status & 0xFF)
