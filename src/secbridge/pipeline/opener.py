"""How is a mail opened so that nothing it does can hurt us?  In a process that we can kill.

The process parses; we hold the keys and answer its questions.  What it takes beyond its time or
memory is a fact about the mail, and so is a mail over which two processes died.  A fault of ours
never passes through it: the Deferral of a gpg call ends the process and goes on from here.
"""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from time import perf_counter
from typing import Any, assert_never

from secbridge import maillog
from secbridge.model.message import Message, SignatureFact, SignatureVerdict
from secbridge.model.part import OpeningLimits
from secbridge.pipeline.opener_crew import Child, Crew, cannot_open
from secbridge.pipeline.opener_frames import Malformed
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
    Question,
    Ready,
    VerifyDetached,
    VerifyOpaque,
)
from secbridge.pipeline.opening import Outside, outside_of, too_complex
from secbridge.pipeline.rawmail import octets_of
from secbridge.ports import Decrypted, OpenPGP, RawMail, Verified
from secbridge.rules import structure

_TRIES = 2
"""Processes that may die over one mail before the mail is to blame."""

_IN_A_ROW = 16
_SMALL = 1 << 20
"""How many mails a process opens in a row, and how large (octets) they may be: see ``_part``."""

_ROOM = 16 << 20
_FACTOR = 4
"""What a process says is at most so many times what it was given, and so many octets more."""

_IMPORTS = 20
"""Questions about certificates that one mail may ask: two for each that it may bring along."""


class Why(StrEnum):
    """Why a process ended before its time."""

    TIME = "time"
    MEMORY = "memory"
    DIED = "died"
    FAILED = "failed"
    BROKEN = "broken"
    """It said what it must not: then nothing that it said counts."""


class _Ended(Exception):  # noqa: N818 - it says what happened
    """A process ended without an answer; ``kind`` is the class of the exception if it had one."""

    def __init__(self, why: Why, kind: str = "") -> None:
        super().__init__(why.value)
        self.why = why
        self.kind = kind

    @property
    def blames_mail(self) -> bool:
        """Whether another process would end the same way."""
        return self.why in {Why.TIME, Why.MEMORY}


class ProcessOpener:
    """The port ``Opener`` over processes that can be killed.

    ``processes`` mails are opened at once.  ``max_time`` bounds the work of a process without the
    time in which it waits for gpg, which has limits of its own; ``max_memory`` is in octets.
    Nothing is started before it is needed, or before ``warm``.
    """

    def __init__(
        self,
        openpgp: OpenPGP,
        *,
        limits: OpeningLimits,
        processes: int = 2,
        max_time: timedelta = timedelta(seconds=60),
        max_memory: int = 512 << 20,
    ) -> None:
        self._openpgp = openpgp
        self._limits = limits
        self._slots = asyncio.Semaphore(processes)
        self._max_time = max_time
        self._crew = Crew(processes, max_memory)

    async def open(self, raw: bytes | RawMail) -> Message:
        """Return the mail, opened as far as we can.  Raises Deferral for faults of ours."""
        async with self._slots:
            for _ in range(_TRIES):
                mail = _Mail(raw, await octets_of(raw))
                began = perf_counter()
                child = await self._crew.take()
                try:
                    message = await self._opened_by(child, mail)
                except _Ended as ended:
                    await self._bury(child, ended, mail.size, began)
                    if ended.blames_mail:
                        break
                else:
                    self._part(child, mail.size)
                    return message
        return too_complex(await octets_of(raw), self._limits)

    async def _opened_by(self, child: Child, mail: _Mail) -> Message:
        child.mails += 1
        try:
            return await _Talk(child, self._openpgp, self._limits, mail, self._max_time).opened()
        except _Ended:
            raise
        except BaseException:
            self._crew.dismiss(child)
            raise

    def _part(self, child: Child, size: int) -> None:
        """Part from a process that has opened a mail.

        Mails that come one upon the other may share a process, because making one costs a queue of
        mails a fifth of its time; but not many, and not after a large one.
        """
        if child.mails < _IN_A_ROW and size <= _SMALL:
            self._crew.keep(child)
        else:
            self._crew.dismiss(child)

    # ── Processes ────────────────────────────────────────────────────────────────────────────────

    async def warm(self) -> None:
        """Start what the first mail would wait for.  Raises Deferral when that is not possible."""
        await self._crew.warm()

    async def aclose(self) -> None:
        """End all processes."""
        await self._crew.aclose()

    async def _bury(self, child: Child, ended: _Ended, size: int, began: float) -> None:
        """Tell how a process ended.  Raises Deferral when it was us who ended it."""
        status = await self._crew.end(child)
        self._crew.dismiss(child)
        if self._crew.closed:
            raise cannot_open("opener-stopped") from None
        killed = status is not None and os.WIFSIGNALED(status) and ended.why is Why.DIED
        maillog.opener_died(
            ended.why.value,
            size,
            round((perf_counter() - began) * 1000),
            signal=os.WTERMSIG(status) if killed and status is not None else 0,
            kind=ended.kind,
            alarm=not ended.blames_mail,
        )


