"""Who opens the mail?  A process that holds nothing but the mail.

``main`` is the *fork server*: a program that the daemon starts once, with an empty environment.  It
loads what opening needs and then forks a process whenever it is told to, in a few milliseconds,
each of them without threads, keys, store or network.  It reads no mail itself.  The process that it
forks closes itself off, takes a mail, asks for decryption and verdicts through its socket, and
answers with the finished Message.
"""

from __future__ import annotations

import ctypes
import encodings
import gc
import importlib
import os
import pkgutil
import signal
import socket
import struct
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar, cast

from secbridge import __version__
from secbridge.mail.text import decode
from secbridge.model.message import Message, SignatureFact, SignatureVerdict
from secbridge.model.part import OpeningLimits
from secbridge.model.plaintext import Plaintext
from secbridge.pipeline.opener_bounds import close_off, die_with, go_first, leave_no_dump
from secbridge.pipeline.opener_frames import Room, pack, prepare, unpack
from secbridge.pipeline.opener_talk import (
    Again,
    Decrypt,
    DecryptAnswer,
    DecryptPart,
    Facts,
    Failed,
    Import,
    Known,
    LookUp,
    OpaqueAnswer,
    Open,
    Opened,
    OutOfMemory,
    Ready,
    Said,
    VerifyDetached,
    VerifyOpaque,
)
from secbridge.pipeline.opening import open_mail, open_whole
from secbridge.pipeline.walking import Whole
from secbridge.ports import Certificate, Decrypted, OpenPGP

T = TypeVar("T")

ORDER = struct.Struct("!ci")
"""An order to the fork server, with the id of a process that it ends first, or 0.

``FORK`` comes with a socket for the new process, ``END`` without.
"""

REPLY = struct.Struct("!i")
"""Its reply: the id of the new process, or how the one that ended did (as ``waitpid`` has it)."""

FORK, END = b"f", b"e"
FAILED = -1
"""The reply when there can be no process now, or is none of this number."""

_MALLOPT = {-3: 1 << 20, -8: 1}
"""M_MMAP_THRESHOLD and M_ARENA_MAX of glibc's mallopt(3): large blocks are returned at once."""


# ── The fork server ──────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Fork processes for whoever holds the other end of standard input, until it is closed.

    Its arguments are the octets of memory that each may take, and the process that started us.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):  # whoever started us decides when we end
        signal.signal(stop, signal.SIG_IGN)
    die_with(int(sys.argv[2]))
    go_first()
    leave_no_dump()
    _prepare()
    control = socket.socket(fileno=0)
    control.send(__version__.encode())
    children: set[int] = set()
    while (order := _order(control)) is not None:
        what, number, theirs = order
        reply = _end(number) if number in children else FAILED
        children.discard(number)
        if what == FORK and theirs is not None:
            reply = _fork(theirs, control, int(sys.argv[1]))
            children.add(reply)
        control.send(REPLY.pack(reply))


def _order(control: socket.socket) -> tuple[bytes, int, socket.socket | None] | None:
    """Wait for an order; None when nobody is left to give one."""
    octets, fds, _, _ = socket.recv_fds(control, ORDER.size, 1)
    theirs = socket.socket(fileno=fds[0]) if fds else None
    if len(octets) != ORDER.size:
        return None
    what, number = ORDER.unpack(octets)
    return what, number, theirs


def _fork(theirs: socket.socket, control: socket.socket, memory: int) -> int:
    ours = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        pid = FAILED
    if pid == 0:
        _live(theirs, control, ours, memory)
    theirs.close()
    return pid


def _end(pid: int) -> int:
    """Kill a child, dead or alive, and return its status: until then nobody has its number."""
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return status


def _prepare() -> None:
    """Load all that opening may need: the children can open no file, so they can import nothing."""
    try:
        libc = ctypes.CDLL(None)
        for option, value in _MALLOPT.items():
            libc.mallopt(option, value)
    except (AttributeError, OSError):  # another C library
        pass
    for found in pkgutil.iter_modules(encodings.__path__):
        if found.name not in {"mbcs", "oem"}:  # of Windows
            importlib.import_module(f"encodings.{found.name}")
    for charset in ("gb18030", "euc-jp", "iso2022_jp", "euc-kr", "big5", "utf-16", "utf-7"):
        decode(b"", charset)
    prepare(Said, Open, DecryptAnswer, OpaqueAnswer, Facts, Known)
    _rehearse()
    gc.collect()
    gc.freeze()  # what is here stays, and the collector of a child need not touch it


def _rehearse() -> None:
    """Open a mail of ours, so that a real one finds everything in place and in memory."""
    message = _finish(open_mail(_SAMPLE, cast("OpenPGP", _Prompter()), OpeningLimits()))
    pack(Opened(message), Said)


class _Prompter:
    """Stands in for the holder of the keys while nobody is there."""

    async def decrypt(self, _: bytes, *, limit: int) -> DecryptAnswer:
        """Open the sample's ciphertext, which is none."""
        fact = SignatureFact(SignatureVerdict.GOOD, limit.to_bytes(20).hex())
        return Decrypted(Plaintext(_SAMPLE_INSIDE), fact.fingerprint, (fact,))


