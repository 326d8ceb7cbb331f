#!/usr/bin/env python3
"""Measures what the response cache takes of memory; writes its part of benches/RESULTS.md.

    cargo build --release
    python3 benches/measure/cache_memory.py target/release/hubdns   # everything, some 2 minutes
    python3 benches/measure/cache_memory.py HUBDNS --mebibytes 64 --turns 3
    python3 benches/measure/cache_memory.py                         # the table again, nothing is run

The daemon forwards to an upstream of this script's on loopback. First come
questions whose answers must not be kept (TTL 0): what the resident memory is
then is the base, with all buffers in use and nothing in the cache. Then come
new names, several times what the cache takes: answers of 60 to 1,200 bytes of
five kinds, denials among them; then hot names and new ones by turns. Growth is
the most that the resident memory was above the base. Only a whole run writes.
"""

import argparse
import contextlib
import http.client
import multiprocessing
import pathlib
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import tables  # noqa: E402  (beside this file; nothing is to be written there)
from compare import output  # noqa: E402

USUAL = [16, 64]
MIB = 1 << 20
# Questions for the base, and those of the mixed load as a share of what the cache takes.
BASE, MIXED = 30_000, 1.0
HOT = 2_000
# About what a kept answer takes, with its place in the index.
USUAL_BYTES = 750
SOCKETS, WINDOW = 16, 16
PATIENCE = 2.0
KINDS = {"a": 1, "q": 28, "t": 16, "h": 65, "n": 1}
SOA = b"\x02ns\xc0\x0c\x04root\xc0\x0c" + struct.pack("!5I", 1, 3600, 300, 86400, 3600)

CONFIG = """
[server]
listen = ["127.0.0.1:{port}"]
state_dir = "{directory}/state"
control_socket = "{directory}/control.sock"

[admin]
listen = ["127.0.0.1:{admin}"]

[log]
level = "warn"

[cache]
max_bytes = {size}

[[upstreams]]
name = "scripted"
addresses = ["127.0.0.1:{upstream}"]

[forward]
default = "scripted"
"""


def main():
    options = arguments()
    if options.hubdns is None:
        return write()
    sizes = [int(size) for size in options.mebibytes.split(",")]
    rows = []
    for size in sizes:
        row = measure(options.hubdns, size * MIB, options.turns)
        print("#", row, flush=True)
        rows.append(row)
    result = {"when": tables.now(), "version": output([str(pathlib.Path(options.hubdns).resolve()), "--version"]),
              "command": f"cache_memory.py --turns {options.turns}", "rows": rows}
    print("\n".join(shown(result)))
    if sizes == USUAL:
        tables.save("cache-memory", result)
        write()
    return None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hubdns", nargs="?")
    parser.add_argument("--mebibytes", default=",".join(map(str, USUAL)), help="sizes of the cache")
    parser.add_argument("--turns", type=float, default=3.0, help="how often the cache is filled anew")
    return parser.parse_args()


# --- the upstream ---