# ── One conversation ─────────────────────────────────────────────────────────────────────────────


class _Mail:
    """A mail that can be given up while others work on it, and is read again when it is wanted."""

    def __init__(self, kept: bytes | RawMail, octets: bytes) -> None:
        self.size = len(octets)
        self._kept = kept
        self._octets = octets

    async def read(self) -> bytes:
        """Return all of it."""
        if not self._octets:
            self._octets = await octets_of(self._kept)
        return self._octets

    async def take(self, start: int, size: int) -> memoryview:
        """Return octets of it, and hold nothing but them."""
        view = memoryview(await self.read())[start : start + size]
        self._octets = b""
        return view


@dataclass(slots=True)
class _Given:
    """What a process was told of a mail, and how often it asked."""

    octets: int
    decrypted: bool = False
    plaintext: int = 0
    ciphertexts: int = 0
    signatures: int = 0
    imports: int = 0
    again: bool = False
    verdicts: set[tuple[SignatureVerdict, str]] = field(
        default_factory=lambda: {(SignatureVerdict.BAD, "")}  # a signature without its octets
    )
    senders: set[tuple[SignatureVerdict, str]] = field(default_factory=set)


class _Talk:
    """One mail and one process: we hand over, answer its questions, and check what it says.

    It may have been taken over by the mail.  So what it asks is bounded as the opening of any mail
    is, it adds to the ring only for the author of this mail, and no verdict comes from it that gpg
    did not give.
    """

    def __init__(
        self,
        child: Child,
        openpgp: OpenPGP,
        limits: OpeningLimits,
        mail: _Mail,
        max_time: timedelta,
    ) -> None:
        self._child = child
        self._openpgp = openpgp
        self._limits = limits
        self._mail = mail
        self._left = max_time.total_seconds()
        self._given = _Given(mail.size)
        self._outside: Outside

    async def opened(self) -> Message:
        """Return the mail.  Raises _Ended, and Deferral for faults of ours."""
        raw = await self._mail.read()
        await self._say(Open(raw, self._limits), Open)
        self._outside = outside_of(raw, self._limits)  # the process reads at the same time
        del raw
        while True:
            async with self._timed():
                said = await self._child.hear(most=_FACTOR * self._given.octets + _ROOM)
            match said:
                case Opened(message):
                    self._check(message)
                    return message
                case OutOfMemory():
                    raise _Ended(Why.MEMORY)
                case Failed(kind):
                    raise _Ended(Why.FAILED, _exception(kind))
                case Ready():
                    raise _Ended(Why.BROKEN)
                case _:
                    await self._answer(said)

    async def _answer(self, question: Question) -> None:
        """Answer a question, in its own time."""
        match question:
            case Decrypt(ciphertext, limit):
                await self._decrypt(ciphertext, limit)
            case DecryptPart(start, size, limit):
                self._insist(0 <= start <= start + size <= self._mail.size)
                await self._decrypt(await self._mail.take(start, size), limit)
            case VerifyDetached(signature, content):
                self._count_signature()
                facts = await self._openpgp.verify_detached(signature, content)
                self._learn(facts)
                await self._say(Facts(facts), Facts)
            case VerifyOpaque(message, limit):
                self._count_signature()
                verified = await self._openpgp.verify_opaque(message, limit=self._most(limit))
                self._remember(verified)
                await self._say(verified, OpaqueAnswer)
            case Import(content, address):
                self._count_import()
                self._insist(address == self._outside.author)
                offered = await self._openpgp.import_certificate(content, address=address)
                await self._say(Known(offered), Known)
            case LookUp(fingerprint):
                self._count_import()
                await self._say(Known(await self._openpgp.certificate(fingerprint)), Known)
            case Again():
                self._insist(not self._given.again)
                self._given.again = True
                await self._say(Open(await self._mail.read(), self._limits), Open)
            case _:
                assert_never(question)

    async def _decrypt(self, ciphertext: bytes | memoryview, limit: int) -> None:
        self._given.ciphertexts += 1
        self._insist(self._given.ciphertexts <= 2 * self._limits.max_ciphertexts)
        opened = await self._openpgp.decrypt(ciphertext, limit=self._most(limit))
        del ciphertext  # it is not there beside the plaintext while that is handed over
        self._remember(opened)
        await self._say(opened, DecryptAnswer)

    # ── What is allowed ──────────────────────────────────────────────────────────────────────────

    def _most(self, limit: int) -> int:
        """Return how many octets an answer may have; a mail is read twice at most."""
        left = 2 * self._limits.max_plaintext - self._given.plaintext
        self._insist(limit >= 0)
        return min(limit, self._limits.max_plaintext, left)

    def _count_signature(self) -> None:
        self._given.signatures += 1
        self._insist(self._given.signatures <= 2 * self._limits.max_signatures)

    def _count_import(self) -> None:
        self._given.imports += 1
        self._insist(self._given.imports <= _IMPORTS)

    def _remember(self, answer: DecryptAnswer | OpaqueAnswer) -> None:
        """Keep account of what the process is given."""
        match answer:
            case Decrypted(plaintext, _, facts):
                self._given.decrypted = True
            case Verified(plaintext, facts):
                pass
            case _:
                return
        self._given.plaintext += len(plaintext)
        self._given.octets += len(plaintext)
        self._learn(facts)

    def _learn(self, facts: tuple[SignatureFact, ...]) -> None:
        given, author = self._given, self._outside.author
        given.verdicts.update((fact.verdict, fact.fingerprint) for fact in facts)
        by_sender = [fact for fact in facts if structure.signer_is_sender(author, fact)]
        given.senders.update((fact.verdict, fact.fingerprint) for fact in by_sender)

    def _check(self, message: Message) -> None:
        """Insist that the mail agrees with what we told, and with the header that we have.

        That is its size, its protection, its verdicts; and whom it names, whom we would answer, and
        the thread that it goes on.
        """
        self._insist(message.size == self._mail.size)
        self._insist(message.was_encrypted or not self._given.decrypted)
        said = {(one.verdict, one.fingerprint) for one in message.signatures}
        self._insist(said <= self._given.verdicts)
        by_sender = {
            (one.verdict, one.fingerprint) for one in message.signatures if one.signer_is_sender
        }
        self._insist(by_sender <= self._given.senders)
        self._insist(Outside.of(message) == self._outside)

    @staticmethod
    def _insist(holds: bool) -> None:
        if not holds:
            raise _Ended(Why.BROKEN)

    # ── Time ─────────────────────────────────────────────────────────────────────────────────────

    async def _say(self, what: Any, kind: Any) -> None:
        async with self._timed():
            await self._child.say(what, kind)

    @asynccontextmanager
    async def _timed(self) -> AsyncIterator[None]:
        """Count the time of what the process does, and say how it ended if it did."""
        began = perf_counter()
        try:
            async with asyncio.timeout(self._left):
                yield
        except TimeoutError:
            raise _Ended(Why.TIME) from None
        except Malformed:
            raise _Ended(Why.BROKEN) from None
        except (OSError, EOFError):
            raise _Ended(Why.DIED) from None
        finally:
            self._left -= perf_counter() - began


def _exception(kind: str) -> str:
    """Return the name if it is one of Python's own exceptions: nothing else goes to the log."""
    known = getattr(builtins, kind, None)
    is_one = isinstance(known, type) and issubclass(known, Exception)
    return kind if is_one else "unknown"
