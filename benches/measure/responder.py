#!/usr/bin/env python3
"""An upstream that knows every name: responder.py ADDRESS.

It answers by UDP and TCP on port 53: an address for type A, NODATA for others.
A label `ttlN` in the name tells the TTL. `ready` goes to standard output when
it listens.
"""

import contextlib
import re
import selectors
import socket
import struct
import sys

ADDRESS = socket.inet_aton("198.51.100.7")
TTL = re.compile(rb"\x00?ttl(\d+)", re.IGNORECASE)
TYPE_A, TYPE_SOA, TYPE_OPT = 1, 6, 41
OPT = struct.pack("!BHHIH", 0, TYPE_OPT, 1232, 0, 0)
SOA_DATA = b"\x00\x00" + struct.pack("!5I", 1, 3600, 300, 86400, 60)


def respond(query):
    """The response; `None` to what is no query with one question."""
    if len(query) < 12:
        return None
    number, flags, questions, _, _, additional = struct.unpack("!6H", query[:12])
    if flags & 0xF800 or questions != 1:
        return None
    end = 12
    while end < len(query) and query[end]:
        end += 1 + query[end]
    end += 5
    if end > len(query):
        return None
    question = query[12:end]
    qtype = struct.unpack("!H", question[-4:-2])[0]
    found = TTL.search(question)
    ttl = int(found.group(1)) if found else 300
    if qtype == TYPE_A:
        answers, authorities = 1, 0
        record = struct.pack("!HHHIH", 0xC00C, TYPE_A, 1, ttl, 4) + ADDRESS
    else:
        answers, authorities = 0, 1
        record = b"\x00" + struct.pack("!HHIH", TYPE_SOA, 1, 60, len(SOA_DATA)) + SOA_DATA
    opt = OPT if additional else b""
    head = struct.pack("!6H", number, 0x8080 | flags & 0x0110, 1, answers, authorities, bool(opt))
    return head + question + record + opt


def datagrams(udp):
    with contextlib.suppress(BlockingIOError):
        while True:
            query, sender = udp.recvfrom(4096)
            response = respond(query)
            if response:
                udp.sendto(response, sender)


def stream(connection, buffers):
    """Answers what came in whole; `False` at the end of the connection."""
    try:
        data = connection.recv(65536)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if not data:
        return False
    buffer = buffers[connection] + data
    while len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big"):
        length = int.from_bytes(buffer[:2], "big")
        response = respond(buffer[2 : 2 + length])
        buffer = buffer[2 + length :]
        if response:
            try:
                connection.sendall(len(response).to_bytes(2, "big") + response)
            except OSError:
                return False
    buffers[connection] = buffer
    return True


def main(address):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, 53))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, 53))
    listener.listen(128)
    selector, buffers = selectors.DefaultSelector(), {}
    for opened in (udp, listener):
        opened.setblocking(False)
        selector.register(opened, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is udp:
                datagrams(udp)
            elif key.fileobj is listener:
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    buffers[connection] = b""
                    selector.register(connection, selectors.EVENT_READ)
            elif not stream(key.fileobj, buffers):
                selector.unregister(key.fileobj)
                del buffers[key.fileobj]
                key.fileobj.close()


if __name__ == "__main__":
    main(sys.argv[1])
