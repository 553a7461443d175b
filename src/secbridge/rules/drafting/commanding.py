"""What is an issue told of a command?  What was done, or why nothing was, and what to do then.

The text of a letter is shown as it left, inside a fence, so that nothing in it acts a second time;
everything else is our own words, codes and fingerprints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from secbridge.model.case import Case, CaseStatus
from secbridge.model.delivery import Outgoing, OutgoingState
from secbridge.model.issue import Block, Facts, Paragraph, Untrusted
from secbridge.model.reply import NotSaid, Said
from secbridge.rules import clinic, commands, letters
from secbridge.rules.commands import CommandName, Mistake, MistakeKind
from secbridge.rules.drafting import words
from secbridge.rules.replies import KEY_CHANGED, KEY_UNUSABLE, NO_KEY

Blocks = tuple[Block, ...]

LISTED = 20
"""Mails of ours that the status shows, the newest."""


# ── Letters ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Effects:
    """What a command did beside its letter.

    ``closed`` is None where nothing was to be closed, False where the tracker refused to.
    ``duplicate_of`` is the case that the report is a duplicate of; ``linked``: their issues are.
    """

    status: CaseStatus | None = None
    closed: bool | None = None
    duplicate_of: str = ""
    linked: bool = False


def letter(said: Said, effects: Effects, *, mark: str) -> Blocks:
    """Say what leaves, to whom and how protected, what does not, and what else was done."""
    head = "This goes to the reporter now."
    if said.waits:
        head = f"This waits, since all mail of the case is on hold; {mark} release lets it go."
    rows = [*_protection(said), *_left_out(said), *_effects(effects)]
    return (Paragraph(head), Facts(tuple(rows)), *_text(said))


def previewed(said: Said) -> Blocks:
    """Show a mail that was not sent."""
    rows = (*_protection(said), ("Subject", said.subject), *_left_out(said))
    head = Paragraph("This is what would leave. Nothing was sent.")
    return (head, Facts(rows), *_text(said))


def edited() -> Blocks:
    """Say that a comment was edited when what it asked for had been done."""
    return (
        Paragraph(
            "This comment was edited when its mail was on its way already. The reporter gets the "
            "text from before, and nothing of the new one. To say more, write a new comment."
        ),
    )


def not_said(said: NotSaid, case_id: str, *, mark: str) -> Blocks:
    """Say why nothing was sent and what to do; then nothing else was done either."""
    rows = [("What to do", mend) for mend in _mends(said, case_id, mark)]
    if said.fingerprint:
        rows.insert(0, ("Key", words.fingerprint(said.fingerprint)))
    head = f"Nothing was sent, and nothing else was done: {_why_not(said.code)}."
    return (Paragraph(head), Facts(tuple(rows)))


def _protection(said: Said) -> list[tuple[str, str]]:
    if said.fingerprint is None:
        return [("To", "the reporter"), ("Protection", "in clear, signed with the alias's key")]
    return [("To", "the reporter"), ("Encrypted to", words.fingerprint(said.fingerprint))]


def _left_out(said: Said) -> list[tuple[str, str]]:
    return [("Left out", what) for what in said.removed]


def _effects(effects: Effects) -> list[tuple[str, str]]:
    rows = []
    if effects.status is not None:
        rows.append(("Case", status(effects.status)))
    if effects.duplicate_of:
        linked = "the issues are linked" if effects.linked else "the issues could not be linked"
        rows.append(("Duplicate of", f"{effects.duplicate_of}, {linked}"))
    return rows + _closed(effects.closed)


def _closed(closed: bool | None) -> list[tuple[str, str]]:
    if closed is None:
        return []
    return [("Issue", "closed" if closed else "the tracker refused to close it: please close it")]


def _text(said: Said) -> Blocks:
    return (Untrusted(said.text, label="Text"),) if said.text else ()


def _why_not(code: str) -> str:
    """Say why nothing was said, as the end of a sentence; a code without words stays a code."""
    if code in {NO_KEY, KEY_CHANGED} or code.startswith(KEY_UNUSABLE):
        return words.held(code)
    said = letters.NOT_SAID.get(code, code).rstrip(".")
    return f"{said[:1].lower()}{said[1:]}"


def _mends(said: NotSaid, case_id: str, mark: str) -> Sequence[str]:
    again = "then write the command again, in a new comment"
    by_operator = f"an operator imports the right one: secbridge key import FILE --case {case_id}"
    match said.code:
        case letters.NO_REPORTER | letters.REPORTER_UNUSABLE | letters.REFUSED_ROBOT:
            return (f"say to whom answers go: {mark} reporter ADDRESS; {again}",)
        case code if code == NO_KEY:
            return (f"wait for a mail that brings the key, or {by_operator}; {again}",)
        case code if code == KEY_CHANGED:
            compare = "ask the reporter by other means, and compare the fingerprint"
            return (f"{compare}: {mark} key accept {said.fingerprint}; {again}",)
        case code if code.startswith(KEY_UNUSABLE):
            mend = clinic.MENDS.get(code.removeprefix(KEY_UNUSABLE))
            owner = (f"the reporter: {mend}",) if mend else ()
            return (*owner, f"{by_operator}; {again}")
        case letters.TOO_LONG:
            return (f"shorten the text, or send it as several; {again}",)
        case letters.TEXT_UNFIT:
            return ("an operator looks at the alias's templates: secbridge template preview",)
        case _:
            return ("write the command again with a text that may leave, in a new comment",)


# ── What is wrong with a command ─────────────────────────────────────────────────────────────────


def explained(mistake: Mistake, *, mark: str) -> Blocks:
    """Say what is wrong with a command, and how it is typed."""
    again = "Write it again, in a new comment: one that was read is not read again."
    head = Paragraph(f"Nothing was done: {wrong(mistake.kind)}. {again}")
    if mistake.name is None:
        return (head, *usage(mark=mark))
    how = commands.USAGES[mistake.name]
    rows = [("It is typed like this", f"{mark} {how.form}"), ("Such as", f"{mark} {how.example}")]
    if mistake.name is CommandName.REJECT:
        rows.append(("Classes", ", ".join(commands.REJECTION_CLASSES)))
    return (head, Facts(tuple(rows)))


def usage(*, mark: str) -> Blocks:
    """List all commands."""
    rows = [(f"{mark} {how.form}", how.effect) for how in commands.USAGES.values()]
    classes = ("Classes of a rejection", ", ".join(commands.REJECTION_CLASSES))
    head = Paragraph("What can be asked in the first line of a comment:")
    return (head, Facts((*rows, classes)))


def wrong(kind: MistakeKind) -> str:
    """Say what is wrong with a command, as the end of a sentence."""
    match kind:
        case MistakeKind.UNKNOWN:
            return "there is no such command"
        case MistakeKind.NO_ARGUMENT:
            return "something is missing behind the command"
        case MistakeKind.NO_TEXT:
            return "something is missing, the text for the reporter"
        case MistakeKind.NO_CLASS:
            return "there is no such class of rejection"
        case MistakeKind.NO_VERSION:
            return f"a version is one line of at most {commands.LONGEST_VERSION} characters"
        case MistakeKind.NO_URL:
            return "the address of a page is missing, which begins with https://"
        case MistakeKind.NO_ADDRESS:
            return "one plain mail address is needed"
        case MistakeKind.TOO_MUCH:
            return "nothing belongs behind this command"
        case MistakeKind.NO_LETTER:
            return "only a command that writes to the reporter can be previewed"
        case MistakeKind.NO_SIGN:
            return "a label or a state cannot stand for this command"
        case _:
            assert_never(kind)


def not_allowed() -> Blocks:
    """Say that somebody may not command."""
    text = "Nothing was done: this account has not the role that may command here."
    return (Paragraph(text),)


# ── Everything else ──────────────────────────────────────────────────────────────────────────────


def adopted(case_id: str, *, known: bool, mark: str) -> Blocks:
    """Say that an issue of the team's own is a case; ``known``: its reporter is, by now."""
    head = Paragraph(f"This issue is case {case_id} of secbridge now.")
    if known:
        return (head,)
    return (
        head,
        Paragraph("Nobody outside is written to before somebody says who the reporter is:"),
        Facts((("In a comment here", f"{mark} reporter ADDRESS"),)),
    )


