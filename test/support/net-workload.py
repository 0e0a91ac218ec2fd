"""What a guest does with its network, for tests: each argument is an action; the first failure ends it."""
import hashlib, os, select, socket, struct, sys, time

HOST = "10.0.2.2"


def connect(port, host=HOST):
    s = socket.create_connection((host, int(port)), timeout=60)
    return s


def read_all(s):
    h, n = hashlib.sha256(), 0
    while True:
        data = s.recv(1 << 16)
        if not data:
            return h.hexdigest(), n
        h.update(data)
        n += len(data)


def data_of(count):
    return hashlib.shake_128(b"vmexit").digest(int(count))


def download(port):
    """Reads to the end."""
    s = connect(port)
    print("download", *read_all(s))


def download_from(host, port):
    print("download", *read_all(connect(port, host)))


def upload(port, count):
    """Sends, half-closes, and reads the peer's checksum."""
    s = connect(port)
    data = data_of(count)
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    answer = s.makefile().read()
    assert answer == hashlib.sha256(data).hexdigest(), answer
    print("upload", len(data))


def echo(port, count):
    """Both ways at once, with a half-close before the end."""
    s = connect(port)
    data, sent, got = data_of(count), 0, b""
    s.setblocking(False)
    while len(got) < len(data):
        r, w, _ = select.select([s], [s] if sent < len(data) else [], [], 60)
        assert r or w, "timeout after %d sent, %d received" % (sent, len(got))
        if w:
            sent += s.send(data[sent:sent + 65536])
            if sent == len(data):
                s.shutdown(socket.SHUT_WR)
        if r:
            part = s.recv(1 << 16)
            assert part, "end after %d" % len(got)
            got += part
    assert got == data
    print("echo", len(got))


def refused(port, host=HOST):
    try:
        connect(port, host)
    except ConnectionRefusedError:
        print("refused")
        return
    raise SystemExit("port %s is open" % port)


def was_reset(port):
    s = connect(port)
    s.sendall(b"x")
    try:
        s.recv(1)
    except ConnectionResetError:
        print("reset")
        return
    raise SystemExit("not reset")


def many(port, count):
    """Connections at once."""
    all = []
    for n in range(int(count)):
        all.append(connect(port))
    for n, s in enumerate(all):
        s.sendall(struct.pack(">I", n))
    for n, s in enumerate(all):
        assert s.recv(4) == struct.pack(">I", n), n
    for s in all:
        s.close()
    print("many", len(all))


def sequence(port, count):
    for n in range(int(count)):
        s = connect(port)
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0) if n % 2 else struct.pack("ii", 0, 0))
        s.close()
    print("sequence", count)


def listen(port):
    """A server in the guest: echoes one connection to its end."""
    server = socket.create_server(("10.0.2.15", int(port)))
    print("listening", flush=True)
    s, peer = server.accept()
    while True:
        data = s.recv(1 << 16)
        if not data:
            break
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    print("served", peer[0], flush=True)


def udp(port, count=1):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect((HOST, int(port)))
    for n in range(int(count)):
        data = data_of(1 + n * 1499 % 9000)
        s.send(data)
        assert s.recv(65536) == data, n
    print("udp", count)


def udp_refused(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect((HOST, int(port)))
    s.send(b"x")
    try:
        s.recv(1)
    except ConnectionRefusedError:
        print("udp refused")
        return
    raise SystemExit("not refused")


def udp_listen(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.0.2.15", int(port)))
    print("listening", flush=True)
    data, peer = s.recvfrom(65536)
    s.sendto(data.upper(), peer)
    print("served", peer[0], flush=True)


def ping(host, size=56):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.settimeout(20)
    data = data_of(size)
    packet = bytearray(struct.pack(">BBHHH", 8, 0, 0, 77, 1) + data)
    total = sum(struct.unpack(">%dH" % (len(packet) // 2), packet))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", packet, 2, ~total & 0xFFFF)
    s.sendto(packet, (host, 0))
    while True:
        answer, peer = s.recvfrom(65536)
        if answer[20] == 0 and peer[0] == host:
            assert answer[28:] == data
            print("ping", host)
            return


def resolve(name, kind="A"):
    kinds = {"A": 1, "AAAA": 28}
    query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0)
    query += b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0" + struct.pack(">HH", kinds[kind], 1)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect(("10.0.2.3", 53))
    s.send(query)
    answer = s.recv(4096)
    found = [socket.inet_ntoa(answer[-4:])] if answer[7] and kind == "A" else []
    print("resolve", name, answer[3] & 15, *found)


def http(url_host, path, port=80):
    s = connect(port, url_host)
    s.sendall(("GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" % (path, url_host)).encode())
    answer = s.makefile("rb").read().decode()
    print("http", answer.split()[1], answer.split("\r\n\r\n", 1)[1].strip())


def scan(host, first, last):
    """Counts TCP ports that are open."""
    found = []
    for port in range(int(first), int(last)):
        s = socket.socket()
        s.settimeout(5)
        if s.connect_ex((host, port)) == 0:
            found.append(port)
        s.close()
    print("scan", host, *found)


for argument in sys.argv[1:]:
    name, *parts = argument.split(",")
    started = time.time()
    globals()[name](*parts)
    if os.environ.get("TIMES"):
        print("  %.2f s" % (time.time() - started), flush=True)
