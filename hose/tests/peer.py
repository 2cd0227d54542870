"""One end of a hose, after docs/PROTOCOL.md and nothing else: Python 3.8 or newer, standard library only.

    peer.py send    unix FOLDER ME SEED TARGET          (Ed25519 seed, hexadecimal)
    peer.py receive unix FOLDER ME SEED                 (standard input is the listening socket)
    peer.py send    tcp  ADDRESS:PORT ME KEY TARGET KEY (keys in hexadecimal, or - for none)
    peer.py receive tcp  ADDRESS:PORT ME KEY PEER KEY   (prints its port)

A sender sends five payloads to a receiver that answers each with itself reversed, and status 7; a receiver is such a one. The exit code says whether all was as
it should be. Slow: Ed25519 and BLAKE3 are written out below, for the tests only. The workflow is `w`.
"""

import fcntl
import hashlib
import hmac
import os
import socket
import struct
import sys

WORKFLOW = b"w"
HELLO, CHALLENGE, PROOF, WELCOME, DATA, RECEIVED, HANDLED, REFUSED, RELEASED, CONFIRMED = 1, 2, 3, 4, 16, 17, 18, 19, 20, 21
TRACED, SEALED, LENT, ANSWER, KEPT, OMITTED = 1, 2, 4, 8, 16, 32
SEALS = 1 | 2 | 4 | 8
HEADER = struct.Struct("<4sBBHiB3xQQ16s8s8x")
MAX = 1 << 24


