"""Who else knows a reporter's certificate?  One question to one place, asked once and remembered.

Asking tells a server who writes to us, so an answer is used again for as long as the operator says,
and so is a miss; a fault is a miss for a few minutes.  Of several who want the same answer one
asks, and the others wait for it.  What comes back is public and unproven: the pipeline inspects it
on every use, remembered or not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import assert_never
from weakref import WeakValueDictionary

from secbridge import maillog
from secbridge.mail.packets import OpenPGPKind, sniff
from secbridge.model.message import CertificateSource, FoundCertificate
from secbridge.openpgp import certs
from secbridge.openpgp.fetching import Fetched, Fetcher, Outcome
from secbridge.openpgp.keyservers import by_address_url, by_fingerprint_url, is_full_fingerprint
from secbridge.openpgp.wkd import directory_urls
from secbridge.ports import Clock, Lookups

MOST_FINGERPRINTS = 3
"""Signers of one mail that a keyserver is asked for; a reporter signs once."""

FAULT_KEPT = timedelta(minutes=10)
"""How long a place that failed is left alone, at most: a fault passes sooner than a miss."""

_GO_ON = frozenset({Outcome.NO_SUCH_HOST, Outcome.UNREACHABLE})
"""Outcomes after which the next URL of a question counts (WKD, section 3.1 of the draft)."""


@dataclass(frozen=True, slots=True)
class KeyServers:
    """The keyservers that the operator named, as ``https://HOST[:PORT]``; None: not asked."""

    vks: str | None = None
    hkp: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """How long answers and misses are used again."""

    answers: timedelta = timedelta(days=1)
    misses: timedelta = timedelta(hours=6)

    def keeps(self, outcome: Outcome) -> timedelta:
        """Return for how long this outcome is not asked for again."""
        match outcome:
            case Outcome.FOUND:
                return self.answers
            case Outcome.ABSENT | Outcome.NO_SUCH_HOST:
                return self.misses
            case Outcome.UNREACHABLE | Outcome.FAILED:
                return min(self.misses, FAULT_KEPT)
            case _:
                assert_never(outcome)


@dataclass(frozen=True, slots=True, repr=False)
class _Question:
    """What one place is asked; of several URLs the first whose host is there gives the answer."""

    source: CertificateSource
    query: str
    urls: tuple[str, ...]
    ours: bool


class Discovery:
    """The port ``KeyFinder``: WKD, VKS and HKP over HTTPS."""

    def __init__(
        self,
        fetcher: Fetcher,
        lookups: Lookups,
        *,
        clock: Clock,
        servers: KeyServers,
        memory: Memory,
    ) -> None:
        self._fetcher = fetcher
        self._lookups = lookups
        self._clock = clock
        self._servers = servers
        self._memory = memory
        self._asking: WeakValueDictionary[tuple[CertificateSource, str], asyncio.Lock] = (
            WeakValueDictionary()
        )

    async def find(
        self, source: CertificateSource, address: str, *, fingerprints: Sequence[str] = ()
    ) -> Sequence[FoundCertificate]:
        """Return what one place has for an address (``ports.KeyFinder``).  Raises StoreBusy."""
        answers = [
            await self._answer(question)
            for question in self._questions(source, address, fingerprints)
        ]
        return [FoundCertificate(source, content) for content in answers if content is not None]

    def _questions(
        self, source: CertificateSource, address: str, fingerprints: Sequence[str]
    ) -> list[_Question]:
        match source:
            case CertificateSource.WKD:
                urls = directory_urls(address)
                if urls is None:
                    return []
                both = (urls.advanced, urls.direct)
                return [_Question(source, address.lower(), both, ours=False)]
            case CertificateSource.VKS:
                if (server := self._servers.vks) is None:
                    return []
                url = by_address_url(server, address)
                return [_Question(source, address.lower(), (url,), ours=True)]
            case CertificateSource.HKP:
                if (server := self._servers.hkp) is None:
                    return []
                full = [one for one in dict.fromkeys(fingerprints) if is_full_fingerprint(one)]
                return [
                    _Question(source, one, (by_fingerprint_url(server, one),), ours=True)
                    for one in full[:MOST_FINGERPRINTS]
                ]
            case _:  # the other places are not others
                return []

    async def _answer(self, question: _Question) -> bytes | None:
        """Return what is remembered, else ask; who asks the same meanwhile waits here."""
        key = (question.source, question.query)
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            known = await self._lookups.recall_lookup(*key)
            if known is not None:
                return known.found
            fetched = await self._asked(question)
            found = fetched.content if fetched.outcome is Outcome.FOUND else None
            until = self._clock.now() + self._memory.keeps(fetched.outcome)
            await self._lookups.remember_lookup(*key, found, until=until)
            return found

    async def _asked(self, question: _Question) -> Fetched:
        began = time.perf_counter()
        fetched = await self._first_answer(question)
        if fetched.outcome is Outcome.FOUND:
            fetched = _looked_at(question, fetched)
        took_ms = round((time.perf_counter() - began) * 1000)
        maillog.looked_up(question.source.value, fetched.outcome.value, fetched.detail, took_ms)
        return fetched

    async def _first_answer(self, question: _Question) -> Fetched:
        first, *others = question.urls
        fetched = await self._fetcher.get(first, ours=question.ours)
        for url in others:
            if fetched.outcome not in _GO_ON:
                break
            fetched = await self._fetcher.get(url, ours=question.ours)
        return fetched


def _looked_at(question: _Question, fetched: Fetched) -> Fetched:
    """Return an answer, or that it is none.

    Who was asked for a fingerprint proves no user ID, so it has a say in that one certificate only.
    """
    if not _is_certificate(fetched.content):
        return Fetched(Outcome.ABSENT, detail="no-certificate")
    if question.source is not CertificateSource.HKP:
        return fetched
    content = certs.with_key(fetched.content, question.query)
    if not content:
        return Fetched(Outcome.ABSENT, detail="another-certificate")
    return replace(fetched, content=content)


def _is_certificate(content: bytes) -> bool:
    """Return whether an answer begins as a public key, armored or binary; the rest is inspected."""
    return sniff(content.lstrip(b"\r\n \t")) is OpenPGPKind.PUBLIC_KEY