def failed(*, mark: str) -> Blocks:
    """Say that a command broke off, and that it is not tried again."""
    return (
        Paragraph(
            "This command broke off because of an error in secbridge, and is not tried again. An "
            "operator finds the error in the log."
        ),
        Facts((("What was done of it", f"{mark} status"),)),
    )


def closed_as_spam(*, closed: bool) -> Blocks:
    """Say that a case is spam."""
    text = Paragraph("The case is marked as spam. Nothing was sent.")
    return (text, Facts(tuple(_closed(closed))))


def not_found(*, same: bool) -> Blocks:
    """Say that the issue that was named is not one of ours, or is this very one."""
    why = "that is this case itself" if same else "no case with this id or issue number is known"
    rows = (("It is named by", "its case id (SB-2026-0001), or its number in this project"),)
    return (Paragraph(f"Nothing was done: {why}."), Facts(rows))


def original(duplicate: str) -> Blocks:
    """Say, on the issue that was there first, that another report is a duplicate of it."""
    return (Paragraph(f"{duplicate} was found to be a duplicate of this case."),)


def taken(case: Case, handler: str, *, assigned: bool | None) -> Blocks:
    """Say who handles a case; ``assigned`` is None where the tracker did it itself."""
    rows = [("Handled by", letters.one_line(handler))]
    if assigned is False:
        refused = "the tracker refused to assign the issue: please do it there"
        rows.append(("Assignment", refused))
    rows.append(("The team", "the others behind the alias are told by mail, without details"))
    return (Paragraph(f"Somebody handles {case.id} now."), Facts(tuple(rows)))


