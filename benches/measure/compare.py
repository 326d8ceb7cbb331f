#!/usr/bin/env python3
"""Runs the side-by-side comparison and writes its part of benches/RESULTS.md.

    cargo build --release
    python3 benches/measure/compare.py HARNESS            # everything, some 40 minutes
    python3 benches/measure/compare.py HARNESS m1 m6mem   # these parts; the others keep their figures
    python3 benches/measure/compare.py                    # tables and charts again, nothing is run

HARNESS is the folder of the measurement harness, set up as its README says.
Its rows are kept, without what no table needs, in benches/measure/rows/. From
them come the tables between the two marks in benches/RESULTS.md and the charts
benches/cpu-by-server.svg and benches/cost-by-names.svg. The comparison needs
root and two cores that do nothing else.
"""

import json
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import textwrap

sys.dont_write_bytecode = True

import charts  # noqa: E402  (beside this file; nothing is to be written there)

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ROWS = HERE / "rows"
RESULTS = ROOT / "benches" / "RESULTS.md"
BEGIN, END = "<!-- begin: compare.py -->", "<!-- end: compare.py -->"

LOCAL = "floor-mmsg,floor-table,hubdns,dnsdist,nsd,knotd"
MILLION = "floor-table,hubdns,nsd,knotd"
# Name: the harness's arguments and the file that it writes.
RUNS = {
    "m1": (["m1", "--servers", LOCAL, "--rounds", "7"], "m1-2000"),
    "m1-others": (["m1", "--servers", "unbound,named,dnsmasq,recursor,hubdns", "--rounds", "3",
                   "--tag=-others"], "m1-2000-others"),
    "m1-1m": (["m1", "--names", "1000000", "--servers", MILLION, "--rounds", "7"], "m1-1000000"),
    "m1-100k": (["m1", "--names", "100000", "--servers", MILLION, "--rounds", "3", "--lat-rounds", "0"],
                "m1-100000"),
    "m3": (["m3", "--servers", "hubdns,dnsdist,unbound", "--rounds", "5"], "m3"),
    "m4": (["m4", "--servers", "hubdns,dnsdist,unbound,floor-relay", "--rounds", "5"], "m4"),
    "m5": (["m5", "--servers", "hubdns,knotd,dnsdist", "--rounds", "5"], "m5"),
    "m6mem": (["m6mem", "--servers", "hubdns,knotd,nsd", "--sizes", "2000,1000000", "--rounds", "1"], "m6mem"),
    "m6reload": (["m6reload", "--servers", "hubdns,knotd,nsd", "--sizes", "1000000"], "m6reload"),
}
VERSIONS = {
    "Knot": ["knotd", "--version"], "NSD": ["nsd", "-v"], "dnsdist": ["dnsdist", "--version"],
    "Unbound": ["unbound", "-V"], "BIND": ["named", "-v"], "dnsmasq": ["dnsmasq", "--version"],
    "PowerDNS Recursor": ["pdns_recursor", "--version"],
}
WANTED = ("qps", "srv_ns_per_q", "srv_user_ns_per_q", "ratio", "p50_us", "p99_us", "p999_us", "lost",
          "foreign")


def main():
    arguments = sys.argv[1:]
    if arguments:
        harness = pathlib.Path(arguments[0]).resolve()
        names = arguments[1:] or list(RUNS)
        unknown = [name for name in names if name not in RUNS]
        if unknown or not (harness / "run.py").exists():
            sys.exit(f"usage: compare.py [HARNESS [{'|'.join(RUNS)}]...]")
        prepare(harness)
        for name in names:
            run(harness, name)
    write()


def prepare(harness):
    """Puts the release binary and its server file where the harness looks."""
    (harness / "bin").mkdir(exist_ok=True)
    shutil.copy2(ROOT / "target" / "release" / "hubdns", harness / "bin" / "hubdns")
    shutil.copy2(HERE / "hubdns.json", harness / "servers.d" / "hubdns.json")
    ROWS.mkdir(exist_ok=True)
    (ROWS / "versions.json").write_text(json.dumps(versions(), indent=1) + "\n")


def versions():
    found = {"hubdns": output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
             "rustc": output(["rustc", "--version"]), "kernel": platform.release(), "cpu": cpu()}
    for name, command in VERSIONS.items():
        command[0] = shutil.which(command[0], path="/usr/sbin:/usr/bin:/usr/local/sbin") or command[0]
        found[name] = output(command)
    return found


def output(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return "not installed"
    lines = (done.stdout + done.stderr).strip().splitlines()
    # Some print the time first, or more than a version.
    return re.sub(r"^\w+ \d+ [\d:]+ |  .*| <.*>| \(C\).*", "", lines[0].strip()) if lines else "unknown"


def cpu():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def run(harness, name):
    command, file = RUNS[name]
    print(f"# run.py {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, "run.py", *command], cwd=harness, check=True, timeout=1200)
    result = json.loads((harness / "results" / f"{file}.json").read_text())
    result["command"] = "run.py " + " ".join(command)
    result["binary"] = json.loads((ROWS / "versions.json").read_text())["hubdns"]
    (ROWS / f"{name}.json").write_text(json.dumps(slim(result), indent=1) + "\n")


def slim(value):
    """Leaves out of rows what no table needs."""
    if isinstance(value, dict):
        if "srv_ns_per_q" in value and "answered" in value:
            return {key: value[key] for key in WANTED if key in value}
        return {key: slim(inner) for key, inner in value.items() if key != "timeline"}
    return [slim(inner) for inner in value] if isinstance(value, list) else value


def rows(name):
    path = ROWS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def spread(values, digits=2):
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}–{max(values):,.{digits}f}]"


def of(server, key):
    return [row[key] for row in server["rows"] if key in row]


