"""What is filed in the tests?  Mails, cases and drafts with harmless defaults, and one canary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Protocol
from uuid import uuid4

from secbridge.model.case import Case, MailClass, Route, Verdict
from secbridge.model.delivery import Delivery, State
from secbridge.model.issue import CommentDraft, IssueDraft
from secbridge.model.message import Attachment, Decryption, Headers, Message, Protection
from secbridge.ports import EffectKey
from secbridge.rules.drafting import draft_comment, draft_report

CANARY = "xyzzy-heap-overflow"
"""A word of the report, which may be found only where the report may be."""

REPORTER = "reporter@example.net"
"""Who wrote it; as secret as the report."""

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class HasProject(Protocol):
    """Something that stands before one project: a bench."""

    project: str


def new_key(attempted_at: datetime | None = None) -> EffectKey:
    """Return the key of a new effect."""
    return EffectKey(str(uuid4()), attempted_at)


# ── Mails and cases ──────────────────────────────────────────────────────────────────────────────


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
        authors=(REPORTER,),
        author=REPORTER,
        text="Good morning.",
        outside_encryption="",
        attachments=(),
    )
    return replace(plain, **given)


def a_report(**given: Any) -> Message:
    """Return a mail with the canary in everything that a mail can say."""
    file = Attachment(f"{CANARY}.txt", "text/plain", CANARY.encode(), False, False)
    plain_mail = {
        "subject": f"Crash: {CANARY}",
        "outer_subject": f"Crash: {CANARY}",
        "text": f"Hello,\n/close\n@alex look: {CANARY}\n",
        "attachments": (file,),
    }
    return a_message(**(plain_mail | given))


def a_case(**given: Any) -> Case:
    """Return a case in the embedded tracker."""
    route = Route(
        "security@example.org", "local", "security", ("Security",), ("alice",), date(2026, 11, 27)
    )
    plain = Case(
        id="SB-2026-0001",
        token="abcdefghijklmnopqrst",
        marker="9f2c7a52-5c1e-4f0e-9f5f-0c3f3b0a7d11",
        route=route,
        reporter=REPORTER,
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
        reverse_path=REPORTER,
        size=1000,
        received_at=NOON,
        state=State.FILED,
        verdict=verdict or Verdict(MailClass.REPORT, ("report.words",), may_reply=True),
        case_id="SB-2026-0001",
    )
    return replace(plain, **given)


# ── Drafts ───────────────────────────────────────────────────────────────────────────────────────


def case_in(bench: HasProject, **given: Any) -> Case:
    """Return a case whose route leads to the bench."""
    where = Route(
        "security@example.org", "t", bench.project, ("Security",), ("alex",), date(2026, 11, 27)
    )
    return a_case(route=where, **given)


def report_draft(bench: HasProject, message: Message | None = None, **given: Any) -> IssueDraft:
    """Return the draft of a report with the canary; ``given`` replaces its fields."""
    draft = draft_report(case_in(bench), a_delivery(), message or a_report())
    return replace(draft, **given)


def comment_draft(bench: HasProject, message: Message | None = None, **given: Any) -> CommentDraft:
    """Return the draft of a follow-up with the canary."""
    draft = draft_comment(case_in(bench), a_delivery(id="D2"), message or a_report())
    return replace(draft, **given)
