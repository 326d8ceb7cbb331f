#!/usr/bin/env python3
"""Copies frames between two interfaces, late and out of order.

    relay.py LEFT RIGHT DELAY_MS JITTER_MS LATE_PERCENT LATE_MS SEED

Each frame waits DELAY_MS and a random part of JITTER_MS; LATE_PERCENT of them
wait LATE_MS more, so that those behind overtake them. All of it counts for one
direction; both have the same. It ends with a signal, like every program here.
"""

import contextlib
import heapq
import random
import select
import socket
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
LONGEST_FRAME = 65_600


def tap(interface):
    """A socket that gets what comes in by `interface`, and sends by it."""
    tapped = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tapped.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
        # In a user namespace the usual length has to do.
        with contextlib.suppress(PermissionError):
            tapped.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
    tapped.bind((interface, 0))
    tapped.setblocking(False)
    return tapped


def main(left, right, delay_ms, jitter_ms, late_percent, late_ms, seed):
    delay, jitter, late = float(delay_ms) / 1e3, float(jitter_ms) / 1e3, float(late_ms) / 1e3
    share, chance = float(late_percent) / 100, random.Random(int(seed))
    one, other = tap(left), tap(right)
    across = {one: other, other: one}
    waiting, count = [], 0
    print("ready", flush=True)
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([one, other], [], [], timeout)
        for tapped in ready:
            with contextlib.suppress(BlockingIOError, OSError):
                while True:
                    frame = tapped.recv(LONGEST_FRAME)
                    due = time.monotonic() + delay + jitter * chance.random()
                    if share and chance.random() < share:
                        due += late
                    # The number keeps frames of one instant in their order.
                    count += 1
                    heapq.heappush(waiting, (due, count, across[tapped], frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, out, frame = heapq.heappop(waiting)
            # What finds no room is lost, as it would be on a wire.
            with contextlib.suppress(OSError):
                out.send(frame)


if __name__ == "__main__":
    main(*sys.argv[1:])
