#!/usr/bin/env python3
"""A framed client that shares no code with the library: socket, ssl, struct and zlib only.

    framed.py PORT plain|tls raw|zlib|deflate CONNECTIONS ROUNDS SIZE...

Opens the connections, sends a frame of each size on each of them (all of one size before any
is read), reads the echoes and compares every byte. With `cut` in place of ROUNDS each frame is
sent in two pieces, once for every byte position. Prints how many frames came back.
"""
import socket
import ssl
import struct
import sys
import zlib

PORT, SECURITY, PACKING, CONNECTIONS, ROUNDS = sys.argv[1:6]
SIZES = [int(size) for size in sys.argv[6:]]


def connect():
    plain = socket.create_connection(("127.0.0.1", int(PORT)), timeout=600)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if SECURITY == "plain":
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname="localhost")


def read_exactly(stream, length):
    data = bytearray(length)
    view = memoryview(data)
    while length:
        got = stream.recv_into(view, length)
        if not got:
            raise SystemExit("the server ended the stream")
        view, length = view[got:], length - got
    return bytes(data)


def payload(size, seed):
    """Compresses well, and differs by seed."""
    pattern = b"".join(struct.pack(">II", seed, i) + b"...." for i in range(64))
    return (pattern * (size // len(pattern) + 1))[:size]


def pack(data):
    if PACKING == "raw":
        return struct.pack(">I", len(data)) + data
    bits = zlib.MAX_WBITS if PACKING == "zlib" else -zlib.MAX_WBITS
    packer = zlib.compressobj(6, zlib.DEFLATED, bits)
    wire = packer.compress(data) + packer.flush()
    return struct.pack(">I", 0x80000000 | len(wire)) + wire


def read_frame(stream):
    (word,) = struct.unpack(">I", read_exactly(stream, 4))
    wire = read_exactly(stream, word & 0x7FFFFFFF)
    if not word >> 31:
        return wire, False
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(wire) + unpacker.flush()
    if not unpacker.eof or unpacker.unused_data:
        raise SystemExit("a compressed frame is not one whole zlib stream")
    return data, True


def compare(stream, expected):
    got, packed = read_frame(stream)
    if got != expected:
        raise SystemExit("a frame of %d bytes came back different" % len(expected))
    if packed and len(expected) < 512:
        raise SystemExit("a frame below the threshold came back compressed")


def main():
    streams = [connect() for _ in range(int(CONNECTIONS))]
    for number, stream in enumerate(streams):
        stream.sendall(bytes([1 + 2 * (number % 2)]))
    for stream in streams:
        if read_exactly(stream, 1) != b"\x01":
            raise SystemExit("the answer is not 1")
    frames = 0
    if ROUNDS == "cut":
        for size in SIZES:
            expected = payload(size, size)
            wire = pack(expected)
            for cut in range(1, len(wire)):
                stream = streams[cut % len(streams)]
                stream.sendall(wire[:cut])
                stream.sendall(wire[cut:])
                compare(stream, expected)
                frames += 1
    else:
        for turn in range(int(ROUNDS)):
            for size in SIZES:
                for seed, stream in enumerate(streams):
                    stream.sendall(pack(payload(size, seed + turn)))
                for seed, stream in enumerate(streams):
                    compare(stream, payload(size, seed + turn))
                    frames += 1
        # Pipelined: all sizes at once, small enough for what lies between.
        small = [size for size in SIZES if size <= 16384]
        for seed, stream in enumerate(streams):
            stream.sendall(b"".join(pack(payload(size, seed)) for size in small))
        for seed, stream in enumerate(streams):
            for size in small:
                compare(stream, payload(size, seed))
                frames += 1
    for stream in streams:
        stream.close()
    print(frames)


main()