def respond(query):
    """An answer as long as the name says: KIND, SIZE, TTL, then anything."""
    end = 12
    while query[end]:
        end += 1 + query[end]
    question = query[12 : end + 5]
    kind, size, ttl = question[1:2].decode(), int(question[2:6]), int(question[6:7]) * 900
    room = max(0, size - 12 - len(question) - 11)
    answer, authority, records = 0, 0, b""
    if kind == "n":
        authority = 1
        records = b"\xc0\x0c" + struct.pack("!HHIH", 6, 1, ttl, len(SOA)) + SOA
    elif kind in "aq":
        length = 4 if kind == "a" else 16
        answer = max(1, room // (12 + length))
        head = b"\xc0\x0c" + struct.pack("!HHIH", KINDS[kind], 1, ttl, length)
        records = b"".join(head + number.to_bytes(length, "big") for number in range(answer))
    else:
        answer, left = 1, max(1, room - 12)
        data = b"".join(bytes([part]) + bytes(part)
                        for part in ([255] * (left // 256) + [max(0, left % 256 - 1)]))
        records = b"\xc0\x0c" + struct.pack("!HHIH", KINDS[kind], 1, ttl, len(data)) + data
    head = query[:2] + struct.pack("!5H", 0x8183 if kind == "n" else 0x8180, 1, answer, authority, 1)
    return head + question + records + struct.pack("!BHHIH", 0, 41, 1232, 0, 0)


def serve(udp):
    """Answers for ever; what is no question of ours gets none."""
    while True:
        query, sender = udp.recvfrom(4096)
        with contextlib.suppress(ValueError, IndexError, OSError, struct.error):
            udp.sendto(respond(query), sender)


@contextlib.contextmanager
def upstream():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    udp.bind(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(target=serve, args=(udp,), daemon=True)
    process.start()
    try:
        yield udp.getsockname()[1]
    finally:
        process.terminate()
        process.join()
        udp.close()


# --- the client ---


def question(kind, size, ttl, rest):
    label = f"{kind}{size:04}{ttl}{rest}".encode()
    name = bytes([len(label)]) + label + b"\x06memory\x07example\x00"
    return name + struct.pack("!HH", KINDS[kind], 1)


def fresh(random_, count, ttl, mark):
    """Questions for new names, for answers of mixed sizes and kinds."""
    for number in range(count):
        kind = random_.choice("aaqthn")
        yield question(kind, random_.randint(60, 1200), ttl, f"-{mark}{number}")


def mixed(random_, count, mark):
    """Hot names, some of them asked far more often than others, and new ones by turns."""
    hot = list(fresh(random_, HOT, 4, "hot"))
    for new in fresh(random_, count // 2, 4, mark):
        yield hot[int(HOT * random_.random() ** 2)]
        yield new


class Client:
    """Asks as fast as answers come, a window of questions at a time on each socket."""

    def __init__(self, port):
        self.sockets = []
        for _ in range(SOCKETS):
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.connect(("127.0.0.1", port))
            opened.setblocking(False)
            self.sockets.append(opened)
        self.number, self.asked, self.answered = 0, 0, 0

    def run(self, questions, look):
        """Asks all of them; calls `look` now and then."""
        questions, open_ = iter(questions), {opened: 0 for opened in self.sockets}
        last, more, looked = time.monotonic(), True, 0.0
        while more or any(open_.values()):
            for opened in self.sockets:
                while more and open_[opened] < WINDOW:
                    following = next(questions, None)
                    if following is None:
                        more = False
                        break
                    self.number = (self.number + 1) & 0xFFFF
                    head = struct.pack("!6H", self.number, 0x0100, 1, 0, 0, 1)
                    opt = struct.pack("!BHHIH", 0, 41, 1232, 0, 0)
                    with contextlib.suppress(OSError):
                        opened.send(head + following + opt)
                    open_[opened] += 1
                    self.asked += 1
            ready, _, _ = select.select(self.sockets, [], [], 0.2)
            now = time.monotonic()
            for opened in ready:
                with contextlib.suppress(OSError):
                    while opened.recv(4096):
                        open_[opened] = max(0, open_[opened] - 1)
                        self.answered += 1
                        last = now
            if now - last > PATIENCE:
                # Lost, on this path or in a full buffer: on with the next.
                open_, last = {opened: 0 for opened in self.sockets}, now
            if now - looked > 0.25:
                looked = now
                look()
        look()


# --- the daemon ---


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(hubdns, size, upstream_port, directory):
    """Runs hubdns; gives its process, its port and that of its metrics."""
    port, admin = free_port(), free_port()
    config = pathlib.Path(directory, "hubdns.toml")
    config.write_text(CONFIG.format(port=port, admin=admin, size=size, upstream=upstream_port, directory=directory))
    process = subprocess.Popen([str(pathlib.Path(hubdns).resolve()), "serve", "--config", str(config)])
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit("hubdns ended")
            with contextlib.suppress(OSError):
                metrics(admin)
                break
            time.sleep(0.05)
        yield process, port, admin
    finally:
        process.terminate()
        process.wait(30)


def metrics(admin):
    """The cache's own account: bytes, responses, and those that made room."""
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
    connection.request("GET", "/metrics")
    found = {}
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith("hubdns_response_cache_"):
            key, value = line.rsplit(" ", 1)
            found[key] = float(value)
    connection.close()
    return found


def resident(process):
    """Resident memory, in bytes."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def measure(hubdns, size, turns):
    """One size of the cache."""
    random_ = random.Random(size)
    count = int(turns * size / USUAL_BYTES)
    with tempfile.TemporaryDirectory() as directory, upstream() as upstream_port:
        with running(hubdns, size, upstream_port, directory) as (process, port, admin):
            client, most = Client(port), {}

            def phase(name, questions):
                def look():
                    most[name] = max(most.get(name, 0), resident(process))

                client.run(questions, look)

            phase("base", fresh(random_, BASE, 0, "z"))
            base, empty = resident(process), metrics(admin)
            phase("full", fresh(random_, count, 4, "f"))
            full = metrics(admin)
            phase("mixed", mixed(random_, int(MIXED * size / USUAL_BYTES), "m"))
            last = metrics(admin)
    of = lambda found, name: int(found.get(f"hubdns_response_cache_{name}", 0))
    return {"configured": size, "base": base, "empty": of(empty, "entries"),
            "full": most["full"] - base, "mixed": most["mixed"] - base,
            "counted": max(of(full, "bytes"), of(last, "bytes")), "entries": of(last, "entries"),
            "asked": client.asked, "answered": client.answered}


# --- the table ---


def shown(result):
    lines = []
    for row in result["rows"]:
        size = row["configured"]
        part = lambda value: f"{value / MIB:.1f} MiB, {100 * value / size:.1f} %"  # noqa: B023
        lines.append([f"{size // MIB} MiB", part(row["counted"]), f"{row['entries']:,}", part(row["full"]),
                      part(row["mixed"]), f"{row['base'] / MIB:.1f} MiB",
                      f"{row['asked']:,}", f"{100 * row['answered'] / row['asked']:.2f}"])
    return tables.table(["configured", "counted by itself", "responses", "growth, new names", "growth, hot and new",
                         "base", "questions", "answered, %"], lines)


def write():
    result = tables.rows("cache-memory")
    if result:
        tables.insert("cache_memory.py", [f"`{result['command']}`, {result['when']}; {result['version']}.", "",
                                          *shown(result)])


if __name__ == "__main__":
    main()
