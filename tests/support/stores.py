"""What does a test of the store need?  A clock in the hand, and mails in one line."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from secbridge.model.case import MailClass as Class
from secbridge.model.case import Route, Verdict
from secbridge.model.delivery import Delivery, Judged, Opened, Routed
from secbridge.model.envelope import Envelope, Target
from secbridge.model.message import Protection
from secbridge.model.reply import OutgoingMail, ReplyKind
from secbridge.store import Store

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ALIAS = "security@example.org"
OTHER_ALIAS = "board@example.org"
LEASE = timedelta(minutes=5)


class StillClock:
    """A clock that moves only when the test moves it."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the time that the test set."""
        return self._now

    def advance(self, **step: float) -> datetime:
        """Let so much time pass at once, and return the new present."""
        self._now += timedelta(**step)
        return self._now


def a_mail(name: str = "1", body: bytes = b"hello", *, trace: bytes = b"") -> bytes:
    """Return a small mail whose Message-ID is made of ``name``."""
    return trace + f"Message-ID: <{name}@example.net>\r\n\r\n".encode() + body


def an_envelope(*recipients: str, at: datetime = NOON) -> Envelope:
    """Return an envelope of the reporter."""
    return Envelope("reporter@example.net", recipients or (ALIAS,), "192.0.2.1", at)


def targets(*aliases: str) -> list[Target]:
    """Return a target for each alias."""
    return [Target(alias, alias) for alias in aliases or (ALIAS,)]


async def accepted(store: Store, name: str = "1", *aliases: str) -> str:
    """Accept a mail, and return the id of its (last) delivery."""
    content, wanted = a_mail(name), targets(*aliases)
    return (await store.accept(an_envelope(*aliases), content, wanted))[-1]


def a_route(alias: str = ALIAS, *, tracker: str = "local", project: str = "security") -> Route:
    """Return a route with people and a date."""
    return Route(alias, tracker, project, ("Security",), ("alice",), date(2026, 11, 27))


REPORT = Verdict(Class.REPORT, ("report.words",), may_reply=True)
SPAM = Verdict(Class.SPAM, ("spam.mark",), may_reply=False, reply_refused_because="spam")


async def routed(store: Store, name: str = "1", verdict: Verdict = REPORT) -> Delivery:
    """Accept a mail and take it as far as ``routed``."""
    delivery_id = await accepted(store, name)
    moves = (Opened(Protection.NONE), Judged(verdict), Routed(a_route()))
    return await store.record(delivery_id, *moves)


def an_answer(
    case_id: str, recipient: str = "reporter@example.net", *, step: str = "ack", name: str = ""
) -> OutgoingMail:
    """Return a finished mail of ours."""
    return OutgoingMail(
        case_id=case_id,
        step=step,
        kind=ReplyKind.ACKNOWLEDGEMENT,
        recipient=recipient,
        reverse_path="security+sb@example.org",
        message_id=f"<{name or case_id}.{step}@example.org>",
        content=b"Subject: Re\r\n\r\nWe have it.\r\n",
        body_hash="0123abcd",
        must_encrypt=True,
        encrypted_to=("A" * 40, "B" * 40),
    )
