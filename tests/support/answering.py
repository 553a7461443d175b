"""The rooms that answer, for real: gpg with the role key, a store, our texts, the guard."""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.support.keys import Keys, Ring
from tests.support.messages import NOON, a_case, a_delivery, an_alias
from tests.support.stores import opened_case

from secbridge.model.alias import Alias
from secbridge.model.case import Case
from secbridge.model.envelope import Envelope, Target
from secbridge.model.message import Message
from secbridge.model.reply import OutgoingMail
from secbridge.openpgp import GnuPG
from secbridge.openpgp.strength import KeyLimits
from secbridge.outbound import MailGuard, TemplateWording
from secbridge.pipeline.replying import Answering, Letters, NoAnswer, Waits
from secbridge.store import Store

SECRET = b"0123456789abcdef0123456789abcdef"


class HeldClock:
    """A clock that the test holds in its hand."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        """Return the time that the test has set."""
        return self.time


@dataclass
class House:
    """The rooms, and one alias."""

    alias: Alias
    ring: Ring
    keys: Keys
    openpgp: GnuPG
    store: Store
    clock: HeldClock
    wording: TemplateWording
    answering: Answering
    guard: MailGuard
    _mails: list[str] = field(default_factory=list)

    async def open_case(
        self, *, must_encrypt: bool, reporter: str = "reporter@example.net", language: str = ""
    ) -> Case:
        """Take a mail and open its case, as the pipeline would have."""
        number = len(self._mails)
        self._mails.append(reporter)
        content = f"Message-ID: <report-{number}@example.net>\r\n\r\nHello\r\n".encode()
        envelope = Envelope(reporter, (self.alias.address,), "127.0.0.1", NOON)
        target = Target(self.alias.address, self.alias.address)
        (delivery,) = await self.store.accept(envelope, content, [target])
        return await opened_case(
            self.store,
            delivery,
            a_case().route,
            reporter=reporter,
            must_encrypt=must_encrypt,
            language=language,
        )

    async def answer(
        self, message: Message, *, case: Case | None = None
    ) -> Letters | Waits | NoAnswer:
        """Return what the first answer to a mail is."""
        if case is None:
            reporter = message.author or "reporter@example.net"
            case = await self.open_case(must_encrypt=message.was_encrypted, reporter=reporter)
        case = await self.store.get_case(case.id) or case
        return await self.answering.answer(
            delivery=a_delivery(case_id=case.id), case=case, message=message, alias=self.alias
        )

    async def mails(
        self, message: Message, *, case: Case | None = None
    ) -> tuple[OutgoingMail, ...]:
        """Return the mails of an answer that there must be: those that leave now."""
        answer = await self.answer(message, case=case)
        assert not isinstance(answer, NoAnswer), answer
        assert answer.mails, answer
        return answer.mails


@asynccontextmanager
async def a_house(
    keys: Keys,
    ring: Ring,
    folder: Path,
    alias: Alias | None = None,
    *,
    limits: KeyLimits | None = None,
    **given: Any,
) -> AsyncIterator[House]:
    """Open the rooms over a ring with the role key, and close them; ``given`` is for Answering."""
    alias = replace(alias or an_alias(), role_keys=(keys.role_fpr,))
    clock = HeldClock()
    openpgp = GnuPG(ring.home, role_keys=[keys.role_fpr], limits=limits or KeyLimits())
    store = await Store.open(folder / "store.sqlite", clock=clock)
    wording = TemplateWording([alias])
    try:
        yield House(
            alias=alias,
            ring=ring,
            keys=keys,
            openpgp=openpgp,
            store=store,
            clock=clock,
            wording=wording,
            answering=Answering(
                openpgp, store, wording, outbox=store, secret=SECRET, clock=clock, **given
            ),
            guard=MailGuard(openpgp, wording, [alias], secret=SECRET, cases=store),
        )
    finally:
        await store.aclose()
        await openpgp.aclose()


def parsed(content: bytes) -> EmailMessage:
    """Return a mail as Python's own parser sees it, which finds no defect."""
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert [defect for part in mail.walk() for defect in part.defects] == []
    return mail


def part_of(mail: EmailMessage, number: int) -> bytes:
    """Return the decoded body of one part of a multipart."""
    content = list(mail.iter_parts())[number].get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def text_of(entity: EmailMessage) -> str:
    """Return the first text of a mail, with plain line ends."""
    (text, *_) = [part for part in entity.walk() if part.get_content_type() == "text/plain"]
    assert isinstance(text, EmailMessage)
    return str(text.get_content()).replace("\r\n", "\n")
