"""A mail relay for tests: a real SMTP server that says what the test tells it to say."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

CANARY = "canary-5e1f"
"""Stands in every refusal of the relay: it must be found nowhere on our side."""


@dataclass(frozen=True)
class Taken:
    """One transaction that the relay took."""

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes
    connection: int
    tls: bool


@dataclass
class Relay:
    """The relay's memory, and its answers: ``on`` maps a verb to a reply, or to ``drop``."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    on: dict[str, str] = field(default_factory=dict)
    connections: int = 0
    _numbers: dict[int, int] = field(default_factory=dict)

    def _said(self, server: Any, verb: str, otherwise: str) -> str:
        reply = self.on.get(verb, otherwise)
        if reply == "drop":
            server.transport.abort()
            return "421 4.3.2 gone"
        return reply

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's names and shapes, here and below
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Take or refuse the reverse-path."""
        del session, options
        reply = self._said(server, "MAIL", "250 2.1.0 OK")
        if reply.startswith("2"):
            envelope.mail_from = address
        return reply

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        del session, options
        reply = self._said(server, "RCPT", "250 2.1.5 OK")
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take or refuse the content; ``DATA: drop`` takes it and breaks off without an answer."""
        reply = self._said(server, "DATA", "250 2.6.0 queued as 42")
        if reply.startswith("2") or self.on.get("DATA") == "drop":
            number = self._numbers.setdefault(id(server), self.connections)
            self.taken.append(
                Taken(
                    envelope.mail_from,
                    tuple(envelope.rcpt_tos),
                    bytes(envelope.original_content),
                    number,
                    session.ssl is not None,
                )
            )
        return reply

    async def handle_NOOP(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, arg: str
    ) -> str:
        """Answer a question for life."""
        del session, envelope, arg
        return self._said(server, "NOOP", "250 2.0.0 OK")


def _login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    del server, session, envelope, mechanism
    good = isinstance(data, LoginPassword) and data.password == b"right"
    message = None if good else f"535 5.7.8 no {CANARY}"
    return AuthResult(success=good, handled=good, message=message)


@asynccontextmanager
async def a_relay(
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    login: bool = False,
    path: Path | None = None,
    port: int = 0,
) -> AsyncIterator[Relay]:
    """Run a relay on a free port of loopback; ``tls`` offers STARTTLS, or speaks TLS at once.

    ``path`` makes it listen on a unix socket instead.
    """
    relay = Relay()
    loop = asyncio.get_running_loop()
    servers: list[SMTP] = []

    def connected() -> SMTP:
        relay.connections += 1
        server = SMTP(
            relay,
            hostname="relay.example",
            loop=loop,
            tls_context=None if implicit else tls,
            authenticator=_login if login else None,
            auth_require_tls=False,
            enable_SMTPUTF8=False,
        )
        servers.append(server)
        return server

    if path is not None:
        listener = await loop.create_unix_server(connected, path)
    else:
        spoken = tls if implicit else None
        listener = await loop.create_server(connected, "127.0.0.1", port, ssl=spoken)
        relay.port = listener.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        listener.close()
        for server in servers:
            if server.transport is not None:
                server.transport.close()
        await listener.wait_closed()


@contextmanager
def relay_in_thread(port: int = 0) -> Iterator[Relay]:
    """Run a relay in a loop of its own, for tests that are not coroutines."""
    ready: Future[tuple[Relay, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with a_relay(port=port) as relay:
            ready.set_result((relay, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    relay, loop, over = ready.result(timeout=90)
    try:
        yield relay
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(timeout=90)
