"""What sends the mails, and what takes the answers?  Two protocols that cost next to nothing.

They share the cores with what they measure, so they only count replies and look for final dots:
no parsing, no library, mails prepared beforehand.  The client waits for each reply before it says
the next thing, which every server understands in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from time import perf_counter

PATIENCE = 120.0
"""Seconds after which a run is given up."""


class BenchError(Exception):
    """Something did not happen, so there is nothing to measure; the text says what."""


def dotted(content: bytes) -> bytes:
    """Return a mail as it goes over the wire: dots doubled, with the final one."""
    body = content.replace(b"\r\n.", b"\r\n..")
    return body + (b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n")


# ── The client ───────────────────────────────────────────────────────────────────────────────────


class Client(asyncio.Protocol):
    """One SMTP connection that sends mails from a shared queue until it is empty.

    ``accepted`` counts the mails that got 250; ``sent_at`` is when the end of the last one's
    content was written.
    """

    def __init__(self, sender: str, recipient: str) -> None:
        self.accepted = 0
        self.began_at = self.sent_at = 0.0
        self._envelope = (
            f"MAIL FROM:<{sender}>\r\n".encode(),
            f"RCPT TO:<{recipient}>\r\n".encode(),
        )
        self._queue: deque[bytes] = deque()
        self._content = b""
        self._step = self._greeted
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(self, queue: deque[bytes]) -> None:
        """Send mails (as ``dotted`` makes them) until the queue is empty.  Raises BenchError."""
        await asyncio.wait_for(asyncio.shield(self._idle), PATIENCE)
        self._queue, self._idle = queue, asyncio.get_running_loop().create_future()
        self._next()
        await asyncio.wait_for(asyncio.shield(self._idle), PATIENCE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Go on at the last line of a reply (RFC 5321 section 4.2.1)."""
        self._buffer += data
        if not self._buffer.endswith(b"\n"):
            return
        last = self._buffer[self._buffer.rfind(b"\n", 0, -1) + 1 :]
        if last[3:4] != b"-":
            self._buffer = b""
            if last[:1] in b"23":
                self._step()
            else:
                self._fail(f"the server answered {last[:20]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail: a server that goes has not answered."""
        self._fail("the server closed the connection")

    def close(self) -> None:
        """Leave without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _say(self, octets: bytes, then: object) -> None:
        if self._transport is not None and callable(then):
            self._transport.write(octets)
            self._step = then

    def _fail(self, why: str) -> None:
        if not self._idle.done():
            self._idle.set_exception(BenchError(why))

    def _greeted(self) -> None:
        self._say(b"EHLO bench.example\r\n", self._ready)

    def _ready(self) -> None:
        self._idle.set_result(None)

    def _next(self) -> None:
        if self._queue:
            self._content = self._queue.popleft()
            self.began_at = perf_counter()
            self._say(self._envelope[0], self._named)
        else:
            self._idle.set_result(None)

    def _named(self) -> None:
        self._say(self._envelope[1], self._addressed)

    def _addressed(self) -> None:
        self._say(b"DATA\r\n", self._invited)

    def _invited(self) -> None:
        self._say(self._content, self._taken)
        self.sent_at = perf_counter()

    def _taken(self) -> None:
        self.accepted += 1
        self._next()


@contextlib.asynccontextmanager
async def clients(
    port: int, count: int, *, sender: str, recipient: str
) -> AsyncIterator[list[Client]]:
    """Open so many connections, and keep them open."""
    loop = asyncio.get_running_loop()
    opened: list[Client] = []
    try:
        for _ in range(count):
            _, client = await loop.create_connection(
                lambda: Client(sender, recipient), "127.0.0.1", port
            )
            opened.append(client)
        yield opened
    finally:
        for client in opened:
            client.close()


async def send_all(using: Sequence[Client], mails: Iterable[bytes]) -> float:
    """Send all mails over these connections and return the seconds that it took."""
    queue = deque(mails)
    await asyncio.gather(*(client.send(deque()) for client in using))
    began = perf_counter()
    await asyncio.gather(*(client.send(queue) for client in using))
    return perf_counter() - began


# ── The sink ─────────────────────────────────────────────────────────────────────────────────────


class Sink:
    """Takes every mail and keeps none; counts by the beginning of the recipient."""

    def __init__(self, watched: str) -> None:
        self.watched = f"RCPT TO:<{watched}>".upper().encode()
        self.count = self.others = 0
        self.last_at = 0.0
        self.port = 0
        self._told = asyncio.Event()

    async def reach(self, count: int, others: int = 0) -> float:
        """Wait for so many answers in all, and return when the last one came."""
        try:
            async with asyncio.timeout(PATIENCE):
                while self.count < count or self.others < others:
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            raise BenchError(f"only {self.count} of {count} answers came") from None
        return self.last_at

    def took(self, *, watched: bool) -> None:
        """Count one mail."""
        if watched:
            self.count += 1
            self.last_at = perf_counter()
        else:
            self.others += 1
        self._told.set()


class SinkConversation(asyncio.Protocol):
    """One connection to the sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._in_data = self._watched = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer whatever is complete."""
        self._buffer += data
        while self._transport is not None and self._take():
            pass

    def _take(self) -> bool:
        """Take a command or a whole mail from the buffer; return whether there was one."""
        if self._in_data:
            end = self._buffer.find(b"\r\n.\r\n")
            if end >= 0:
                del self._buffer[: end + 5]
                self._in_data = False
                self._sink.took(watched=self._watched)
                self._reply(b"250 2.0.0 OK\r\n")
            return end >= 0
        end = self._buffer.find(b"\r\n")
        if end >= 0:
            line = bytes(self._buffer[:end]).upper()
            del self._buffer[: end + 2]
            self._obey(line)
        return end >= 0

    def _obey(self, line: bytes) -> None:
        if line.startswith(b"RCPT"):
            self._watched = line.startswith(self._sink.watched)
        self._in_data = line == b"DATA"
        self._reply(b"354 go on\r\n" if self._in_data else b"250 2.0.0 OK\r\n")

    def _reply(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)


@contextlib.asynccontextmanager
async def a_sink(watched: str) -> AsyncIterator[Sink]:
    """Run a sink on a free port of loopback that watches for answers to this address."""
    sink = Sink(watched)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SinkConversation(sink), "127.0.0.1", 0)
    sink.port = int(server.sockets[0].getsockname()[1])
    try:
        yield sink
    finally:
        server.close()
