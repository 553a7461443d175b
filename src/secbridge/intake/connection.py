"""How long does a client stay, and how does it go?  The life of one connection, hardened.

From aiosmtpd comes what a connection is: reader, writer, session, the task that serves it.  Ours is
what a client could lean on: who is let in, time limits that follow progress, lines without an end,
TLS, and a way out of every state.
"""

from __future__ import annotations

import asyncio
from ssl import SSLContext
from typing import ClassVar, cast

from aiosmtpd.smtp import SMTP

from secbridge import maillog
from secbridge.intake import replies
from secbridge.intake.desk import Desk
from secbridge.intake.replies import Reply

COMMAND_LENGTH = 2048
"""Octets of a command line; RFC 5321 section 4.5.3.1.4 asks for 512, extensions add to it."""
EVERYTHING = 2**30
"""More than a reader ever holds."""
_READER_LIMIT = 64 * 1024
_CLOSING_TIME = 5.0
_HANDSHAKE_TIME = 30.0
_REFUSED, _REFUSED_FOR_GOOD = 400, 500
_UNIX = "unix"


class Connection(SMTP):
    """One client, from its connect to its end.  What its lines mean is for ``_obey`` to know."""

    line_length_limit = _READER_LIMIT
    greeting_word: ClassVar[str]

    def __init__(self, desk: Desk) -> None:
        super().__init__(
            None,
            hostname=desk.hostname,
            timeout=desk.limits.idle.total_seconds(),
            auth_exclude_mechanism=("LOGIN", "PLAIN"),
            loop=asyncio.get_running_loop(),
        )
        self.desk = desk
        self.peer = ""
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self._secure = False
        self._on_unix = False
        self._admitted = False
        self._over = False
        self._ended = False
        self._stopping = False
        self._receiving = False
        self._errors = 0
        self._deadline = 0.0

    async def _obey(self, line: bytes) -> None:
        """Do what a line says, and answer it."""
        raise NotImplementedError

    # ── Life of the connection ───────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, or say why not and close."""
        self._wire = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        self._on_unix = not isinstance(peername, tuple)
        self.peer = _UNIX if self._on_unix else str(peername[0])
        refusal = self._refusal()
        if refusal is None:
            self._admitted = True
            self.desk.conversations.add(self)
            super().connection_made(transport)
        else:
            self._say(refusal)
            self._close()

    def _refusal(self) -> Reply | None:
        """Return why a client cannot come in; networks first, so that strangers take no place."""
        if not self._on_unix and not self.desk.allows(self.peer):
            return replies.NOT_ALLOWED
        if not self.desk.doors.enter(self.peer, counted=not self._on_unix):
            return replies.TOO_MANY_CONNECTIONS
        return None

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client, once.  A commit that is under way goes on."""
        if self.closed.done():
            return
        self.closed.set_result(None)
        self._over = True
        if self._admitted:
            self.desk.doors.leave(self.peer)
            self.desk.conversations.discard(self)
            super().connection_lost(error)
        elif self._timeout_handle is not None:
            self._timeout_handle.cancel()

    def data_received(self, data: bytes) -> None:
        """Take octets, unless the client was refused at the door."""
        if self._admitted:
            super().data_received(data)

    def eof_received(self) -> bool:
        """Answer what came before the end of the input; only then is the conversation over."""
        if self._admitted:
            self._ended = True
            self._reader.feed_eof()
        return self._admitted and not self._secure

    def stop(self) -> None:
        """End the conversation: at once when idle, after its reply when a mail is coming in."""
        self._stopping = True
        if not self._receiving:
            self._hang_up(replies.STOPPING)

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._wire.abort()

    def _hang_up(self, farewell: Reply) -> None:
        """Say why, and close."""
        if not self._over:
            self._say(farewell)
            self._close()
            if self._handler_coroutine is not None:
                self._handler_coroutine.cancel()

    def _close(self) -> None:
        """Close once everything is written; a client that does not read is cut off."""
        if not self._over:
            self._over = True
            self._wire.close()
            self._allow(_CLOSING_TIME)

    # ── Time ─────────────────────────────────────────────────────────────────────────────────────

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Aiosmtpd's hook: the clock starts when the connection is made."""
        self._allow(duration or self._timeout_duration)

    def _allow(self, seconds: float) -> None:
        """Set how long what comes now may take.

        One timer for a connection, moved lazily: most deadlines are replaced before they come.
        """
        self._deadline = self.loop.time() + seconds
        if self._timeout_handle is None or self._timeout_handle.when() > self._deadline:
            self._arm()

    def _arm(self) -> None:
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._timeout_handle = self.loop.call_at(self._deadline, self._timeout_cb)

    def _timeout_cb(self) -> None:
        """Rearm the timer, tell the client that it was too slow, or cut it off."""
        if self.loop.time() < self._deadline:
            self._arm()
        elif self._over:
            self.abort()
        else:
            self._timeout_handle = None  # it rang; closing needs a new one
            self._hang_up(replies.TIMEOUT)

    # ── Commands, one after the other ────────────────────────────────────────────────────────────

    async def _handle_client(self) -> None:
        """Serve the client until one of us leaves."""
        self._wire.write(f"220 {self.desk.hostname} {self.greeting_word}\r\n".encode("ascii"))
        try:
            while not self._over:
                await self._serve_command()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away; nothing is owed to it
        finally:
            self._close()

    async def _serve_command(self) -> None:
        """Read one command and answer it, whatever happens inside."""
        self._allow(self._timeout_duration)
        line = await self._read_line()
        try:
            await self._obey(line)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise
        except Exception as exc:  # noqa: BLE001 - a client is answered whatever goes wrong in here
            maillog.fault("intake", type(exc).__name__)
            self._say(replies.FAULT)
        await self._writer.drain()
        if self._errors > self.desk.limits.errors:
            self._hang_up(replies.TOO_MANY_ERRORS)
        elif self._stopping:
            self._hang_up(replies.STOPPING)

    async def _read_line(self) -> bytes:
        """Return the next line; one without an end is read away and comes back as over-long."""
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as exc:
            consumed = exc.consumed
        while True:
            await self._reader.readexactly(consumed)
            try:
                await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as exc:
                consumed = exc.consumed
            else:
                return bytes(COMMAND_LENGTH + 1)

    def _give_back(self, octets: bytes) -> None:
        """Let octets be read again that were read too far; nothing else is in the reader then."""
        if self._ended:  # such a reader takes nothing, but nothing will come either
            self._reader = asyncio.StreamReader(self.line_length_limit, self.loop)
            self._reader.feed_data(octets)
            self._reader.feed_eof()
        else:
            self._reader.feed_data(octets)

    def _say(self, reply: Reply, times: int = 1) -> None:
        """Write a reply; refusals are logged, and 5yz counts against the client."""
        self._wire.write(reply.line * times)
        if reply.code >= _REFUSED:
            maillog.refused(f"{reply.code} {reply.status}", reply.reason, self.peer)
        if reply.code >= _REFUSED_FOR_GOOD:
            self._errors += 1

    # ── TLS ──────────────────────────────────────────────────────────────────────────────────────

    async def _start_tls(self, context: SSLContext) -> None:
        """Go on under TLS, or not at all."""
        if self._ended:
            self._close()
            return
        self._reader.feed_data(b"\n")  # an octet of ours, so that the next line never waits
        await self._reader.read(EVERYTHING)  # injected in clear, discarded (RFC 3207 section 6)
        self._original_transport = plain = self._wire
        secure = None
        try:
            secure = await self.loop.start_tls(
                plain,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=_HANDSHAKE_TIME,
                ssl_shutdown_timeout=_CLOSING_TIME,
            )
        except OSError:
            maillog.refused("454 4.7.0", "tls-handshake", self.peer)
        finally:
            if secure is None:  # failed, given up, or the client is gone: asyncio tells nobody
                plain.abort()
                self.connection_lost(None)
        if secure is not None:
            self.transport = self._wire = secure
            self._secure = True
