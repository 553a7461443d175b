"""What is the team told of a mail that did not arrive?  Which one, to whom, why, and what now.

A bounce is written by machines of others, about a mail of ours, to whoever knows its envelope
sender.  So only codes of theirs become words of ours; their own text stands in the fence, cut.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum, auto
from typing import assert_never

from secbridge.model.case import Case
from secbridge.model.delivery import Delivery
from secbridge.model.issue import Block, CommentDraft, Facts, Paragraph, Untrusted
from secbridge.model.message import DeliveryReport, Message
from secbridge.model.reply import OwnMail, ReplyKind
from secbridge.rules import commands, replies
from secbridge.rules.drafting import words
from secbridge.rules.drafting.report import name_of
from secbridge.rules.drafting.untrusted import single_line
from secbridge.rules.structure import same_address

SHOWN = 2000
"""Characters of a mail system's own text that a comment shows."""

_SEARCHED = 8192
_STATUS = re.compile(r"(?<![0-9.])([45])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.]*[0-9])")
_PASSING = frozenset({"delayed", "delivered", "relayed", "expanded"})


class Whom(Enum):
    """Who did not get a mail of ours."""

    REPORTER = auto()
    COPY = auto()
    MEMBER = auto()
    SOMEBODY = auto()


class Mend(Enum):
    """What can be done about a mail that did not reach its reporter."""

    OTHER_ADDRESS = auto()
    LATER = auto()
    SHORTER = auto()
    POSTMASTER = auto()
    LOOK = auto()


_POLICY = "their mail system refuses it: its policy, or what it thinks of ours"
_UNPROVEN = (
    "our mail did not pass their check of the sender (SPF, DKIM, DMARC, the name of the host)"
)
_UNREACHABLE = "their mail system could not be reached"
_TOO_LATE = "it could not be delivered for so long that a mail system gave up"
_REASONS: dict[str, tuple[str, Mend]] = {
    "1.0": ("something is wrong with the address", Mend.OTHER_ADDRESS),
    "1.1": ("there is no such mailbox", Mend.OTHER_ADDRESS),
    "1.2": ("there is no such domain, or no mail system for it", Mend.OTHER_ADDRESS),
    "1.3": ("the address is malformed", Mend.OTHER_ADDRESS),
    "1.4": ("the address means more than one mailbox", Mend.OTHER_ADDRESS),
    "1.6": ("the mailbox has moved, nobody knows where", Mend.OTHER_ADDRESS),
    "1.7": ("they do not take the address of our sender", Mend.POSTMASTER),
    "1.8": ("they do not take the domain of our sender", Mend.POSTMASTER),
    "1.10": ("the domain takes no mail at all", Mend.OTHER_ADDRESS),
    "1": ("something is wrong with an address", Mend.OTHER_ADDRESS),
    "2.1": ("the mailbox takes no mail now", Mend.OTHER_ADDRESS),
    "2.2": ("the mailbox is full", Mend.LATER),
    "2.3": ("the mail is larger than the mailbox takes", Mend.SHORTER),
    "2": ("something is wrong with the mailbox", Mend.LATER),
    "3.1": ("their mail system has no room left", Mend.LATER),
    "3.4": ("the mail is too large for their mail system", Mend.SHORTER),
    "3": ("their mail system cannot take it", Mend.LATER),
    "4.6": ("it went round in circles: their mail systems send it to each other", Mend.POSTMASTER),
    "4.7": (_TOO_LATE, Mend.LATER),
    "4": (_UNREACHABLE, Mend.LATER),
    "5": ("the mail systems did not understand each other", Mend.POSTMASTER),
    "6": ("their mail system cannot take this kind of content", Mend.POSTMASTER),
    "7.1": (_POLICY, Mend.POSTMASTER),
    **{f"7.{detail}": (_UNPROVEN, Mend.POSTMASTER) for detail in range(20, 28)},
    "7": (_POLICY, Mend.POSTMASTER),
}
"""Subject and detail of an enhanced status (RFC 3463 sections 3.1 to 3.8), and subjects alone."""

_ASTRAY = (
    "It did not come to the envelope sender of that mail of ours, where bounces go. So anybody may "
    "have made it who was ever written to in this case: make sure that it is true."
)

_UNKNOWN = ("the mail system gives no reason that we know", Mend.LOOK)
_NO_SURPRISE = frozenset({_UNREACHABLE, _TOO_LATE, _UNKNOWN[0]})
"""Reasons for which it need not be said that a mail system had tried again before it gave up."""


def draft_bounce(
    case: Case,
    delivery: Delivery,
    message: Message,
    sent: OwnMail | None,
    *,
    mark: str = commands.MARK,
) -> CommentDraft | None:
    """Return what the issue is told of a bounce, None where the journal is enough.

    ``sent`` is the mail of ours that it is about, or None.  A mail that is only delayed, or has
    arrived, is no news.  What did not come to an envelope sender of ours may be anybody's.
    """
    report = message.report
    if report is not None and _is_passing(report):
        return None
    status, failed = _status(message)
    came_home = sent is not None and delivery.outgoing == replies.number_of(sent.step)
    certain = failed and came_home
    whom = _whom(case, report, sent)
    why, mend = reason_of(status)
    rows = [
        ("Mail", words.notice(sent.kind) if sent else "which one of ours is not known"),
        *((("Sent", _utc(sent.sent_at)),) if sent and sent.sent_at else ()),
        ("To", _named(whom)),
        ("Because", f"{'' if certain else 'it seems that '}{why}"),
        *((("Status", status),) if status else ()),
        ("What to do", _advice(whom, mend, mark)),
        ("Delivery", delivery.id),
        ("The bounce as it came", f"secbridge delivery raw {delivery.id}"),
    ]
    return CommentDraft(
        case_id=case.id,
        blocks=(
            Paragraph(_headline(whom, certain=certain)),
            *(() if came_home else (Paragraph(_ASTRAY),)),
            Facts(tuple(rows)),
            *_said(message, whom),
        ),
        raw_command=f"secbridge delivery raw {delivery.id}",
        name=name_of(case.id, delivery.id),
    )