def key_accepted(fingerprint: str) -> Blocks:
    """Say that another key is the reporter's now."""
    return (
        Paragraph("From now on the reporter is answered with this key:"),
        Facts((("Key", words.fingerprint(fingerprint)),)),
        Paragraph("An answer that was held goes out by itself."),
    )


def key_refused(code: str) -> Blocks:
    """Say why a key was not accepted."""
    return (Paragraph(f"Nothing was done: {words.key_refusal(code)}."),)


def reporter_set(case_id: str) -> Blocks:
    """Say that answers have somebody to go to."""
    rows = (("Their key, if there is one", f"secbridge key import FILE --case {case_id}"),)
    text = "Mail of this case goes to this address from now on. Nothing was sent yet."
    return (Paragraph(text), Facts(rows))


def held(waiting: int, *, mark: str) -> Blocks:
    """Say that mail is kept back."""
    text = f"All mail of this case is kept back until {mark} release."
    return (Paragraph(text), Facts((("Waiting now", _mails(waiting)),)))


def released() -> Blocks:
    """Say that mail goes again; how much waited is not known to who does it a second time."""
    return (Paragraph("Mail of this case is not kept back any more: what waited goes out now."),)


def _mails(count: int) -> str:
    return "1 mail" if count == 1 else f"{count or 'no'} mails"


# ── Status ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sent:
    """A mail of ours, and when the relay took it."""

    mail: Outgoing
    at: datetime | None


def standing(case: Case, mails: Sequence[Sent]) -> Blocks:
    """Say where a case and its mails stand."""
    rows = (
        ("Case", f"{case.id}, {status(case.status)}"),
        ("Due", case.route.due.isoformat()),
        ("Handled by", letters.one_line(case.handler) or "nobody yet"),
        ("Reporter", "known" if case.reporter else "nobody is known yet"),
        ("Answered by a person", _answered(case)),
        ("Thread", "encrypted: nothing leaves in clear" if case.must_encrypt else "may be clear"),
        *_key(case),
        ("Mail", "on hold" if case.on_hold else "goes out"),
    )
    shown = [(words.notice(one.mail.mail.kind), _became(one)) for one in mails[-LISTED:]]
    if not shown:
        return (Facts(rows), Paragraph("No mail of ours yet."))
    return (Facts(rows), Paragraph("Mails of ours, oldest first:"), Facts(tuple(shown)))


def _key(case: Case) -> list[tuple[str, str]]:
    if case.key is None:
        return [("Key", "none is bound")]
    key = words.fingerprint(case.key.fingerprint)
    return [("Key", key), ("It came", words.source(case.key.source))]


def _answered(case: Case) -> str:
    if case.contacted_at is None:
        return "not yet"
    return f"{_utc(case.contacted_at)}, {letters.one_line(case.contacted_by)}"


def _became(sent: Sent) -> str:
    match sent.mail.state:
        case OutgoingState.QUEUED:
            return "waits to go out"
        case OutgoingState.SENT:
            return f"sent {_utc(sent.at)}" if sent.at else "sent"
        case OutgoingState.REFUSED:
            return f"refused by the relay ({sent.mail.last_status or 'no status'})"
        case OutgoingState.QUARANTINED:
            return f"kept back by our guard ({sent.mail.last_status or 'no reason'})"
        case OutgoingState.OUTDATED:
            return "never left: another took its place"
        case _:
            assert_never(sent.mail.state)


def status(value: CaseStatus) -> str:
    """Say where a case stands."""
    match value:
        case CaseStatus.NEW:
            return "new"
        case CaseStatus.ACCEPTED:
            return "accepted"
        case CaseStatus.NEEDS_INFO:
            return "waits for information from the reporter"
        case CaseStatus.REJECTED:
            return "rejected"
        case CaseStatus.FIXED:
            return "fixed"
        case CaseStatus.DISCLOSED:
            return "published"
        case CaseStatus.DUPLICATE:
            return "a duplicate"
        case CaseStatus.SPAM:
            return "spam"
        case CaseStatus.NORMAL_BUG:
            return "an ordinary bug"
        case _:
            assert_never(value)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