# Ed25519 (RFC 8032)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
I = pow(2, (P - 1) // 4, P)


def add(a, b):
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def mul(n, point):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


def recover(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * I % P
    assert (x * x - x2) % P == 0, "not on the curve"
    return P - x if x & 1 != sign else x


def point(data):
    n = int.from_bytes(data, "little")
    y = n & (2**255 - 1)
    x = recover(y, n >> 255)
    return x, y, 1, x * y % P


def encode(p):
    z = pow(p[2], P - 2, P)
    return ((p[1] * z % P) | (p[0] * z % P & 1) << 255).to_bytes(32, "little")


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover(BASE_Y, 0), BASE_Y, 1, recover(BASE_Y, 0) * BASE_Y % P)


def sha512_int(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


class Signer:
    def __init__(self, seed):
        digest = hashlib.sha512(seed).digest()
        self.a = (int.from_bytes(digest[:32], "little") & ((1 << 254) - 8)) | (1 << 254)
        self.prefix = digest[32:]
        self.public = encode(mul(self.a, BASE))

    def sign(self, message):
        r = sha512_int(self.prefix, message)
        big_r = encode(mul(r, BASE))
        return big_r + ((r + sha512_int(big_r, self.public, message) * self.a) % L).to_bytes(32, "little")


def verified(public, message, signature):
    s = int.from_bytes(signature[32:], "little")
    k = sha512_int(signature[:32], public, message)
    return s < L and encode(mul(s, BASE)) == encode(add(point(signature[:32]), mul(k, point(public))))


# BLAKE3, keyed

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
START, END, PARENT, ROOT, KEYED = 1, 2, 4, 8, 16
MASK = 0xFFFFFFFF


def compress(chaining, block, counter, length, flags):
    v = chaining + IV[:4] + [counter & MASK, counter >> 32, length, flags]
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(
            [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
        ):
            for word, r1, r2 in ((m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & MASK
                x = v[d] ^ v[a]
                v[d] = (x >> r1 | x << (32 - r1)) & MASK
                v[c] = (v[c] + v[d]) & MASK
                x = v[b] ^ v[c]
                v[b] = (x >> r2 | x << (32 - r2)) & MASK
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def blake3_keyed(key, data):
    key = list(struct.unpack("<8I", key))

    def node(data, chunk, root):
        if len(data) <= 1024:
            chaining = key
            blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
            for i, block in enumerate(blocks):
                flags = KEYED | (START if i == 0 else 0)
                flags |= (END | root) if i == len(blocks) - 1 else 0
                chaining = compress(chaining, block, chunk, len(block), flags)
            return chaining
        left = 1024
        while left * 2 < len(data):
            left *= 2
        block = struct.pack("<16I", *node(data[:left], chunk, 0), *node(data[left:], chunk + left // 1024, 0))
        return compress(key, block, 0, 64, KEYED | PARENT | root)

    return struct.pack("<8I", *node(data, 0, ROOT))


# Proofs


class Signatures:
    scheme = 1

    def __init__(self, signer, peer):
        self.signer, self.peer = signer, peer

    def public_keys(self, role):
        keys = [self.signer.public, self.peer]
        return b"".join(keys if role == b"s" else reversed(keys))

    def prove(self, transcript):
        return self.signer.sign(transcript)

    def check(self, transcript, proof):
        assert verified(self.peer, transcript, proof), "the peer did not prove itself"

    def tag_keys(self, *_):
        return None


class SharedKeys:
    scheme = 2

    def __init__(self, own, peer):
        self.own, self.peer = own, peer

    def public_keys(self, _):
        return bytes(64)

    def prove(self, transcript):
        return hmac.digest(self.own, transcript, "sha256")

    def check(self, transcript, proof):
        assert hmac.compare_digest(hmac.digest(self.peer, transcript, "sha256"), proof), "the peer did not prove itself"

    def tag_keys(self, role, salt):
        keys = [self.own, self.peer] if role == b"s" else [self.peer, self.own]
        extracted = hmac.digest(salt, b"".join(keys), "sha256")
        info = b"rr-runtime hose: tags, version 3\0"
        return {d: hmac.digest(extracted, info + d + b"\1", "sha256") for d in (b"s", b"r")}


class Unproved(Signatures):
    scheme = 3

    def __init__(self):
        pass

    def public_keys(self, _):
        return bytes(64)

    def prove(self, _):
        return b""

    def check(self, _, proof):
        assert proof == b""


def named(name):
    return bytes([len(name)]) + name


# A connection


class Link:
    def __init__(self, sock, role):
        self.sock, self.role, self.keys = sock, role, None
        self.counts = {b"s": 0, b"r": 0}

    def tag(self, direction, data):
        n = self.counts[direction]
        self.counts[direction] += 1
        return blake3_keyed(self.keys[direction], data + struct.pack("<Q", n))

    def say(self, kind, flags=0, code=0, sequence=0, body=b"", length=None, trace=None, descriptor=None):
        length = len(body) if length is None else length
        trace_id, parent, trace_flags = trace or (bytes(16), bytes(8), 0)
        flags |= TRACED if trace else 0
        data = HEADER.pack(b"rrho", 3, kind, flags, code, trace_flags, sequence, length, trace_id, parent)
        if self.keys:
            data += self.tag(self.role, data)
            if body:
                data += body + self.tag(self.role, body)
        else:
            data += body
        if descriptor is not None:
            socket.send_fds(self.sock, [data], [descriptor])
        else:
            self.sock.sendall(data)

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            assert more, "the peer is gone"
            data += more
        return data

    def checked(self, data):
        peer = b"r" if self.role == b"s" else b"s"
        if self.keys:
            assert hmac.compare_digest(self.read(32), self.tag(peer, data)), "a wrong tag"
        return data

    def hear(self):
        """Kind, flags, code, sequence, body, trace."""
        descriptors = []
        if self.sock.family == socket.AF_UNIX:
            data, descriptors, _, _ = socket.recv_fds(self.sock, 64, 4)
            assert data, "the peer is gone"
            data += self.read(64 - len(data))
        else:
            data = self.read(64)
        self.checked(data)
        magic, version, kind, flags, code, trace_flags, sequence, length, trace_id, parent = HEADER.unpack(data)
        assert (magic, version) == (b"rrho", 3), data
        assert kind != REFUSED, f"refused: {code}"
        assert length <= MAX and (len(descriptors) == 1) == bool(flags & SEALED)
        if flags & SEALED:
            body = sealed_payload(descriptors[0], length)
        else:
            body = self.read(length)
            body = self.checked(body) if body else body
        trace = (trace_id, parent, trace_flags) if flags & TRACED else None
        return kind, flags, code, sequence, body, trace

    def transcript(self, role, prover, hello, nonce, max_size):
        fixed = b"rr-runtime hose: handshake, version 3\0" + bytes([prover.scheme]) + role + hello[:32] + nonce
        return fixed + prover.public_keys(self.role) + max_size + hello[33:41] + hello[41:]

    def greet(self, me, target, prover):
        hello = os.urandom(32) + bytes([prover.scheme]) + struct.pack("<Q", MAX) + named(WORKFLOW) + named(me) + named(target)
        self.say(HELLO, body=hello)
        kind, _, _, _, body, _ = self.hear()
        assert kind == CHALLENGE
        nonce, max_size, proof = body[:32], body[32:40], body[40:]
        prover.check(self.transcript(b"r", prover, hello, nonce, max_size), proof)
        self.say(PROOF, body=prover.prove(self.transcript(b"s", prover, hello, nonce, max_size)))
        assert self.hear()[0] == WELCOME
        self.keys = prover.tag_keys(b"s", hello[:32] + nonce)

    def be_greeted(self, me, prover_to):
        kind, _, _, _, hello, _ = self.hear()
        assert kind == HELLO
        names, rest = [], hello[41:]
        while rest:
            names.append(rest[1 : 1 + rest[0]])
            rest = rest[1 + rest[0] :]
        assert (names[0], names[2], len(names)) == (WORKFLOW, me, 3), names
        prover = prover_to(names[1])
        assert hello[32] == prover.scheme
        nonce, max_size = os.urandom(32), struct.pack("<Q", MAX)
        proof = prover.prove(self.transcript(b"r", prover, hello, nonce, max_size))
        self.say(CHALLENGE, body=nonce + max_size + proof)
        kind, _, _, _, proof, _ = self.hear()
        assert kind == PROOF
        prover.check(self.transcript(b"s", prover, hello, nonce, max_size), proof)
        self.say(WELCOME)
        self.keys = prover.tag_keys(b"r", hello[:32] + nonce)


def sealed_size(length):
    unit = 4096 if length < 524288 else 2097152
    return -(-length // unit) * unit


def sealed_payload(descriptor, length):
    seals = fcntl.fcntl(descriptor, 1034)
    assert seals & SEALS == SEALS and seals & ~(SEALS | 0x20) == 0, seals
    assert length > 0 and os.fstat(descriptor).st_size == sealed_size(length)
    assert os.fstat(descriptor).st_blocks * 512 >= sealed_size(length), "holes"
    data = os.pread(descriptor, length, 0)
    os.close(descriptor)
    return data


def seal(payload):
    descriptor = os.memfd_create("peer", os.MFD_ALLOW_SEALING)
    os.posix_fallocate(descriptor, 0, sealed_size(len(payload)))
    os.pwrite(descriptor, payload, 0)
    fcntl.fcntl(descriptor, 1033, SEALS)
    return descriptor


# Both directions

TRACE = (bytes(range(1, 17)), bytes(range(1, 9)), 1)


def payloads(unix):
    """Payload and flags of each frame."""
    long = bytes(i * 7 % 251 for i in range(70_000))
    return [(b"first", 0), (b"", 0), (long, 0), (long, SEALED if unix else LENT), (b"sealed" * 3, SEALED if unix else 0)]


def is_told(payload, flags):
    """Whether Received is said of it, before Handled."""
    return flags & LENT or len(payload) >= 65536 and not flags & SEALED


def send(link, unix):
    for sequence, (payload, flags) in enumerate(payloads(unix), 1):
        trace = TRACE if sequence == 1 else None
        if flags & SEALED:
            link.say(DATA, flags, sequence=sequence, length=len(payload), descriptor=seal(payload))
        else:
            link.say(DATA, flags, sequence=sequence, body=payload, trace=trace)
        kind, answer_flags, status, answered, answer, _ = link.hear()
        if is_told(payload, flags):
            assert (kind, answered) == (RECEIVED, sequence)
            if flags & LENT:
                link.say(CONFIRMED, sequence=sequence)
            kind, answer_flags, status, answered, answer, _ = link.hear()
        assert (kind, answered, status) == (HANDLED, sequence, 7), (kind, answered, status)
        assert answer_flags & ANSWER and not answer_flags & KEPT
        assert answer == payload[::-1], "another answer"


def receive(link):
    sequence = 0
    while True:
        try:
            kind, flags, _, came, payload, trace = link.hear()
        except AssertionError as e:
            if str(e) == "the peer is gone" and sequence > 0:
                return
            raise
        sequence += 1
        assert (kind, came) == (DATA, sequence)
        assert trace == (TRACE if sequence == 1 else None), trace
        if is_told(payload, flags):
            link.say(RECEIVED, sequence=sequence)
        if flags & LENT:
            kind, _, _, came, _, _ = link.hear()
            assert (kind, came) == (CONFIRMED, sequence)
        link.say(HANDLED, ANSWER, 7, sequence, payload[::-1])


def record(folder, name):
    stem = hashlib.sha256(WORKFLOW + b"\0" + name).digest()[:16].hex()
    with open(os.path.join(folder, stem + ".record")) as file:
        return dict(line.split(" ", 1) for line in file.read().splitlines()[1:])


def main(direction, transport, where, me, secret, peer=None, peers_key=None):
    me, peer = me.encode(), peer and peer.encode()
    if transport == "unix":
        signer = Signer(bytes.fromhex(secret))

        def prover_to(name):
            return Signatures(signer, bytes.fromhex(record(where, name)["key"]))

        if direction == "send":
            os.chdir(where)
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(record(where, peer)["socket"])
        else:
            sock = socket.socket(fileno=os.dup(0))
            sock.setblocking(True)
            sock = sock.accept()[0]
    else:
        host, port = where.rsplit(":", 1)

        def prover_to(_):
            return Unproved() if secret == "-" else SharedKeys(bytes.fromhex(secret), bytes.fromhex(peers_key))

        if direction == "send":
            sock = socket.create_connection((host, int(port)))
        else:
            server = socket.create_server((host, int(port)))
            print(server.getsockname()[1], flush=True)
            sock = server.accept()[0]
    sock.settimeout(30)
    link = Link(sock, b"s" if direction == "send" else b"r")
    if direction == "send":
        link.greet(me, peer, prover_to(peer))
        send(link, transport == "unix")
    else:
        link.be_greeted(me, prover_to)
        receive(link)


if __name__ == "__main__":
    main(*sys.argv[1:])
