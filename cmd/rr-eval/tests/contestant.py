"""A contestant over a Unix socket, honest or not: contestant.py source|sink SOCKET BEHAVIOUR.

It is written after what rr-eval says of its lines and payloads (src/protocol.rs, src/payload.rs), and knows nothing of the other contestants.
"""

import hashlib
import os
import socket
import struct
import sys
import time

WORD = (1 << 64) - 1


def payload(size, work, seed):
    words = bytearray()
    while len(words) < size:
        seed = (seed + 0x9E3779B97F4A7C15) & WORD
        word = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
        word = ((word ^ (word >> 31)) & 0x0F0F0F0F0F0F0F0F) + 0x6161616161616161
        words += struct.pack("<Q", word)
    return work.encode() + bytes(words[1:size])


def receipt(data):
    work = data[:1].lower()
    if work == b"t":
        told = 0
        for byte in [*data[::4032], data[-1]]:
            told = (told << 5 | told >> 59) & WORD ^ byte
        return told
    if work == b"r":
        padded = data + bytes(-len(data) % 8)
        return sum(word for (word,) in struct.iter_unpack("<Q", padded)) & WORD
    return int.from_bytes(hashlib.sha256(data).digest()[:16], "big")


def say(*words):
    print(*words, flush=True)


def source(path, behaviour):
    to = socket.socket(socket.AF_UNIX)
    to.connect(path)
    say("ready")
    data = b""

    def send(data):
        if behaviour != "silent":
            to.sendall(struct.pack("<Q", len(data)) + data)
            to.recv(1)

    for line in sys.stdin:
        match line.split():
            case ["fill", size, work, seed]:
                data = payload(int(size), work, int(seed))
                say("filled")
            case ["send"]:
                start = time.monotonic_ns()
                send(data)
                say("sent", start, start, time.monotonic_ns())
            case ["pace", size, work, seed, rate, count]:
                start = time.monotonic_ns() + 5_000_000
                late = []
                for i in range(int(count)):
                    data = payload(int(size), work.upper(), int(seed) + i & WORD)
                    due = start + i * 1_000_000_000 // int(rate)
                    while (begun := time.monotonic_ns()) < due:
                        pass
                    send(data)
                    # Who omits what had to wait counts from when a call began.
                    late.append(time.monotonic_ns() - (begun if behaviour == "omitting" else due))
                send(b"a")
                say("paced", start, *late)


def sink(path, behaviour):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    say("ready")
    stream = listener.accept()[0]
    os.unlink(path)
    first = None
    kept, times = 0, []
    while header := stream.recv(8, socket.MSG_WAITALL):
        (size,) = struct.unpack("<Q", header)
        data = stream.recv(size, socket.MSG_WAITALL)
        arrived = time.monotonic_ns()
        timed = data[:1] not in (b"c", b"a")
        if data == b"a":
            if behaviour == "short":
                times = times[::2]
            say("kept", "sink", f"{kept:032x}", *times)
            kept, times = 0, []
            stream.send(b".")
            continue
        if behaviour == "wrong":
            data = data[:-1] + b"!"
        if behaviour == "short":
            size = size // 2
        if behaviour == "hasty" and timed:
            # It answers, and reads afterwards.
            stream.send(b".")
            time.sleep(0.005)
        told = receipt(data[: len(data) // 2] if behaviour == "half" and data[:1] in b"rR" else data)
        if behaviour == "replay" and timed:
            # Of work that it has done once.
            told = first = first or told
        if behaviour == "omitting" and data[:1].isupper():
            # More than its sender has time for.
            time.sleep(0.002)
        done = time.monotonic_ns()
        if behaviour == "early" and timed:
            # It says when it got the bytes, reads afterwards, and answers then.
            done = arrived
            time.sleep(0.005)
        if data[:1].isupper():
            kept = (kept << 5 | kept >> 123) & (1 << 128) - 1 ^ told
            times.append(done)
        else:
            say("got", "sink", size, arrived, arrived, done, f"{told:032x}")
        if not (behaviour == "hasty" and timed):
            stream.send(b".")


{"source": source, "sink": sink}[sys.argv[1]](*sys.argv[2:])