# ── What happened ────────────────────────────────────────────────────────────────────────────────


def _is_passing(report: DeliveryReport) -> bool:
    if report.action in _PASSING:
        return True
    return report.action != "failed" and (report.status or "").startswith(("2.", "4."))


def _status(message: Message) -> tuple[str, bool]:
    """Return the enhanced status, "" for none, and whether a report says that the mail failed.

    Of a report that only says 5.0.0 the diagnostic may say more; a bounce without a report, such as
    qmail's, has one in its text at best.
    """
    report = message.report
    if report is None:
        return _first_status(message.text), False
    certain = report.action == "failed" or (report.status or "").startswith("5.")
    status = _first_status(report.status or "")
    if not status or status.endswith(".0.0"):
        status = _first_status(report.diagnostic or "") or status
    return status, certain


def _first_status(text: str) -> str:
    found = _STATUS.search(text[:_SEARCHED])
    return ".".join(str(int(number)) for number in found.groups()) if found else ""


def reason_of(status: str) -> tuple[str, Mend]:
    """Return in words what a status says, and what to do (RFC 3463)."""
    kind, _, rest = status.partition(".")
    why, mend = _REASONS.get(rest) or _REASONS.get(rest.partition(".")[0]) or _UNKNOWN
    if kind == "4" and why not in _NO_SURPRISE:
        why = f"a mail system gave up, after a fault that should have passed: {why}"
    return why, mend


def _whom(case: Case, report: DeliveryReport | None, sent: OwnMail | None) -> Whom:
    """Return who did not get it: reporter and alias get the same mail under the same sender."""
    if sent is not None and sent.kind is ReplyKind.CLAIM:
        return Whom.MEMBER
    named = report.recipients if report else ()
    if any(case.reporter is not None and same_address(each, case.reporter) for each in named):
        return Whom.REPORTER
    if any(same_address(each, case.route.alias) for each in named):
        return Whom.COPY
    return Whom.SOMEBODY if named else Whom.REPORTER


# ── In words ─────────────────────────────────────────────────────────────────────────────────────


def _headline(whom: Whom, *, certain: bool) -> str:
    seems = "" if certain else "It seems that "
    match whom:
        case Whom.REPORTER:
            said = "the reporter did not get this mail of ours."
        case Whom.COPY:
            said = "the alias's copy of a mail of ours did not arrive. The reporter may have it."
        case Whom.MEMBER:
            said = "a member of the team did not get this mail of ours."
        case Whom.SOMEBODY:
            said = "a mail of ours did not arrive at an address that is not the reporter's own."
        case _:
            assert_never(whom)
    return f"{seems}{said}" if seems else said[0].upper() + said[1:]


def _named(whom: Whom) -> str:
    match whom:
        case Whom.REPORTER:
            return "the reporter"
        case Whom.COPY:
            return "the alias, as a copy for the team"
        case Whom.MEMBER:
            return "a member of the team"
        case Whom.SOMEBODY:
            return "where the reporter's mail is forwarded to, or somebody behind the alias"
        case _:
            assert_never(whom)


def _advice(whom: Whom, mend: Mend, mark: str) -> str:
    match whom:
        case Whom.REPORTER:
            return mended(mend, mark)
        case Whom.COPY:
            return "have your postmaster look where mail to the alias goes"
        case Whom.MEMBER:
            return "tell them by other means; their address stands in the alias's roster"
        case Whom.SOMEBODY:
            return "look at the address below; if it is the reporter's, ask for another one"
        case _:
            assert_never(whom)


def mended(mend: Mend, mark: str) -> str:
    """Say what can be done about a mail that did not reach its reporter."""
    match mend:
        case Mend.OTHER_ADDRESS:
            return f"ask for another address by other means, then type {mark} reporter ADDRESS"
        case Mend.LATER:
            return f"write again in some days ({mark} reply), or reach the reporter by other means"
        case Mend.SHORTER:
            return f"write again, shorter ({mark} reply)"
        case Mend.POSTMASTER:
            return "show this to your postmaster, and reach the reporter by other means"
        case Mend.LOOK:
            return "read what the mail system says below"
        case _:
            assert_never(mend)


def _said(message: Message, whom: Whom) -> tuple[Block, ...]:
    """Return what others wrote, fenced: the reason, and an address that is not the reporter's."""
    report = message.report
    blocks: list[Block] = []
    if report is not None and whom is Whom.SOMEBODY:
        named = "\n".join(single_line(each) for each in report.recipients)
        blocks.append(Untrusted(named, label="Address that the mail system names"))
    if report is not None and report.diagnostic:
        blocks.append(
            Untrusted(
                single_line(report.diagnostic, limit=SHOWN), label="What the mail system says"
            )
        )
    elif text := message.text.replace("\r\n", "\n").strip():
        label = (
            "What the mail system says" if len(text) <= SHOWN else "The beginning of what it says"
        )
        blocks.append(Untrusted(text[:SHOWN], label=label))
    return tuple(blocks)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
