"""How much memory do a process and its children take, and how much processor time?

Memory is PSS, from ``/proc/PID/smaps_rollup``: pages that several processes share count once in
the sum.  A child between vfork and exec borrows the whole memory of its parent and is not counted.
The daemon's ``gpg-agent`` is no child of it, and is counted all the same: it runs because of us.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

INTERVAL = 0.005
"""Seconds between two samples."""

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[int]:
    """Return a process and all who descend from it."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                waiting += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def helpers(pid: int) -> list[int]:
    """Return the processes that a process at rest keeps: its fork server, which opens mails.

    Those that it forks are counted in it when they end; a gpg is counted in the daemon itself.
    """
    return [one for one in family(pid)[1:] if family(one)[1:]]


def agents(home: Path) -> list[int]:
    """Return the gpg-agents of a home directory."""
    wanted = str(home).encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        command = _command(int(place.name)).split(b"\0")
        if command[0].endswith(b"gpg-agent") and wanted in command:
            found.append(int(place.name))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def pss(pids: Sequence[int]) -> int:
    """Return the proportional set size of these processes in octets."""
    return sum(map(_pss, pids))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:
        return _rss(pid)
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _rss(pid: int) -> int:
    """Return the resident set size of a process into which we may not look.

    Those that open mails are closed to all but root; it counts their shared pages in full.
    """
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def processor_time(pids: Sequence[int]) -> float:
    """Return the seconds of processor time of these processes and of their children that ended."""
    return sum(map(_processor_time, pids))


def _processor_time(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK


class Peak:
    """The most that was seen while sampling, in octets, and who had it."""

    def __init__(self, pid: int, home: Path) -> None:
        self.octets = 0
        self.daemon = 0
        self._pid = pid
        self._agents = agents(home)
        self._stop = threading.Event()

    def sample(self) -> None:
        """Look once."""
        own = _pss(self._pid)
        whole = own + pss([*self._children(), *self._agents])
        if whole > self.octets:
            self.octets, self.daemon = whole, own

    def _children(self) -> list[int]:
        """Return the children that have become programs of their own."""
        own = _command(self._pid)
        return [pid for pid in family(self._pid)[1:] if _command(pid) not in {own, b""}]

    def until_stopped(self) -> None:
        """Look every few milliseconds."""
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = time.monotonic() + INTERVAL
            self.sample()

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()


@contextmanager
def peak_of(pid: int, home: Path) -> Iterator[Peak]:
    """Sample a process, its children and its agent until the block ends."""
    peak = Peak(pid, home)
    sampler = threading.Thread(target=peak.until_stopped, name="memory", daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        peak.stop()
        sampler.join()
