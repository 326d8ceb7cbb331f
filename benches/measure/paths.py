"""A bad way between two network namespaces, made for a run and gone after it.

    front (servers under test, clients)  ==  middle (relay.py)  ==  back (upstreams)
    192.0.2.1 front0                     veth pairs             back0 192.0.2.53, .54

Nothing leaves the three: no other interface is in them. The relay delays and
reorders frames; nftables drops packets where they arrive, since a drop on the
way out would be told to the sender. Needs root, or a user namespace of its own
(`unshare --user --map-root-user --mount --net` with a fresh /run).
"""

import contextlib
import ctypes
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
FRONT = "192.0.2.1"
UPSTREAMS = ("192.0.2.53", "192.0.2.54")
PR_SET_PDEATHSIG = 1
NAME = re.compile(r"^hubdns-(\d+)-(front|middle|back)\b")
# Administrators' tools are not on everybody's path.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"])

RULES = """
table inet path
delete table inet path
table inet path {
  counter asked { }
  set silent { type ipv4_addr; }
  chain arriving {
    type filter hook input priority 0; policy accept;
    iifname != "back0" iifname != "front0" accept
    ip daddr @silent drop
    meta l4proto udp udp dport 53 counter name asked
    LOSS
  }
}
"""


class Unusable(Exception):
    """Why no path can be made here."""


def tool(name):
    """The path of a program; `None` if it is not installed."""
    return shutil.which(name, path=SEARCH)


def check():
    """Raises `Unusable` where this machine or user cannot make namespaces."""
    missing = [name for name in ("ip", "nft", "nsenter") if not tool(name)]
    if missing:
        raise Unusable(f"{' and '.join(missing)} not installed (packages iproute2, nftables, util-linux)")
    if os.geteuid() != 0:
        raise Unusable("network namespaces need root")


def end_at_signals():
    """Signals end the program as errors do, so that nothing is left behind."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def stop(process, patience=5.0):
    """Ends a process that was started here."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout:
        process.stdout.close()


def line_of(process, patience=60.0):
    """The next line that it prints."""
    ready, _, _ = select.select([process.stdout], [], [], patience)
    line = process.stdout.readline().strip() if ready else ""
    if not line:
        raise RuntimeError(f"{process.args[-1] if not ready else process.args}: ended or silent")
    return line


class Path:
    """The three namespaces, with the relay and two upstreams at work.

    `delay_ms`, `jitter_ms`, `late_percent` and `late_ms` are relay.py's."""

    def __init__(self, delay_ms=20, jitter_ms=10, late_percent=1, late_ms=60, seed=1):
        self.shape = [str(value) for value in (delay_ms, jitter_ms, late_percent, late_ms, seed)]
        self.names = {end: f"hubdns-{os.getpid()}-{end}" for end in ("front", "middle", "back")}
        self.cleanup = contextlib.ExitStack()
        self.upstreams = {}

    def __enter__(self):
        check()
        remove_left_over()
        with contextlib.ExitStack() as undo:
            undo.callback(self.cleanup.close)
            self._make()
            undo.pop_all()
        return self

    def __exit__(self, *_):
        self.cleanup.close()

    def _make(self):
        for name in self.names.values():
            _ip("netns", "add", name)
            self.cleanup.callback(_ip, "netns", "del", name, check=False)
        middle = self.names["middle"]
        for end in ("front", "back"):
            _ip("-n", middle, "link", "add", f"{end}1", "type", "veth", "peer", "name", f"{end}0", "netns",
                self.names[end])
            _ip("-n", middle, "link", "set", f"{end}1", "up")
            _ip("-n", self.names[end], "link", "set", "lo", "up")
            _ip("-n", self.names[end], "link", "set", f"{end}0", "up")
            self.run(end, [sys.executable, str(HERE / "offload.py"), f"{end}0"])
        _ip("-n", self.names["front"], "address", "add", f"{FRONT}/24", "dev", "front0")
        for address in UPSTREAMS:
            _ip("-n", self.names["back"], "address", "add", f"{address}/24", "dev", "back0")
        self.lose(0)
        relay = self.start("middle", [sys.executable, str(HERE / "relay.py"), "front1", "back1", *self.shape],
                           stdout=subprocess.PIPE, text=True)
        line_of(relay)
        self.revive(*UPSTREAMS)

    def inside(self, end, command):
        """`command` as it is run in a namespace."""
        # Not `ip netns exec`, which mounts more than some may.
        return [tool("nsenter"), f"--net=/run/netns/{self.names[end]}", "--", *command]

    def run(self, end, command, text=None):
        """Runs a short command there and returns what it prints."""
        done = subprocess.run(self.inside(end, command), input=text, capture_output=True, text=True, timeout=30,
                              check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, end, command, **options):
        """Starts a process there, which ends with the path at the latest."""
        process = subprocess.Popen(self.inside(end, command), stdin=subprocess.DEVNULL,
                                   preexec_fn=_die_with_parent, **options)
        self.cleanup.callback(stop, process)
        return process

    def lose(self, percent):
        """From now on this share of the packets is lost, in each direction."""
        loss = f"numgen random mod 100 < {percent} drop" if percent else ""
        for end in ("front", "back"):
            self.run(end, [tool("nft"), "-f", "-"], RULES.replace("LOSS", loss))

    def asked(self):
        """Queries by UDP that reached the upstreams' side before any was lost, since the last call."""
        listed = self.run("back", [tool("nft"), "reset", "counter", "inet", "path", "asked"])
        return int(re.search(r"packets (\d+)", listed).group(1))

    def silence(self, *addresses):
        """What is sent to these upstreams is dropped without a word."""
        self._silent("add", addresses)

    def hear(self, *addresses):
        """Ends `silence`."""
        self._silent("delete", addresses)

    def _silent(self, verb, addresses):
        listed = f"{{ {', '.join(addresses)} }}"
        self.run("back", [tool("nft"), verb, "element", "inet", "path", "silent", listed])

    def kill(self, *addresses):
        """Ends the processes of these upstreams: their ports are closed."""
        for address in addresses:
            process = self.upstreams.pop(address)
            process.kill()
            process.wait()

    def revive(self, *addresses):
        """Starts these upstreams and returns when they listen."""
        for address in addresses:
            self.upstreams[address] = self.start("back", [sys.executable, str(HERE / "responder.py"), address],
                                                 stdout=subprocess.PIPE, text=True)
        for address in addresses:
            line_of(self.upstreams[address])


def _ip(*arguments, check=True):
    done = subprocess.run([tool("ip"), *arguments], capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode:
        raise Unusable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def remove_left_over():
    """Removes the namespaces of runs that were killed: their process is no more."""
    for line in _ip("netns", "list").splitlines():
        found = NAME.match(line)
        if found and not pathlib.Path("/proc", found.group(1)).exists():
            _ip("netns", "del", line.split()[0], check=False)


def wait_until(moment):
    """Sleeps until the clock that all processes share shows `moment`."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(left)
