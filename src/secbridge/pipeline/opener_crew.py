"""Where do the processes come from that open mails, and how are they sure to end?

A fork server is started once and told to fork; one of its processes waits in advance, so that a
mail finds one.  Three things end a process: its mail is done, we order its end, or we are gone: the
kernel kills the fork server with us, and every process with the fork server.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import secbridge
from secbridge import __version__, maillog
from secbridge.errors import Deferral
from secbridge.pipeline.opener_child import END, FORK, ORDER, REPLY
from secbridge.pipeline.opener_frames import Malformed, Room, pack, unpack
from secbridge.pipeline.opener_talk import Ready, Said

_PATIENCE = 60.0
"""Seconds that the fork server may take to start or to carry out an order."""

REST = 1.0
"""Seconds after which a process that has opened a mail ends, unless another mail came."""

_WAITING = 1
"""Processes that wait for a mail: every other one would take 4 MB at all times, so that of two
mails that come at once the second need not wait 10 ms for a process to be made."""

_SMALL = 4096
_GONE = (OSError, EOFError, Malformed)


class Child:
    """A process that waits for a mail, and the socket to it; ``mails``: how many it was given."""

    def __init__(self, pid: int, ours: socket.socket) -> None:
        self.pid = pid
        self.mails = 0
        self._socket = ours

    @property
    def is_alive(self) -> bool:
        """Whether it still holds its end of the socket."""
        watch = select.poll()
        watch.register(self._socket, select.POLLIN)
        return not watch.poll(0)  # it has nothing to say yet

    async def say(self, what: Any, kind: Any) -> None:
        """Send one frame.  Raises OSError when nobody is left to read it."""
        loop = asyncio.get_running_loop()
        for piece in pack(what, kind):
            await loop.sock_sendall(self._socket, piece)

    async def hear(self, *, most: int) -> Said:
        """Receive one frame with at most that many octets of contents.

        Raises Malformed, and EOFError or OSError when it has ended.
        """
        reading = unpack(Said, most=most)
        wanted = next(reading)
        while True:
            octets = await self._take(wanted)
            try:
                wanted = reading.send(octets)
            except StopIteration as end:
                said: Said = end.value
                return said

    async def _take(self, wanted: int) -> bytes:
        loop = asyncio.get_running_loop()
        return await Room(wanted).fill_waiting(lambda view: loop.sock_recv_into(self._socket, view))

    def close(self) -> bool:
        """Close the socket, and return whether it was open; nothing more is said."""
        was_open = self._socket.fileno() >= 0
        self._socket.close()
        return was_open


class Crew:
    """Up to ``size`` processes that wait for a mail, each with at most ``memory`` octets."""

    def __init__(self, size: int, memory: int) -> None:
        self._size = size
        self._memory = memory
        self._server: _ForkServer | None = None
        self._ready: deque[Child] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._making = asyncio.Lock()
        self._orders = asyncio.Lock()
        self.closed = False

    async def warm(self) -> None:
        """Let the first processes be made, if they are not there.  Raises Deferral as ``take``."""
        while len(self._ready) < _WAITING:
            await self._finish(self._provide(_WAITING))

    async def take(self) -> Child:
        """Return a process for a mail.  Raises Deferral when there can be none now."""
        while not self.closed:
            while self._ready:
                child = self._ready.popleft()
                if child.is_alive:
                    return child
                self.dismiss(child)
            await self._finish(self._provide(1))
        raise cannot_open("opener-stopped")

    def keep(self, child: Child) -> None:
        """Let a process that has opened a mail take the next one, if that comes within ``REST``."""
        if len(self._ready) >= self._size:
            self.dismiss(child)  # others took its place while it was at work
            return
        self._ready.appendleft(child)
        asyncio.get_running_loop().call_later(REST, self._rested, child, child.mails)

    def _rested(self, child: Child, mails: int) -> None:
        if child.mails == mails and child in self._ready:
            self._ready.remove(child)
            self.dismiss(child)

    def dismiss(self, child: Child) -> None:
        """End a process, soon, and let another one take its place."""
        self._begin(self._replace(child))

    async def end(self, child: Child) -> int | None:
        """End a process now; return its status (as ``waitpid`` has it), None if nobody knows it."""
        if not child.close():
            return None
        try:
            status: int = await self._finish(self._order(END, child.pid))
        except (OSError, EOFError):
            return None
        return status

    async def aclose(self) -> None:
        """End all processes.  Nobody may ask for one any more."""
        self.closed = True
        while self._tasks or self._ready:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._ready:  # one at a time: another may come to its rest meanwhile, and be gone
                await self.end(self._ready.popleft())
        if self._server is not None:
            self._server.stop()
            self._server = None

    # ── Orders ───────────────────────────────────────────────────────────────────────────────────

    async def _provide(self, count: int) -> None:
        """Have one more process made, unless so many are there by now."""
        async with self._making:
            if len(self._ready) < count:
                await self._hire()

    async def _replace(self, child: Child) -> None:
        async with self._making:
            if self.closed or len(self._ready) >= _WAITING:
                await self.end(child)
                return
            ending = child.pid if child.close() else 0
            with suppress(Deferral):  # whoever needs one will be told
                await self._hire(ending=ending)

    async def _hire(self, *, ending: int = 0) -> None:
        """Have a process made that waits for a mail, and end one."""
        try:
            child = await self._fork(ending)
        except _GONE:  # a fork server that was killed begins anew, once
            try:
                child = await self._fork(0)
            except _GONE:
                raise cannot_open("opener-missing") from None
        self._ready.append(child)
        if len(self._ready) > self._size:  # one was kept while this one was made
            self.dismiss(self._ready.popleft())

    async def _fork(self, ending: int) -> Child:
        began = perf_counter()
        first = self._server is None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            child = Child(await self._order(FORK, ending, theirs), ours)
            async with asyncio.timeout(_PATIENCE):
                ready = await child.hear(most=0)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        if first and isinstance(ready, Ready):
            took_ms = round((perf_counter() - began) * 1000)
            maillog.opener_started(closed_off=ready.closed_off, took_ms=took_ms)
        return child

    async def _order(self, what: bytes, number: int, theirs: socket.socket | None = None) -> int:
        """Give an order to the fork server and return its reply, one at a time."""
        async with self._orders:
            if self._server is None:
                if self.closed or what == END:  # it would have nothing to end
                    raise EOFError
                self._server = await _ForkServer.start(self._memory)
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await self._server.order(what, number, theirs)
            except (OSError, EOFError):
                self._server.stop()
                self._server = None
                raise

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _finish(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Wait for an order to be carried out; it is, also when nobody waits any more."""
        task = self._begin(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise


@dataclass(frozen=True, slots=True)
class _ForkServer:
    """The fork server: a program of its own, with nothing but one socket and an empty environment.

    It is executed, not forked: this process has threads, keys and a store open.
    """

    process: subprocess.Popen[bytes]
    control: socket.socket

    @classmethod
    async def start(cls, memory: int) -> _ForkServer:
        """Start it.  Raises OSError, and Deferral when it is not of this version."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            try:
                server = cls(_execute(theirs, memory), ours)
            except OSError:
                ours.close()
                raise
        try:
            async with asyncio.timeout(_PATIENCE):
                said = await asyncio.get_running_loop().sock_recv(ours, _SMALL)
        except BaseException:
            server.stop()
            raise
        if said != __version__.encode():
            server.stop()
            raise cannot_open("opener-other-version" if said else "opener-missing")
        return server

    async def order(self, what: bytes, number: int, theirs: socket.socket | None) -> int:
        """Give one order and wait for the reply.  Raises OSError or EOFError when it has ended."""
        order = [ORDER.pack(what, number)]
        if theirs is not None:
            socket.send_fds(self.control, order, [theirs.fileno()])
        else:
            self.control.send(order[0])
        reply = await asyncio.get_running_loop().sock_recv(self.control, _SMALL)
        if len(reply) != REPLY.size:
            raise EOFError
        (result,) = REPLY.unpack(reply)
        return int(result)

    def stop(self) -> None:
        """Kill it, and with it every process that it made."""
        self.control.close()
        self.process.kill()
        self.process.wait()


_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from secbridge.pipeline.opener_child import main; main()"
)


def _execute(theirs: socket.socket, memory: int) -> subprocess.Popen[bytes]:
    """Start the program, from the folder that we were loaded from.

    ``-I`` and the empty environment keep what surrounds us out of it.
    """
    source = str(Path(secbridge.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _PROGRAM, source, str(memory), str(os.getpid())],
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
    )


def cannot_open(code: str) -> Deferral:
    """Return the Deferral for a process that we cannot have: the mail waits, and a person looks."""
    return Deferral(
        code,
        "Our side cannot open mail at the moment; nothing is wrong with the message.",
        alarm=True,
    )