def against(one, other):
    """CPU of one server over another's, round by round: both over the floor just before them."""
    return [a / b for a, b in zip(of(one, "ratio"), of(other, "ratio"))]


def table(head, lines):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *("| " + " | ".join(line) + " |" for line in lines), ""]


def heading(result):
    return [f"`{result['command']}`, {result['when']}, hubdns {result['binary']}:", ""]


def udp(name, title):
    result = rows(name)
    if not result:
        return []
    servers = sorted(result["res"].items(), key=lambda item: statistics.median(of(item[1], "ratio")))
    lines = []
    for server, data in servers:
        late = data.get("latency_rows") or []
        p99 = spread([row["p99_us"] for row in late], 0) if late else "not taken"
        lines.append([label(server), spread(of(data, "ratio")), spread(of(data, "srv_user_ns_per_q"), 0),
                      spread([qps / 1000 for qps in of(data, "qps")], 0), p99])
    text = [f"### {title}", "", *heading(result),
            *table(["server", "CPU, floors", "user ns/query", "thousand queries/s", "p99 µs at 20,000/s"], lines)]
    ours = result["res"].get("hubdns")
    others = [(server, data) for server, data in servers if server != "hubdns"]
    if ours and others:
        pairs = [[label(server), spread(against(ours, data))] for server, data in others]
        text += ["The same, hubdns against each, round by round:", "", *table(["against", "CPU"], pairs)]
    return text


def tcp():
    result = rows("m5")
    if not result:
        return []
    single, piped = result["res"]["tcp-conn"], result["res"]["tcp-pipe"]
    lines = [[label(server), spread(of(single[server], "ratio")), spread(of(piped[server], "ratio"))]
             for server in single if server in piped]
    head = ["server", "one query per connection, floors", "pipelined, floors"]
    return ["### TCP", "", *heading(result), *table(head, lines)]


def memory():
    result = rows("m6mem")
    if not result:
        return []
    lines = []
    for key, data in result["res"].items():
        server, names = key.split("/")
        start = data["start_s"]
        lines.append([label(server), f"{int(names):,}", f"{start['med']:.2f} [{start['min']:.2f}–{start['max']:.2f}]",
                      str(data["rss"]), str(data["pss_after"])])
    head = ["server", "names", "start to first answer, s", "resident MiB", "PSS MiB after load"]
    return ["### Start and memory", "", *heading(result), *table(head, lines)]


def reload():
    result = rows("m6reload")
    if not result:
        return []
    lines = []
    for key, data in result["res"].items():
        server, names = key.split("/")
        quiet, busy = data["quiet"], data["reload"]
        seen = f"{data['seen_s']:.2f}" if data["seen_s"] is not None else "not within the run"
        before, peak = data["pss"]
        lines.append([label(server), f"{int(names):,}", str(busy["lost"]), f"{quiet['p999_us']:,.0f}",
                      f"{busy['p999_us']:,.0f}", seen, f"{before} to {peak}"])
    head = ["server", "names", "lost", "p99.9 µs quiet", "p99.9 µs with reload", "new data seen, s", "PSS MiB"]
    return ["### Reload under load, 20,000 queries/s", "", *heading(result), *table(head, lines)]


def label(server):
    return {"knotd": "Knot", "nsd": "NSD", "named": "BIND", "unbound": "Unbound", "recursor": "PowerDNS Recursor",
            "floor-mmsg": "bare responder", "floor-table": "table of ready answers",
            "floor-relay": "bare relay"}.get(server, server)


def draw():
    """The charts, as far as there are rows for them; lines that show them."""
    shown = []
    bars = []
    for name in ("m1", "m1-others"):
        for server, data in (rows(name) or {"res": {}})["res"].items():
            if label(server) not in [bar[0] for bar in bars]:
                values = of(data, "ratio")
                bars.append((label(server), statistics.median(values), min(values), max(values)))
    if bars:
        svg = charts.bars("CPU per query, hot local names over UDP", "multiples of a bare UDP responder",
                          sorted(bars, key=lambda bar: bar[1]), "hubdns")
        (ROOT / "benches" / "cpu-by-server.svg").write_text(svg)
        shown += ["![CPU per query by server](cpu-by-server.svg)", ""]
    lines = {}
    for size, name in ((2_000, "m1"), (100_000, "m1-100k"), (1_000_000, "m1-1m")):
        for server, data in (rows(name) or {"res": {}})["res"].items():
            lines.setdefault(label(server), []).append((size, statistics.median(of(data, "ratio"))))
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if lines:
        svg = charts.lines("CPU per query by number of names", "multiples of a bare UDP responder", lines, "hubdns")
        (ROOT / "benches" / "cost-by-names.svg").write_text(svg)
        shown += ["![CPU per query by number of names](cost-by-names.svg)", ""]
    return shown


def write():
    known = rows("versions") or {}
    listed = [f"{name}: {version}" for name, version in known.items() if name != "hubdns"]
    text = [BEGIN, "", *draw(),
            *textwrap.wrap("One core for the server, one for the generator; rows interleaved, each divided by a run of "
                           "a bare `recvmmsg` responder just before it (\"floor\"); median [min–max] over the rounds. "
                           + "; ".join(listed) + ".", 80), "",
            *udp("m1", "Hot local answers, 2,000 names"), *udp("m1-others", "Hot local answers, other servers"),
            *udp("m1-100k", "Hot local answers, 100,000 names"), *udp("m1-1m", "Hot local answers, 1,000,000 names"),
            *memory(), *reload(), *tcp(), *udp("m3", "Forwarding, cached"), *udp("m4", "Forwarding, every name new"),
            END]
    before, _, rest = RESULTS.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    RESULTS.write_text(before + "\n".join(text) + after)


if __name__ == "__main__":
    main()
