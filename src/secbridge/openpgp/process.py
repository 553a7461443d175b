"""How does one run of gpg begin, and how is it sure to end?  One child, one loop, three limits.

Standard input is fed while standard output and the status pipe are read, the
output is counted while it comes, and the child is killed at the cap, at the time limit, or when
the work for which it runs was cancelled.  Nothing is read from standard error, ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
import selectors
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, ClassVar, TypeVar

from secbridge.openpgp.faults import Fault, fault
from secbridge.openpgp.output import Output

T = TypeVar("T")

_CHUNK = 256 * 1024
_PIPE = 1024 * 1024
_MOST_STATUS = 1024 * 1024
_PATIENCE = 10.0
"""Seconds in which a child that gets no input may leave by itself."""

_INT = struct.Struct("i")
_MISSING = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR})


class WorkCancelledError(Exception):
    """The work was cancelled while its child ran; the child is dead."""


class Job:
    """One piece of work in a thread, with the child that it waits for.  ``kill`` ends both."""

    _here: ClassVar[threading.local] = threading.local()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._killed = False

    def do(self, work: Callable[[], T]) -> T:
        """Run ``work`` in this thread; the children that it starts belong to this job."""
        Job._here.job = self
        try:
            return work()
        finally:
            Job._here.job = None

    @classmethod
    def current(cls) -> Job:
        """Return the job of this thread."""
        job: Job | None = getattr(cls._here, "job", None)
        return job if job is not None else Job()

    def insist(self) -> None:
        """Raise WorkCancelledError when the job is dead already."""
        with self._lock:
            if self._killed:
                raise WorkCancelledError

    def adopt(self, child: Child) -> None:
        """Make a child that of this job, or raise WorkCancelledError when the job is dead."""
        with self._lock:
            if self._killed:
                raise WorkCancelledError
            self._child = child

    @classmethod
    def none(cls) -> Job:
        """Return a job that may start no child: what needs one raises WorkCancelledError."""
        job = cls()
        job._killed = True
        return job

    def kill(self) -> None:
        """Kill the child, if there is one, and let no other begin."""
        with self._lock:
            self._killed = True
            if self._child is not None:
                self._child.kill()

    @property
    def killed(self) -> bool:
        """Whether ``kill`` was called."""
        return self._killed


Child = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """How a child ended.  ``capped``: killed because its output (or status) passed the limit."""

    returncode: int
    output: bytes
    status: bytes
    capped: bool = False

    def __repr__(self) -> str:
        return f"Outcome({self.returncode}, {len(self.output)} bytes)"


@dataclass(frozen=True, slots=True)
class Started:
    """A child that has begun and has got no input yet; ``status``: our end of its status pipe."""

    child: Child
    status: int

    @property
    def lives(self) -> bool:
        """Whether it still waits."""
        return self.child.poll() is None

    def leave(self) -> None:
        """Give it no input, so that it ends by itself and leaves no lock files in its home."""
        with suppress(OSError, subprocess.TimeoutExpired):
            if self.child.stdin is not None:
                self.child.stdin.close()
            self.child.wait(_PATIENCE)
        self.end()

    def end(self) -> None:
        """End it, whatever it does."""
        _end(self.child)
        os.close(self.status)


def start(
    command: Callable[[int], Sequence[str]],
    *,
    env: dict[str, str],
    pass_fds: Sequence[int] = (),
) -> Started:
    """Start ``command(status_fd)``.

    Raises Deferral for a program that cannot be started, and WorkCancelledError when the job of
    this thread was killed.
    """
    Job.current().insist()
    try:
        status, theirs = os.pipe()
        try:
            child = subprocess.Popen(
                command(theirs), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, pass_fds=(theirs, *pass_fds), env=env, cwd="/",
                bufsize=0,
            )  # fmt: skip
        except BaseException:  # whatever it was, there is no child that would have its end closed
            os.close(status)
            raise
        finally:
            os.close(theirs)
    except OSError as exc:
        raise fault(Fault.MISSING if exc.errno in _MISSING else Fault.SYSTEM) from None
    return Started(child, status)


def finish(started: Started, stdin: bytes | memoryview, *, limit: int, timeout: float) -> Outcome:
    """Give a child its input, wait for its end and return what it wrote.

    ``limit`` in octets of output, ``timeout`` in seconds.  Raises Deferral for a child that took
    too long or was killed by somebody else, and WorkCancelledError when its job was killed.
    """
    try:
        Job.current().adopt(started.child)
        exchange = _Exchange(started.child, started.status, stdin, limit)
        exchange.until_end(time.monotonic() + timeout)
        return _outcome(started.child, exchange)
    finally:
        started.end()


def _outcome(child: Child, exchange: _Exchange) -> Outcome:
    returncode = child.wait()
    if Job.current().killed:
        raise WorkCancelledError
    if exchange.late:
        raise fault(Fault.TIMEOUT)
    if returncode < 0 and not exchange.capped:
        raise fault(Fault.KILLED)
    output = b"" if exchange.capped else exchange.output.take()
    return Outcome(returncode, output, bytes(exchange.status), exchange.capped)


def _end(child: Child) -> None:
    if child.poll() is None:
        child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


@dataclass(slots=True)
class _Exchange:
    """Feed and drain one child until it exits.

    Its exit ends the exchange, not the end of its pipes: a daemon that it started may hold them.
    """

    child: Child
    status_fd: int
    stdin: bytes | memoryview
    limit: int
    capped: bool = False
    late: bool = False
    output: Output = field(default_factory=Output)
    status: bytearray = field(default_factory=bytearray)
    _fed: int = 0

    def until_end(self, deadline: float) -> None:
        """Return when the child has exited, or was killed for a limit."""
        pidfd = os.pidfd_open(self.child.pid)
        try:
            with selectors.DefaultSelector() as selector:
                self._register(selector, pidfd)
                while not self._step(selector, pidfd, deadline):
                    pass
        finally:
            os.close(pidfd)

    def _register(self, selector: selectors.BaseSelector, pidfd: int) -> None:
        feed, out = _fd(self.child.stdin), _fd(self.child.stdout)
        for fd in (feed, out, self.status_fd):
            os.set_blocking(fd, False)
        if len(self.stdin) > _CHUNK:
            for fd in (feed, out):
                with suppress(OSError):  # a bigger pipe is fewer wake-ups, and no promise
                    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)
        selector.register(feed, selectors.EVENT_WRITE, self._feed)
        selector.register(out, selectors.EVENT_READ, self._read_output)
        selector.register(self.status_fd, selectors.EVENT_READ, self._read_status)
        selector.register(pidfd, selectors.EVENT_READ)

    def _step(self, selector: selectors.BaseSelector, pidfd: int, deadline: float) -> bool:
        """Do what is possible now; return whether the exchange is over."""
        ready = selector.select(max(0.0, deadline - time.monotonic()))
        for key, _ in ready:
            if key.data is not None and not key.data():
                selector.unregister(key.fileobj)
                self._close_if_fed(key.fd)
        exited = any(key.fd == pidfd for key, _ in ready)
        if exited:
            self._drain()
        self.late = not exited and not self.capped and time.monotonic() >= deadline
        if self.capped or self.late:
            self.child.kill()
        return exited or self.capped or self.late

    def _feed(self) -> bool:
        """Write what the pipe takes; return whether more is to come."""
        try:
            view = memoryview(self.stdin)[self._fed : self._fed + _PIPE]
            self._fed += os.write(_fd(self.child.stdin), view)
        except BlockingIOError:
            return True
        except BrokenPipeError:  # gpg has seen enough, and its status says why
            self._fed = len(self.stdin)
        return self._fed < len(self.stdin)

    def _close_if_fed(self, fd: int) -> None:
        if self.child.stdin is not None and fd == _fd(self.child.stdin):
            self.child.stdin.close()

    def _read_output(self) -> bool:
        """Take a chunk; return whether more may come."""
        if chunk := _read(_fd(self.child.stdout)):
            self._take_output(chunk)
        return chunk != b""

    def _read_status(self) -> bool:
        if chunk := _read(self.status_fd):
            self._take_status(chunk)
        return chunk != b""

    def _take_output(self, chunk: bytes) -> None:
        self.output.add(chunk, self._taken())
        self.capped = self.capped or self.output.size > self.limit

    def _taken(self) -> int:
        """Return how much of its input the child has read; the rest may wait in the pipe."""
        if (feed := _fd(self.child.stdin)) < 0:
            return self._fed
        (waiting,) = _INT.unpack(fcntl.ioctl(feed, termios.FIONREAD, bytes(_INT.size)))
        return self._fed - int(waiting)

    def _take_status(self, chunk: bytes) -> None:
        self.status += chunk
        self.capped = self.capped or len(self.status) > _MOST_STATUS

    def _drain(self) -> None:
        """Take what the dead child left in its pipes."""
        while not self.capped and (chunk := _read(_fd(self.child.stdout))):
            self._take_output(chunk)
        while not self.capped and (chunk := _read(self.status_fd)):
            self._take_status(chunk)


def _read(fd: int) -> bytes | None:
    """Return a chunk, ``b""`` at the end, None when there is nothing now."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None


def _fd(pipe: IO[bytes] | None) -> int:
    if pipe is None or pipe.closed:
        return -1
    return pipe.fileno()
