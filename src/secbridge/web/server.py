"""How does the application get its requests?  By uvicorn, in our loop, on sockets that are ours.

Nothing of it is left to its own ways: it installs no signal handlers, writes no log lines, names no
software, and lets nobody stay.  Each connection has one request and an end in time, however slowly
its octets come, and there are so many and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from secbridge import maillog
from secbridge.sockets import bind_unix, identity, inherited_socket, remove_unix
from secbridge.web.app import HookApp

CONNECTIONS = 64
"""Connections at once; a tracker needs one or two."""

LIFETIME = 15.0
"""Seconds from a connection's beginning to its end, the answer included."""

MAX_HEAD = 16 * 1024
"""The largest head of a request, and the largest piece of one (octets)."""

LINES = 30
"""Lines of the log that those may cause in a minute who never get as far as a request."""

NOTHING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
"""What is no HTTP gets what every stranger gets."""

_UNANSWERED = frozenset({h11.IDLE, h11.SEND_RESPONSE})


class WebServer:
    """Serves the webhooks: ``open``, then ``run`` until we stop, then ``close``."""

    def __init__(self, *, connections: int = CONNECTIONS) -> None:
        self._connections = connections
        self._sockets: list[socket.socket] = []
        self._file: tuple[str, tuple[int, int] | None] = ("", None)

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens, with the port that the system chose."""
        return [_name(each) for each in self._sockets]

    async def open(
        self, *, host: str = "", port: int = 0, path: str = "", fd: int | None = None
    ) -> None:
        """Listen at one place; clients wait there until ``run``.  Raises OSError.

        ``host`` with ``port`` (0: any), ``path`` of a unix socket, or an inherited ``fd``.
        """
        if path:
            self._sockets = [bind_unix(path)]
            self._file = (path, identity(path))
        elif fd is not None:
            self._sockets = [inherited_socket(fd)]
        else:
            await self._bind(host, port)
        for each in self._sockets:
            each.listen(self._connections)

    async def run(self, app: HookApp, stopping: asyncio.Event) -> None:
        """Serve until we stop."""
        # Its warnings say what a stranger did; ours do, and by a code.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            http=_connection(self._connections),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=self._connections,
            h11_max_incomplete_event_size=MAX_HEAD,
            timeout_graceful_shutdown=1,
        )
        await _Server(config, stopping).serve(sockets=self._sockets)

    def close(self) -> None:
        """Close the sockets, and remove the file of ours."""
        for each in self._sockets:
            each.close()
        self._sockets = []
        remove_unix(*self._file)

    async def _bind(self, host: str, port: int) -> None:
        """Bind every address of a host, or none."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self._sockets.append(_bound(family, kind, protocol, address))
        except OSError:
            self.close()
            raise


class _Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers, and without its clock of a tenth second."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield

    async def main_loop(self) -> None:
        """Wait until we stop: there is no date to keep and no number of requests to count."""
        await self._stopping.wait()


class TurnedAway:
    """Tells the log who was turned away, and in a flood no more than ``LINES`` a minute."""

    def __init__(self) -> None:
        self._began = float("-inf")
        self._told = 0

    def tell(self, reason: str, peer: str, now: float) -> None:
        """Tell of one; ``now`` is the time of the loop (seconds)."""
        if now - self._began >= 60:
            self._began, self._told = now, 0
        self._told += 1
        if self._told <= LINES:
            maillog.not_let_in(reason, peer)


def _connection(most: int) -> type[H11Protocol]:
    """Return the protocol of one connection, of which there are ``most`` at once."""
    turned_away = TurnedAway()

    class Connection(H11Protocol):
        _end: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                self._leave("too-many-connections")
                return
            self._end = self.loop.call_later(LIFETIME, self._leave, "too-slow")

        def connection_lost(self, exc: Exception | None) -> None:
            if self._end is not None:
                self._end.cancel()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """Say to what is no HTTP what is said to everybody (``msg`` names uvicorn's words)."""
            self._tell("malformed")
            if self.conn.our_state in _UNANSWERED:
                self.transport.write(NOTHING)
            self.transport.close()

        def shutdown(self) -> None:
            """Leave at once: who is still inside has not yet said all, and a poll will find it."""
            self.transport.abort()

        def _leave(self, reason: str) -> None:
            self._tell(reason)
            self.transport.abort()

        def _tell(self, reason: str) -> None:
            peer = self.client[0] if self.client else "local"
            turned_away.tell(reason, peer, self.loop.time())

    return Connection


def _bound(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _name(bound: socket.socket) -> str:
    """Return where a socket listens, as the log and people write it."""
    name = bound.getsockname()
    if not isinstance(name, tuple):
        return f"http+unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"
