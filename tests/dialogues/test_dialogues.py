r"""Does the intake speak as the transcripts say?  Each file beside this one is one conversation.

A transcript begins with comment lines that say what it shows.  Then, line by line:

``C: text``             the client sends a line; lines that follow one another go out in one piece
``R: text``             the client sends exactly these octets, with escapes such as \\r\\n and \\x00
``S: text``             the server answers this line; ``{id}`` is the id of a delivery
``<starttls>``          both go on under TLS
``<send 60 KiB>``       the client sends so much mail text, in lines
``<send-line 3 KiB>``   the client sends one line of so many octets
``<half-close>``        the client sends no more, and still reads
``<disconnect>``        the client goes away
``<another client>``    what follows is said by a further client; the first one stays connected
``<pass 5 minutes>``    time passes
``<stop>``              the listener is told to stop in order
``<closed>``            the server has closed the connection
``<kept 2>``            so many deliveries are in the spool (once the server has caught up)
``<content text>``      the content of the newest delivery, exactly, with escapes
``<target A T N>``      the alias, the token and the number of the newest delivery (``-``: none)
``<from address>``      the reverse-path of the newest delivery (``<>``: the null one)
``<spool busy>``        from now on the spool is ``busy``, ``full``, ``broken`` or ``well``

and, ahead of the conversation, what is set up: ``<speak lmtp>``, ``<limit recipients 2>``,
``<allow 192.0.2.0/24>``, ``<tls>``, ``<require tls>``, ``<postmaster address>``.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.support.listening import (
    FixedClock,
    HeldLoop,
    client_context,
    run_held,
    server_context,
    until,
)
from tests.support.memory_spool import MemorySpool

from secbridge.errors import StoreBusy
from secbridge.intake import LOOPBACK, Endpoint, IntakeLimits, Listener, MailProtocol, Network

_FOLDER = Path(__file__).parent
_FILES = sorted(_FOLDER.glob("*.txt"))
_ALIASES = ("security@example.org", "Team@Example.org")
_TOKENS = (("security@example.org", "k7m2q9"), ("security@example.org", "b4n8x1"))
_ID = r"[A-Za-z0-9-]+"
_UNITS = {"KiB": 1024, "MiB": 1024 * 1024, "seconds": 1, "minutes": 60}
_FAULTS: dict[str, BaseException | None] = {
    "busy": StoreBusy("store-busy", "sentence for a stranger"),
    "full": StoreBusy("disk-full", "sentence for a stranger", status="4.3.1"),
    "broken": RuntimeError("detail that no stranger may read"),
    "well": None,
}


@dataclass
class Setup:
    """What the listener of a transcript is made of."""

    protocol: MailProtocol = MailProtocol.SMTP
    limits: dict[str, Any] = field(default_factory=dict)
    networks: tuple[Network, ...] = LOOPBACK
    tls: bool = False
    require_tls: bool = False
    postmaster: str | None = None

    def take(self, directive: str) -> bool:
        """Apply a directive that sets something up; return whether it was one."""
        match directive.split():
            case ["speak", protocol]:
                self.protocol = MailProtocol(protocol)
            case ["limit", ("idle" | "data_time" | "commit_time") as name, seconds]:
                self.limits[name] = timedelta(seconds=int(seconds))
            case ["limit", name, value]:
                self.limits[name] = int(value)
            case ["allow", network]:
                self.networks = (ip_network(network),)
            case ["tls"]:
                self.tls = True
            case ["require", "tls"]:
                self.tls = self.require_tls = True
            case ["postmaster", address]:
                self.postmaster = address
            case _:
                return False
        return True


class Stage:
    """A listener, its spool, and the clients that talk to it."""

    def __init__(self, loop: HeldLoop, listener: Listener, spool: MemorySpool) -> None:
        self._loop = loop
        self._listener = listener
        self._spool = spool
        self._draining: asyncio.Task[None] | None = None
        self._clients: list[asyncio.StreamWriter] = []

    async def connect(self) -> None:
        """Let a client come in; it says what follows."""
        bound = self._listener.addresses[0]
        self._reader, self._writer = await asyncio.open_connection(bound.host, bound.port)
        self._clients.append(self._writer)

    async def leave(self) -> None:
        """Close what is still open."""
        for writer in self._clients:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if self._draining is not None:
            await self._draining
        await self._listener.drain(5)

    async def say(self, octets: bytes) -> None:
        """Send, even to a server that does not listen any more."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(octets)
            await self._writer.drain()

    async def hear(self) -> str:
        """Return what the server says next, or what it does instead."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return "(cut)"
        return line.decode().removesuffix("\r\n") if line else "(closed)"

    async def do(self, directive: str) -> None:
        """Do what a directive in the middle of a conversation says."""
        verb, _, rest = directive.partition(" ")
        match verb:
            case "starttls":
                await self._writer.start_tls(client_context(), server_hostname="localhost")
            case "send":
                await self.say(_mail_text(_amount(rest)))
            case "send-line":
                await self.say(b"x" * (_amount(rest) - 2) + b"\r\n")
            case "half-close":
                self._writer.write_eof()
            case "disconnect":
                self._writer.close()
                await until(lambda: self._listener.connections == 0)
            case "another":
                await self.connect()
            case "pass":
                self._loop.let_pass(_amount(rest))
            case "stop":
                self._draining = asyncio.create_task(self._listener.drain(5))
            case "spool":
                self._spool.fault = _FAULTS[rest]
            case "closed":
                assert await self.hear() == "(closed)"
            case "kept":
                await until(lambda: self._listener.memory_held == 0)
                assert int(rest) == len(self._spool.kept)
            case _:
                self._compare(verb, rest)

    def _compare(self, verb: str, expected: str) -> None:
        """Hold the newest delivery against the transcript."""
        kept = self._spool.kept[-1]
        match verb:
            case "content":
                assert _octets(expected) == kept.content
            case "target":
                target = kept.target
                actual = f"{target.alias} {target.token or '-'} {target.outgoing or '-'}"
                assert expected == actual
            case "from":
                assert expected == (kept.envelope.reverse_path or "<>")
            case _:
                raise ValueError(f"no such directive: {verb}")


def _amount(text: str) -> int:
    """Read "60 KiB" or "5 minutes"."""
    number, unit = text.split()
    return int(number) * _UNITS[unit]


def _octets(text: str) -> bytes:
    r"""Read escapes such as \\r\\n."""
    return codecs.escape_decode(text.encode())[0]


def _mail_text(size: int) -> bytes:
    """Return so many octets of mail, in lines."""
    line = b"x" * 70 + b"\r\n"
    return (line * (size // len(line) + 1))[: size - 2] + b"\r\n"


def _matches(expected: str, actual: str) -> bool:
    return bool(re.fullmatch(re.escape(expected).replace(r"\{id\}", _ID), actual))


@contextlib.asynccontextmanager
async def _stage(loop: HeldLoop, setup: Setup) -> AsyncIterator[Stage]:
    """Open a listener as the transcript wants it, and let the first client in."""
    spool = MemorySpool(_TOKENS)
    listener = Listener(
        spool,
        _ALIASES,
        hostname="mx.example.org",
        clock=FixedClock(),
        limits=IntakeLimits(**setup.limits),
        tls=server_context() if setup.tls else None,
        require_tls=setup.require_tls,
        networks=setup.networks,
        postmaster=setup.postmaster,
    )
    await listener.start([Endpoint(setup.protocol, "127.0.0.1")])
    stage = Stage(loop, listener, spool)
    await stage.connect()
    try:
        yield stage
    finally:
        await stage.leave()


async def _play(loop: HeldLoop, name: str, text: str) -> None:
    """Play a transcript line by line, and say at which line the server left the script."""
    setup = Setup()
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line and not line.startswith("#")
    ]
    script = [
        (n, line) for n, line in lines if not (line[0] == "<" and setup.take(line.strip("<>")))
    ]
    pending = b""
    async with _stage(loop, setup) as stage:
        for number, line in script:
            kind, said = line[:3].strip(), line[3:]
            if kind in ("C:", "R:"):
                pending += said.encode() + b"\r\n" if kind == "C:" else _octets(said)
                continue
            if pending:
                await stage.say(pending)
                pending = b""
            if kind == "S:":
                heard = await stage.hear()
                assert _matches(said, heard), f"{name}:{number}: not {said!r} but {heard!r}"
            elif line[0] == "<":
                await stage.do(line[1:-1])
            else:
                raise ValueError(f"{name}:{number}: no line of a transcript")


@pytest.mark.parametrize("path", _FILES, ids=[path.stem for path in _FILES])
def test_the_server_keeps_to_the_transcript(path: Path) -> None:
    """The server answers every line of a recorded conversation exactly as it was written down."""
    run_held(lambda loop: _play(loop, path.name, path.read_text()))


def test_there_are_transcripts_and_each_says_what_it_shows() -> None:
    """Every transcript begins with a comment for the person who reads it."""
    silent = [path.name for path in _FILES if not path.read_text().startswith("# ")]
    assert silent == []
    assert len(_FILES) >= 25
