#!/usr/bin/env python3
"""A client that asks at a steady rate and writes down what became of each query.

    asker.py PORT SECONDS KIND...        KIND: NAME:RATE:TTL:NAMES:SENDS

Each kind has its own queries a second, evenly spaced. With NAMES of 0 every
name is new, else that many are asked in turn. With SENDS of 1 a query is sent
once. With more it is sent again, with its id and from its port, after 2 s of
silence and at once after a failure, as stub resolvers do that have one server.

First a name is asked until the server answers. Then two lines of JSON go to
standard output: at the start the clock (CLOCK_MONOTONIC, which all processes
share), at the end a list of

    [kind, second of the first send, ms to the first response, its rcode,
     ms to the answer, its TTL, sends]

with null for what did not come within 5 s of the first send.
"""

import heapq
import json
import random
import select
import socket
import struct
import sys
import time

PATIENCE = 5.0
SILENCE = 2.0
SOCKETS = 64
READY_WITHIN = 30.0


class Query:
    __slots__ = ("at", "done", "failures", "first", "good", "kind", "limit", "question", "rcode", "sends",
                 "socket", "ttl", "wire")

    def __init__(self, kind, at, limit, question):
        self.kind, self.at, self.limit, self.question = kind, at, limit, question
        self.first = self.rcode = self.good = self.ttl = None
        self.sends, self.failures, self.done = 0, 0, False
        self.wire, self.socket = b"", None

    def row(self):
        return [self.kind, round(self.at, 4), self.first, self.rcode, self.good, self.ttl, self.sends]


def question_of(name):
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return wire + struct.pack("!BHH", 0, 1, 1)


def plan(kinds, seconds):
    """All queries by time: (second, kind, sends, name)."""
    mark, queries = f"{random.getrandbits(40):010x}", []
    for offset, (kind, rate, ttl, names, sends) in enumerate(kinds):
        for number in range(int(rate * seconds)):
            which = f"h{number % names}" if names else f"u{number}"
            at = (number + offset / len(kinds)) / rate
            queries.append((at, kind, sends, f"{which}-{mark}-{kind}.ttl{ttl}.path.example"))
    return sorted(queries)


def read(data, query):
    """(rcode, TTL of the first answer or None); `None` if it answers something else."""
    end = 12 + len(query.question)
    if len(data) < end or not data[2] & 0x80 or data[12:end].lower() != query.question:
        return None
    rcode, answers = data[3] & 15, int.from_bytes(data[6:8], "big")
    if rcode or not answers:
        return rcode, None
    while end < len(data) and data[end]:
        if data[end] >= 0xC0:
            end += 1
            break
        end += 1 + data[end]
    end += 1
    if len(data) < end + 10:
        return None
    return rcode, struct.unpack("!I", data[end + 4 : end + 8])[0]


class Asker:
    def __init__(self, port):
        self.sockets, self.poll, self.pending = {}, select.epoll(), {}
        for _ in range(SOCKETS):
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            opened.connect(("127.0.0.1", port))
            opened.setblocking(False)
            self.sockets[opened.fileno()] = opened
            self.poll.register(opened, select.EPOLLIN)
        self.order = list(self.sockets)
        self.timers, self.open = [], 0
        self.start = 0.0

    def wait_until_ready(self):
        until = time.monotonic() + READY_WITHIN
        question = question_of(f"ready-{random.getrandbits(40):010x}.ttl300.path.example")
        while time.monotonic() < until:
            query = Query("ready", 0, 1, question)
            self.begin(query)
            self.receive(0.5)
            self.pending.clear()
            if query.good is not None:
                return
            if query.first is not None:
                time.sleep(0.1)
        sys.exit("the server does not answer")

    def begin(self, query):
        query.socket = self.sockets[random.choice(self.order)]
        number = random.getrandbits(16)
        while (query.socket.fileno(), number) in self.pending:
            number = random.getrandbits(16)
        self.pending[query.socket.fileno(), number] = query
        query.wire = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + query.question
        self.send(query)

    def send(self, query):
        query.sends += 1
        try:
            query.socket.send(query.wire)
        except OSError:
            pass  # Not there (yet): as good as lost.
        if query.sends < query.limit:
            heapq.heappush(self.timers, (time.monotonic() + SILENCE, id(query), query.sends, query))

    def receive(self, timeout):
        for number, _ in self.poll.poll(max(0.0, timeout)):
            opened = self.sockets[number]
            while True:
                try:
                    data = opened.recv(4096)
                except OSError:
                    break
                self.take(number, data)

    def take(self, number, data):
        query = self.pending.get((number, int.from_bytes(data[:2], "big")))
        found = read(data, query) if query else None
        if found is None or query.good is not None:
            return None
        waited = round((time.monotonic() - self.start - query.at) * 1e3, 1)
        rcode, ttl = found
        if query.first is None:
            query.first, query.rcode = waited, rcode
        if ttl is not None:
            query.good, query.ttl = waited, ttl
        elif query.failures < query.sends:
            query.failures = query.sends
            if query.sends < query.limit:
                return self.send(query)
        if not query.done and (ttl is not None or query.failures >= query.limit):
            query.done = True
            self.open -= 1
        return None

    def run(self, queries):
        self.start = time.monotonic()
        print(json.dumps(self.start), flush=True)
        self.open, all_queries, following = len(queries), [], iter([*queries, None])
        upcoming = next(following)
        end = self.start + (queries[-1][0] if queries else 0) + PATIENCE
        while self.open and (now := time.monotonic()) < end:
            while upcoming and self.start + upcoming[0] <= now:
                at, kind, sends, name = upcoming
                query = Query(kind, now - self.start, sends, question_of(name))
                all_queries.append(query)
                self.begin(query)
                upcoming = next(following)
            while self.timers and self.timers[0][0] <= now:
                _, _, sends, query = heapq.heappop(self.timers)
                if query.good is None and query.sends == sends:
                    self.send(query)
            due = [end, self.timers[0][0] if self.timers else end]
            if upcoming:
                due.append(self.start + upcoming[0])
            self.receive(min(due) - time.monotonic())
        for query in all_queries:
            if query.good is not None and query.good > PATIENCE * 1e3:
                query.good = query.ttl = None
        print(json.dumps([query.row() for query in all_queries]), flush=True)


def main(port, seconds, *kinds):
    parsed = []
    for kind in kinds:
        name, rate, ttl, names, sends = kind.split(":")
        parsed.append((name, float(rate), int(ttl), int(names), int(sends)))
    asker = Asker(int(port))
    asker.wait_until_ready()
    asker.run(plan(parsed, float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
