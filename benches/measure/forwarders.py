"""The servers that are compared on a bad path: configuration, start, version.

Their files are in servers/. Where `stale` is asked for, each gets what it has
of serving expired answers while upstreams are silent (RFC 8767); hubdns does so
by default.
"""

import contextlib
import json
import pathlib
import string
import subprocess
import sys

import paths
from compare import VERSIONS, output

HERE = pathlib.Path(__file__).resolve().parent
# Name: how it is shown, its file, its command, and its lines for stale answers.
SERVERS = {
    "hubdns": ("hubdns", "hubdns.toml", ["HUBDNS", "serve", "--config", "FILE"], ""),
    "unbound": ("Unbound", "unbound.conf", ["unbound", "-d", "-c", "FILE"],
                "    serve-expired: yes\n    serve-expired-client-timeout: 1800\n    serve-expired-reply-ttl: 30"),
    "dnsdist": ("dnsdist", "dnsdist.conf", ["dnsdist", "--supervised", "--disable-syslog", "-C", "FILE"],
                "setStaleCacheEntriesTTL(86400)"),
    "named": ("BIND", "named.conf", ["named", "-f", "-n", "1", "-c", "FILE"],
              "stale-answer-enable yes; stale-answer-client-timeout 1800; stale-cache-enable yes;"),
    "dnsmasq": ("dnsmasq", "dnsmasq.conf", ["dnsmasq", "--keep-in-foreground", "--conf-file=FILE"],
                "use-stale-cache=86400"),
}
USUAL = ["hubdns", "unbound", "dnsdist"]
FIRST_PORT = 5301


def check(names, hubdns):
    """Ends the program, in words, where a server is missing."""
    unknown = [name for name in names if name not in SERVERS]
    if unknown:
        sys.exit(f"no such server: {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    missing = [name for name in names if not program(name, hubdns)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")


def program(name, hubdns):
    """Path of the program."""
    command = SERVERS[name][2][0]
    if command == "HUBDNS":
        path = pathlib.Path(hubdns).resolve()
        return str(path) if path.is_file() else None
    return paths.tool(command)


def label(name):
    return SERVERS[name][0]


def versions(names, hubdns):
    """What each calls itself."""
    found = {}
    for name in names:
        shown = label(name)
        arguments = VERSIONS[shown][1:] if shown in VERSIONS else ["--version"]
        found[shown] = output([program(name, hubdns), *arguments])
    return found


@contextlib.contextmanager
def running(path, name, hubdns, directory, stale=False):
    """Runs a server in front of `path`; gives its port on loopback there."""
    _, file, command, lines = SERVERS[name]
    place = pathlib.Path(directory, name)
    place.mkdir(parents=True, exist_ok=True)
    port = FIRST_PORT + list(SERVERS).index(name)
    template = string.Template((HERE / "servers" / file).read_text())
    config = place / file
    config.write_text(template.substitute(port=port, dir=place, stale=lines if stale else ""))
    filled = [program(name, hubdns), *(part.replace("FILE", str(config)) for part in command[1:])]
    with open(place / "log", "a", encoding="utf-8") as log:
        process = path.start("front", filled, stdout=log, stderr=log, cwd=place)
    try:
        yield port
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended: {(place / 'log').read_text()[-2000:]}")
    finally:
        paths.stop(process)


@contextlib.contextmanager
def asking(path, port, seconds, kinds):
    """Starts asker.py against `port`; gives its process and the moment of its start."""
    client = path.start("front", [sys.executable, str(HERE / "asker.py"), str(port), str(seconds), *kinds],
                        stdout=subprocess.PIPE, text=True)
    try:
        yield client, json.loads(paths.line_of(client))
    finally:
        paths.stop(client)


def result(client, seconds):
    """What became of all queries; waits for the end."""
    return json.loads(paths.line_of(client, seconds + 60))
