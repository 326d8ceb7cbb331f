#!/usr/bin/env python3
"""Compares forwarders on a lossy, slow, reordering path; writes its part of benches/RESULTS.md.

    cargo build --release
    sudo python3 benches/measure/lossy.py target/release/hubdns    # everything, some 25 minutes
    sudo python3 benches/measure/lossy.py HUBDNS --loss 10,30 --servers hubdns,unbound --rounds 1
    sudo python3 benches/measure/lossy.py HUBDNS --smoke           # hubdns alone, some seconds
    python3 benches/measure/lossy.py                               # the tables again, nothing is run

Only a whole run writes: rows to benches/measure/rows/lossy.json, and the tables
between the two marks in benches/RESULTS.md. The path is paths.py's, the servers
are forwarders.py's, the client is asker.py. Needs root, iproute2 and nftables.
"""

import argparse
import sys
import tempfile

sys.dont_write_bytecode = True

import forwarders  # noqa: E402  (beside this file; nothing is to be written there)
import paths  # noqa: E402
import tables  # noqa: E402

LOSSES = (0, 5, 10, 20, 30)
RATE = 100
PATIENCE_MS = 5000.0
# Name of the client: what its rows are headed with, sends.
CLIENTS = {"once": ("a client that sends once", 1), "again": ("a client that sends again", 3)}
NOT_POSSIBLE = 77


def main():
    options = arguments()
    if options.hubdns is None:
        return write()
    names, losses = options.servers.split(","), [int(loss) for loss in options.loss.split(",")]
    forwarders.check(names, options.hubdns)
    paths.end_at_signals()
    try:
        paths.check()
        if options.smoke:
            return smoke(options.hubdns)
        rows = [row for loss in losses for row in run(loss, names, options)]
    except paths.Unusable as problem:
        print(f"no path can be made here: {problem}", file=sys.stderr)
        sys.exit(NOT_POSSIBLE)
    result = {"when": tables.now(), "versions": forwarders.versions(names, options.hubdns),
              "command": f"lossy.py --rounds {options.rounds} --seconds {options.seconds}",
              "rate": RATE, "rounds": options.rounds, "rows": rows}
    print("\n".join(shown(result)))
    if names == forwarders.USUAL and losses == list(LOSSES):
        tables.save("lossy", result)
        write()
    return None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hubdns", nargs="?")
    parser.add_argument("--loss", default=",".join(map(str, LOSSES)))
    parser.add_argument("--servers", default=",".join(forwarders.USUAL))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args()


def run(loss, names, options):
    """Rows of one loss rate: every server in turn, that in rounds."""
    with tempfile.TemporaryDirectory() as directory, paths.Path(seed=loss + 1) as path:
        for number in range(options.rounds):
            for name in names:
                for row in measure(path, loss, name, options, directory):
                    row["round"] = number
                    print("#", row, flush=True)
                    yield row


def measure(path, loss, name, options, directory):
    """One run of one server: a row for each client."""
    kinds = [f"{client}:{RATE}:300:0:{sends}" for client, (_, sends) in CLIENTS.items()]
    # It starts and its round trips become known before anything is lost.
    path.lose(0)
    with forwarders.running(path, name, options.hubdns, directory) as port:
        with forwarders.asking(path, port, 1, kinds) as (client, _):
            forwarders.result(client, 6)
        path.lose(loss)
        path.asked()
        with forwarders.asking(path, port, options.seconds, kinds) as (client, _):
            queries = forwarders.result(client, options.seconds)
        asked = path.asked() / max(1, len(queries))
    for client in CLIENTS:
        yield {"loss": loss, "server": name, "client": client, "asked": round(asked, 2),
               **figures([query for query in queries if query[0] == client])}


def figures(queries):
    """Shares in percent, times in milliseconds; what was not answered took all the time there was."""
    _, _, first, rcode, good, _, _ = range(7)
    times = sorted(PATIENCE_MS if query[good] is None else query[good] for query in queries)
    answered = [query[good] for query in queries if query[good] is not None]
    failed = sum(query[good] is None and query[rcode] not in (None, 0) for query in queries)
    silent = sum(query[first] is None or query[first] > PATIENCE_MS for query in queries)
    return {"queries": len(queries), "answered": round(100 * len(answered) / len(queries), 3),
            "p50": tables.rank(times, 50), "p99": tables.rank(times, 99),
            "longest": max(answered, default=PATIENCE_MS), "failed": round(100 * failed / len(queries), 3),
            "silent": round(100 * silent / len(queries), 3)}


def smoke(hubdns):
    """Whether all of this works: one loss rate, hubdns alone, some seconds."""
    options = argparse.Namespace(hubdns=hubdns, rounds=1, seconds=3)
    rows = list(run(10, ["hubdns"], options))
    # One query in five is lost, or its response: without resends 81 % are answered.
    if len(rows) != len(CLIENTS) or any(row["answered"] < 94 for row in rows):
        sys.exit("hubdns leaves too many queries without an answer")
    print("ok")


def shown(result):
    """The tables."""
    text = []
    for client, (title, _) in CLIENTS.items():
        lines = []
        keys = dict.fromkeys((row["loss"], row["server"]) for row in result["rows"])
        for loss, server in sorted(keys, key=lambda key: key[0]):
            rows = [row for row in result["rows"] if (row["loss"], row["server"], row["client"])
                    == (loss, server, client)]
            of = lambda key, digits: tables.spread([row[key] for row in rows], digits)
            lines.append([f"{loss} %", forwarders.label(server), of("answered", 2), of("p50", 0), of("p99", 0),
                          of("longest", 0), of("failed", 2), of("silent", 2), of("asked", 2)])
        text += [f"### Lossy path, {title}", "",
                 *tables.table(["lost each way", "server", "answered, %", "p50 ms", "p99 ms", "longest answer, ms",
                                "failed, %", "silence, %", "queries upstream"], lines)]
    return text


def write():
    result = tables.rows("lossy")
    if result:
        told = "; ".join(f"{name}: {version}" for name, version in result["versions"].items())
        tables.insert("lossy.py", [f"`{result['command']}`, {result['when']}; {told}.", "", *shown(result)])


if __name__ == "__main__":
    main()
