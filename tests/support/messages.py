"""Opened mails, cases and aliases for tests of rooms behind the parser, with harmless defaults."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from secbridge.model.alias import Alias
from secbridge.model.case import Case, MailClass, Route, Verdict
from secbridge.model.delivery import Delivery, State
from secbridge.model.message import (
    Coverage,
    Decryption,
    Headers,
    Message,
    OpenFailure,
    Protection,
    Signature,
    SignatureVerdict,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def a_message(*, fields: dict[str, str] | None = None, **given: Any) -> Message:
    """Return a plain mail of a reporter; ``fields`` are its outer header fields."""
    headers = Headers(
        message_id="<report-1@example.net>",
        fields={name.lower(): (value,) for name, value in (fields or {}).items()},
    )
    plain = Message(
        size=1000,
        protection=Protection.NONE,
        decryption=Decryption(None),
        layers=(),
        signatures=(),
        headers=headers,
        subject="Hello",
        outer_subject="Hello",
        authors=("reporter@example.net",),
        author="reporter@example.net",
        text="Good morning.",
        outside_encryption="",
        attachments=(),
    )
    return replace(plain, **given)


def encrypted(**given: Any) -> Message:
    """Return a mail that was encrypted to us and opened."""
    return a_message(protection=Protection.ENCRYPTED, decryption=Decryption(ok=True), **given)


def undecryptable(**given: Any) -> Message:
    """Return a mail that is encrypted to somebody else."""
    return a_message(
        protection=Protection.UNDECRYPTABLE,
        decryption=Decryption(ok=False, reason=OpenFailure.NO_SECRET_KEY),
        **given,
    )


def signed(verdict: SignatureVerdict = SignatureVerdict.GOOD, **given: Any) -> Message:
    """Return a signed mail in clear."""
    signature = Signature(verdict, "F" * 40, Coverage.WHOLE, signer_is_sender=True)
    return a_message(protection=Protection.SIGNED, signatures=(signature,), **given)


def an_alias(role_key: str = "A" * 40, **given: Any) -> Alias:
    """Return the alias of the tests."""
    plain = Alias(
        "security@example.org",
        (role_key,),
        tracker="local",
        project="security",
        assignees=("alice",),
        name="Example Security",
    )
    return replace(plain, **given)


def a_case(**given: Any) -> Case:
    """Return a case of that alias."""
    route = Route(
        "security@example.org", "local", "security", ("Security",), ("alice",), date(2026, 11, 27)
    )
    plain = Case(
        id="SB-2026-0001",
        token="abcdefghijklmnopqrst",
        marker="9f2c7a52-5c1e-4f0e-9f5f-0c3f3b0a7d11",
        route=route,
        reporter="reporter@example.net",
        must_encrypt=False,
        opened_at=NOON,
    )
    return replace(plain, **given)


def a_delivery(verdict: Verdict | None = None, **given: Any) -> Delivery:
    """Return a delivery whose issue exists, judged a report that may be answered."""
    plain = Delivery(
        id="D1",
        mail_id=1,
        alias="security@example.org",
        recipient="security@example.org",
        token=None,
        outgoing=None,
        reverse_path="reporter@example.net",
        size=1000,
        received_at=NOON,
        state=State.FILED,
        verdict=verdict or Verdict(MailClass.REPORT, ("report.words",), may_reply=True),
        case_id="SB-2026-0001",
    )
    return replace(plain, **given)
