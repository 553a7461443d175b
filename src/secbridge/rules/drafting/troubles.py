"""What is the team told of a mail of ours that will not leave?  Which one, why, and what to do.

Here our own relay refused it, or our guard kept it; what comes back from elsewhere is a bounce
(``bounces``).  Everything is our own words and codes: no address, and nothing that the mail says.
"""

from __future__ import annotations

from datetime import UTC
from enum import Enum, auto
from typing import assert_never

from secbridge.model.case import Case
from secbridge.model.delivery import Outgoing, OutgoingState
from secbridge.model.issue import CommentDraft, Facts, Paragraph
from secbridge.model.reply import ReplyKind
from secbridge.rules import commands
from secbridge.rules.drafting import words
from secbridge.rules.drafting.bounces import Mend, mended, reason_of
from secbridge.rules.structure import same_address

_CHANGED = {
    "guard-not-bound": "another key is the reporter's by now than the one it is encrypted to",
    "guard-clear-in-encrypted-thread": "it is in clear, and this thread has to be encrypted by now",
    "guard-not-reporter": "the case has another reporter by now",
    "guard-not-member": "the roster does not have this address, or has another key there, by now",
    "guard-claim": "somebody else handles the case by now, or its issue is elsewhere",
    "guard-intended": "a key that it is encrypted to cannot be used any more",
    "guard-recipients": "a key that it is encrypted to is not what it was",
}
"""What may have changed between the writing of a mail and its leaving, by the guard's code."""


class Whom(Enum):
    """Whose copy of a mail it is."""

    REPORTER = auto()
    COPY = auto()
    MEMBER = auto()


def whom(case: Case, outgoing: Outgoing) -> Whom:
    """Return whose copy of a mail a row of the outbox is."""
    if outgoing.mail.kind is ReplyKind.CLAIM:
        return Whom.MEMBER
    is_copy = same_address(outgoing.mail.recipient, case.route.alias)
    return Whom.COPY if is_copy else Whom.REPORTER


def draft_trouble(case: Case, outgoing: Outgoing, *, mark: str = commands.MARK) -> CommentDraft:
    """Say that a mail will not leave, and why; ``outgoing`` is refused or quarantined."""
    mail, status = outgoing.mail, outgoing.last_status or ""
    rows = [
        ("Mail", words.notice(mail.kind)),
        *((("Written", _utc(outgoing)),) if outgoing.queued_at else ()),
        ("Because", _because(outgoing.state, status)),
        *((("Code", status),) if status else ()),
        ("What to do", _advice(whom(case, outgoing), outgoing.state, status, mark)),
        ("An operator sees more with", f"secbridge mail show {outgoing.id}"),
    ]
    return CommentDraft(case.id, (Paragraph(_headline(whom(case, outgoing))), Facts(tuple(rows))))


def _headline(whose: Whom) -> str:
    match whose:
        case Whom.REPORTER:
            return "The reporter did not get this mail of ours: it did not leave."
        case Whom.COPY:
            return "The alias's copy of a mail of ours did not leave. The reporter has another one."
        case Whom.MEMBER:
            return "A member of the team did not get this mail of ours: it did not leave."
        case _:
            assert_never(whose)


def _because(state: OutgoingState, status: str) -> str:
    if state is OutgoingState.REFUSED:
        why, mend = reason_of(status)
        if mend is Mend.POSTMASTER:
            why = "its policy, or what it thinks of our mail"
        return f"our mail relay refuses it: {why}"
    if status.startswith("guard-"):
        found = _CHANGED.get(status, "it is not exactly what we would have written")
        return f"our last check before sending keeps it here: {found}"
    if status.startswith("died-"):
        return "we ended, again and again, while it was being sent"
    return "something broke in us while it was being sent"


def _advice(whose: Whom, state: OutgoingState, status: str, mark: str) -> str:
    match whose:
        case Whom.COPY:
            return "have your postmaster look where mail to the alias goes"
        case Whom.MEMBER:
            return "tell them by other means, and look at their entry in the alias's roster"
        case Whom.REPORTER:
            return _again(state, status, mark)
        case _:
            assert_never(whose)


def _again(state: OutgoingState, status: str, mark: str) -> str:
    """Say how the reporter hears of us all the same."""
    if state is OutgoingState.REFUSED:
        mend = reason_of(status)[1]
        if mend is not Mend.LOOK:
            return mended(mend, mark)
        return "ask your postmaster why, and reach the reporter by other means"
    if status in _CHANGED:
        return f"say it again in a comment here: {mark} reply, with the text below it"
    return f"an operator has to look; then say it again here: {mark} reply, with the text below it"


def _utc(outgoing: Outgoing) -> str:
    moment = outgoing.queued_at
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
