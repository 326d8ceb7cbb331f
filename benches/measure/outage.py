#!/usr/bin/env python3
"""Compares forwarders while their upstreams die and come back; writes its part of benches/RESULTS.md.

    cargo build --release
    sudo python3 benches/measure/outage.py target/release/hubdns   # everything, some 15 minutes
    sudo python3 benches/measure/outage.py HUBDNS --servers hubdns --forms refused --rounds 1
    python3 benches/measure/outage.py                              # the tables again, nothing is run

The first of two upstreams dies, then the other as well, then both come back: as
processes that are killed (the port is closed, which ICMP tells as often as
Linux sends it) and as hosts that are cut off (a black hole). Half of the load
asks for names with a TTL of 5 s again and again, half for new names. Only a
whole run writes. The path is paths.py's, without loss; servers and client are
forwarders.py's and asker.py's.
"""

import argparse
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import forwarders  # noqa: E402  (beside this file; nothing is to be written there)
import paths  # noqa: E402
import tables  # noqa: E402

FORMS = {"refused": "ports closed", "silent": "black hole"}
FIRST_DOWN, BOTH_DOWN, BACK, END = 8, 16, 26, 36
RATE, HOT_TTL, HOT_NAMES = 100, 5, 50
KINDS = [f"hot:{RATE}:{HOT_TTL}:{HOT_NAMES}:1", f"new:{RATE}:300:0:1"]
# Queries sent so shortly before the second upstream dies belong to neither part.
MARGIN = 1
# What nobody may wait for longer.
DEADLINE_MS = 2400
AT, FIRST, RCODE, GOOD, TTL = 1, 2, 3, 4, 5


def main():
    options = arguments()
    if options.hubdns is None:
        return write()
    names, forms = options.servers.split(","), options.forms.split(",")
    forwarders.check(names, options.hubdns)
    paths.end_at_signals()
    rows = []
    try:
        with tempfile.TemporaryDirectory() as directory, paths.Path() as path:
            for number in range(options.rounds):
                for form in forms:
                    for name in names:
                        row = {"form": form, "server": name, "round": number,
                               **measure(path, form, name, options.hubdns, directory)}
                        print("#", row, flush=True)
                        rows.append(row)
    except paths.Unusable as problem:
        sys.exit(f"no path can be made here: {problem}")
    result = {"when": tables.now(), "versions": forwarders.versions(names, options.hubdns),
              "command": f"outage.py --rounds {options.rounds}", "rows": rows}
    print("\n".join(shown(result)))
    if names == forwarders.USUAL and forms == list(FORMS):
        tables.save("outage", result)
        write()
    return None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hubdns", nargs="?")
    parser.add_argument("--servers", default=",".join(forwarders.USUAL))
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def measure(path, form, name, hubdns, directory):
    """One outage with one server."""
    down, up = (path.kill, path.revive) if form == "refused" else (path.silence, path.hear)
    first, second = paths.UPSTREAMS
    with forwarders.running(path, name, hubdns, directory, stale=True) as port:
        with forwarders.asking(path, port, END, KINDS) as (client, start):
            moments = []
            for moment, action, addresses in ((FIRST_DOWN, down, [first]), (BOTH_DOWN, down, [second]),
                                              (BACK, up, [first, second])):
                paths.wait_until(start + moment)
                action(*addresses)
                moments.append(time.monotonic() - start)
            queries = forwarders.result(client, END)
    return figures(queries, *moments)


def figures(queries, first_down, both_down, back):
    """What became of the queries in each part of the outage."""
    during = lambda kind, begin, end: [q for q in queries if q[0] in kind and begin <= q[AT] < end]
    half = during(("hot", "new"), first_down, both_down - MARGIN)
    hot, new = during(("hot",), both_down, back), during(("new",), both_down, back)
    times = sorted(5000.0 if query[GOOD] is None else query[GOOD] for query in half)
    waits = [query[FIRST] for query in queries if query[FIRST] is not None]
    return {
        "half_answered": share(half, is_good), "half_p99": tables.rank(times, 99),
        "half_longest": times[-1],
        "hot_answered": share(hot, is_good), "hot_stale": share(hot, is_stale),
        "new_failed": share(new, lambda query: query[FIRST] is not None and query[RCODE] != 0),
        "new_silent": share(new, lambda query: query[FIRST] is None),
        "beyond": sum(is_beyond(query) for query in queries), "longest": max(waits, default=5000.0),
        "never": sum(query[FIRST] is None for query in queries),
        **recovery([query for query in queries if query[0] == "new"], back),
    }


def share(queries, condition):
    return round(100 * sum(map(condition, queries)) / max(1, len(queries)), 2)


def is_good(query):
    return query[GOOD] is not None and query[GOOD] <= DEADLINE_MS


def is_stale(query):
    """Its TTL tells: nobody gives what is fresh a longer one than upstream did."""
    return is_good(query) and query[TTL] > HOT_TTL


def is_beyond(query):
    return query[FIRST] is None or query[FIRST] > DEADLINE_MS


def recovery(queries, back):
    """Seconds from the upstreams' return to the first answer, and to the first
    second in which 99 % of what is asked is answered in time."""
    came = [query[AT] + query[GOOD] / 1e3 - back for query in queries if query[GOOD] is not None]
    first = min((moment for moment in came if moment >= 0), default=None)
    whole, step = None, 0
    while whole is None and back + step / 20 + 1 <= END:
        begin = back + step / 20
        asked = [query for query in queries if begin <= query[AT] < begin + 1]
        if asked and sum(map(is_good, asked)) >= 0.99 * len(asked):
            whole = step / 20
        step += 1
    missing = END - back
    return {"first_good": round(missing if first is None else first, 2), "whole": missing if whole is None else whole}


def shown(result):
    """The tables."""
    text = []
    for form, title in FORMS.items():
        lines = []
        for server in dict.fromkeys(row["server"] for row in result["rows"] if row["form"] == form):
            rows = [row for row in result["rows"] if (row["form"], row["server"]) == (form, server)]
            of = lambda key, digits=0: tables.spread([row[key] for row in rows], digits)
            lines.append([forwarders.label(server), of("half_answered", 2), of("half_p99"), of("hot_answered", 1),
                          of("hot_stale", 1), of("new_failed", 1), of("beyond"), of("longest"),
                          of("first_good", 2), of("whole", 2)])
        if lines:
            head = ["server", "first down: answered, %", "p99 ms", "both down: known names, %", "stale, %",
                    "new names failed, %", "waited more than 2.4 s", "longest wait, ms", "back: first answer, s",
                    "99 % again, s"]
            text += [f"### Outage, {title}", "", *tables.table(head, lines)]
    return text


def write():
    result = tables.rows("outage")
    if result:
        told = "; ".join(f"{name}: {version}" for name, version in result["versions"].items())
        tables.insert("outage.py", [f"`{result['command']}`, {result['when']}; {told}.", "", *shown(result)])


if __name__ == "__main__":
    main()