_SAMPLE = b"""From: Rita <rita@example.net>
Subject: =?utf-8?q?rehearsal?=
Message-ID: <rehearsal@example.net>
Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"

--b
Content-Type: application/pgp-encrypted

Version: 1

--b
Content-Type: application/octet-stream

-----BEGIN PGP MESSAGE-----

hQEMAwzOQ1qnzNo7AQf7
=abcd
-----END PGP MESSAGE-----
--b--
"""

_SAMPLE_INSIDE = b"""Content-Type: multipart/mixed; boundary="c"

--c
Content-Type: multipart/alternative; boundary="d"

--d
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

words=20and words
--d
Content-Type: text/html

<p>words <a href="https://example.net/">and</a> words
--d--
--c
Content-Type: application/octet-stream; name="a"
Content-Transfer-Encoding: base64

d2FybQo=
--c--
"""


_LARGE = 256 * 1024
"""Octets from which a ciphertext is asked about by its place in the mail."""

_TELLING = 4096
"""So many octets of a ciphertext stand nowhere else."""

_WINDOW = 64 * 1024
"""Octets that are compared at once: a copy of all of them would be as large as the mail."""

# ── A process that opens mails ───────────────────────────────────────────────────────────────────


def _live(ours: socket.socket, control: socket.socket, parent: int, memory: int) -> NoReturn:
    """Be a process that opens mails, from the fork until nobody wants it any more."""
    status = 1
    try:
        die_with(parent)
        control.close()
        os.close(1)
        os.close(2)
        line = _Line(ours)
        closed_off = close_off(memory)
        _rehearse()
        line.send(pack(Ready(closed_off), Said))
        while True:
            line.send(_outcome(line))
    except (EOFError, OSError):
        status = 0
    finally:
        os._exit(status)


_OUT_OF_MEMORY = pack(OutOfMemory(), Said)
"""Made in advance: whoever says it has no memory left for making it."""


def _outcome(line: _Line) -> list[bytes]:
    """Take a mail, open it, and return what to say of it.  Raises EOFError when none comes."""
    try:
        return pack(Opened(line.opened()), Said)
    except MemoryError:
        return _OUT_OF_MEMORY
    except EOFError:
        raise
    except Exception as error:  # noqa: BLE001 - its class is told, and the mail counts as unread
        return pack(Failed(type(error).__name__), Said)


class _Line:
    """The socket to the holder of the keys, as the part of the port ``OpenPGP`` that opening needs.

    All waits are blocking, so that no coroutine over it is ever suspended.
    """

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._mail = Whole(b"")

    def opened(self) -> Message:
        """Take a mail and return it, opened."""
        task = self._hear(Open)
        limits, self._mail = task.limits, Whole(task.raw)
        del task
        return _finish(open_whole(self._mail, cast("OpenPGP", self), limits, self._again))

    async def _again(self) -> bytes:
        """Ask for the mail once more."""
        task: Open = self._ask(Again(), Open)
        return task.raw

    async def decrypt(self, ciphertext: bytes | memoryview, *, limit: int) -> DecryptAnswer:
        """Ask for the plaintext of one OpenPGP message."""
        question: Said
        if (start := self._start_of(ciphertext)) < 0:
            question = Decrypt(bytes(ciphertext), limit)
        else:
            question = DecryptPart(start, len(ciphertext), limit)
            if not self._mail.wanted:
                self._mail.content = b""
        del ciphertext
        answer: DecryptAnswer = self._ask(question, DecryptAnswer)
        return answer

    def _start_of(self, octets: bytes | memoryview) -> int:
        """Return where large octets stand in the mail as it came, or -1."""
        if len(octets) < _LARGE:
            return -1
        raw = self._mail.content
        start = raw.find(octets[:_TELLING])
        if start < 0:
            return -1
        windows = range(0, len(octets), _WINDOW)
        if all(raw.startswith(bytes(octets[at : at + _WINDOW]), start + at) for at in windows):
            return start
        return -1

    async def verify_detached(self, signature: bytes, content: bytes) -> tuple[SignatureFact, ...]:
        """Ask what a detached signature is worth."""
        answer: Facts = self._ask(VerifyDetached(signature, content), Facts)
        return answer.facts

    async def verify_opaque(self, message: bytes, *, limit: int) -> OpaqueAnswer:
        """Ask what a signed message is worth, and what it covers."""
        answer: OpaqueAnswer = self._ask(VerifyOpaque(message, limit), OpaqueAnswer)
        return answer

    async def import_certificate(self, content: bytes, *, address: str) -> Certificate | None:
        """Offer a certificate to the ring."""
        answer: Known = self._ask(Import(content, address), Known)
        return answer.certificate

    async def certificate(self, fingerprint: str) -> Certificate | None:
        """Ask what the ring knows of a certificate."""
        answer: Known = self._ask(LookUp(fingerprint), Known)
        return answer.certificate

    def _ask(self, question: Said, kind: Any) -> Any:
        self.send(pack(question, Said))
        return self._hear(kind)

    def send(self, frame: list[bytes]) -> None:
        """Send one frame."""
        for piece in frame:
            self._socket.sendall(piece)

    def _hear(self, kind: Any) -> Any:
        """Receive one frame; it comes from whoever made us, so it may have any size."""
        reading = unpack(kind, most=sys.maxsize)
        wanted = next(reading)
        while True:
            try:
                wanted = reading.send(Room(wanted).fill(self._socket.recv_into))
            except StopIteration as end:
                return end.value


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, without a loop: asyncio would double what we weigh."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("it waited")
