"""What does the team read?  A case and its mail become blocks of an issue or of a comment.

The *header* is what may be told before the issue is proven confidential, so it holds nothing that
the mail said and not even who wrote it.  The *report* holds the rest in the order in which somebody
asks who was woken by it: what is it and who says so, how do I answer, what does the mail say,
what came with it.  Nothing here knows a tracker's dialect, so all trackers show the same structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from secbridge.model.case import Case, IssueRef
from secbridge.model.delivery import Delivery
from secbridge.model.issue import (
    Block,
    CommentDraft,
    DraftAttachment,
    Facts,
    Heading,
    IssueDraft,
    Paragraph,
    Remark,
    Untrusted,
)
from secbridge.model.message import Attachment, Message, Protection
from secbridge.rules import addresses, commands
from secbridge.rules.commands import CommandName
from secbridge.rules.drafting import words
from secbridge.rules.drafting.untrusted import (
    single_line,
    split_forwarded_header,
    split_trailing_quote,
)
from secbridge.rules.threads import Mention, Participant, Thread

INLINE_LIMIT = 20_000
"""Characters of one text attachment that are shown in the issue itself."""

INLINE_TOTAL = 100_000
"""Characters of all text attachments together that are shown in the issue itself."""

LISTED = 20
"""Attachments that are described one by one; the others are counted."""

COMMON = (
    CommandName.REPLY,
    CommandName.TAKE,
    CommandName.ACCEPT,
    CommandName.NEED_INFO,
    CommandName.REJECT,
    CommandName.PREVIEW,
    CommandName.HELP,
)
"""Commands that an issue shows; ``help`` tells all of them."""

SIGNATURES_LISTED = 10
AUTHORS_LISTED = 10

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}")
_TEXT_TYPES = frozenset(
    {"application/json", "application/xml", "application/x-sh", "application/javascript"}
)


def draft_report(
    case: Case,
    delivery: Delivery,
    message: Message,
    *,
    notes: Sequence[str] = (),
    mark: str = commands.MARK,
    mention: Mention | None = None,
) -> IssueDraft:
    """Return the issue of a case: neutral title, header without the mail, report with all of it.

    ``notes`` are sentences of our own that stand above the report; ``mark`` is what a comment for
    secbridge begins with.  ``mention`` is the earlier case that the mail says it continues.
    """
    raw = _raw_command(delivery)
    return IssueDraft(
        case_id=case.id,
        title=_title(case),
        header=(_header(case, delivery),),
        report=(
            *(Paragraph(note) for note in notes),
            *((Paragraph(words.mention(mention)),) if mention else ()),
            *_judgement(delivery, message),
            *_answered_by_machine(delivery, message),
            *_how_to_answer(case, mark),
            *_content(case.id, message, raw),
        ),
        labels=case.route.labels,
        assignees=case.route.assignees,
        due=case.route.due,
        attachments=files_of(case.id, message),
        raw_command=raw,
        files_command=_files_command(delivery),
        name=case.id,
    )


def draft_comment(
    case: Case,
    delivery: Delivery,
    message: Message,
    *,
    thread: Thread | None = None,
    notes: Sequence[str] = (),
) -> CommentDraft:
    """Return the comment for a mail that joins a case; it is for the team alone.

    ``thread`` says who wrote it, where that is known; ``notes`` are sentences of our own.
    """
    raw, prefix = _raw_command(delivery), name_of(case.id, delivery.id)
    facts = (("Delivery", delivery.id), ("Received", _utc(delivery.received_at)))
    clear = case.must_encrypt and not message.was_encrypted
    warning = Paragraph("ATTENTION: this mail came in clear, though its thread is encrypted.")
    return CommentDraft(
        case_id=case.id,
        blocks=(
            Facts((*_written_by(thread, message), *facts)),
            *(Paragraph(note) for note in notes),
            *((warning,) if clear else ()),
            *_judgement(delivery, message, author=_author_label(thread)),
            *_content(prefix, message, raw, joined=True),
        ),
        attachments=files_of(prefix, message),
        raw_command=raw,
        files_command=_files_command(delivery),
        name=prefix,
    )


def draft_mentioned(case: Case, mention: Mention, later: Case) -> CommentDraft:
    """Return what the issue of a case is told of a later one that claims to continue it."""
    told = f"Case {later.id} was opened by a mail that claims to continue this one"
    return CommentDraft(case.id, (Paragraph(f"{told}, {words.named_by(mention.tie)}."),))


def _written_by(thread: Thread | None, message: Message) -> tuple[tuple[str, str], ...]:
    """Return who wrote a mail of a thread, in the first words that its comment says."""
    if thread is None:
        return ()
    if thread.participant is Participant.MEMBER and thread.directly:
        return (("Answered by", words.author_of(thread, message)),)
    return (("Written by", words.author_of(thread, message)),)


def _author_label(thread: Thread | None) -> str:
    """Return what the author's address is called: only the reporter's own is the reporter's."""
    if thread is None or thread.participant is Participant.REPORTER:
        return "Reporter"
    return "Sender"


# ── What is told again in another tracker ────────────────────────────────────────────────────────


def draft_copy(case: Case, text: str, *, mark: str = commands.MARK) -> IssueDraft:
    """Return the issue of a case whose raw mail is gone, from the text that stood elsewhere."""
    gone = (
        "The raw mail went after its retention time. Below is what the embedded tracker showed; "
        "files are there, too (secbridge issue list --all)."
    )
    rows = (
        ("Case", case.id),
        ("Alias", case.route.alias),
        ("Received", _utc(case.opened_at)),
        ("Due", case.route.due.isoformat()),
    )
    return IssueDraft(
        case_id=case.id,
        title=_title(case),
        header=(Facts(rows),),
        report=(Paragraph(gone), *_how_to_answer(case, mark), Untrusted(text, label="Report")),
        labels=case.route.labels,
        assignees=case.route.assignees,
        due=case.route.due,
        name=case.id,
    )


def draft_remark(case: Case, remark: Remark) -> CommentDraft:
    """Return a comment of another tracker as it is told here, with who wrote it and when."""
    told = f"Written in the embedded tracker on {_utc(remark.at)}"
    if remark.author.is_us:
        blocks: tuple[Block, ...] = (Paragraph(f"{told}, by secbridge."),)
    else:
        author = Untrusted(single_line(remark.author.name), label="Author")
        blocks = (Paragraph(f"{told}."), author)
    return CommentDraft(case.id, (*blocks, Untrusted(remark.text.strip("\n"), label="Comment")))


def draft_farewell(case: Case, issue: IssueRef) -> CommentDraft:
    """Return what an issue is told whose case has gone to another tracker."""
    rows = [("Tracker", issue.tracker), ("Project", issue.project), ("Issue", issue.number)]
    if issue.url:
        rows.append(("Address", issue.url))
    told = "This case has moved to its own tracker; comments here are not read any more."
    return CommentDraft(case.id, (Paragraph(told), Facts(tuple(rows))))


# ── What may be told before the proof ────────────────────────────────────────────────────────────


def _header(case: Case, delivery: Delivery) -> Facts:
    linked = (("Same mail, other cases", ", ".join(case.linked)),) if case.linked else ()
    return Facts(
        (
            ("Case", case.id),
            ("Alias", case.route.alias),
            ("Received", _utc(delivery.received_at)),
            ("Due", case.route.due.isoformat()),
            *linked,
            ("Delivery", delivery.id),
            ("What became of it", f"secbridge delivery show {delivery.id}"),
            ("The mail as it came", _raw_command(delivery)),
        )
    )


# ── What to think of the mail ────────────────────────────────────────────────────────────────────


def _judgement(
    delivery: Delivery, message: Message, *, author: str = "Reporter"
) -> tuple[Block, ...]:
    """Return class, reasons, protection and signatures, and who wrote, called ``author``."""
    rows: list[tuple[str, str]] = []
    if message.report is not None:
        rows.append(("Delivery report", words.delivery_report(message.report)))
    if delivery.verdict is not None:
        rows.append(("Class", words.mail_class(delivery.verdict.mail_class)))
        rows += [("Because", words.reason(rule)) for rule in delivery.verdict.reasons]
    rows.append(("Protection", words.protection(message.protection)))
    for signature in message.signatures[:SIGNATURES_LISTED]:
        rows.append(("Signature", words.signature(signature)))
        rows.append(("Key of the signature", words.fingerprint(signature.fingerprint)))
    if (more := len(message.signatures) - SIGNATURES_LISTED) > 0:
        rows.append(("More signatures", str(more)))
    if message.error or message.notes:
        codes = (*((message.error,) if message.error else ()), *message.notes)
        rows.append(("Oddities", ", ".join(codes)))
    return (Facts(tuple(rows)), *_author(message, author))


def _author(message: Message, label: str) -> tuple[Block, ...]:
    """Return who wrote, or that nobody says so; the address is a stranger's word."""
    if message.author is not None:
        return (Untrusted(single_line(message.author), label=label),)
    if not message.authors:
        return (Facts(((label, "anonymous, the mail names no sender"),)),)
    shown = "\n".join(single_line(author) for author in message.authors[:AUTHORS_LISTED])
    return (
        Facts(((label, "unknown, the mail names several senders"),)),
        Untrusted(shown, label="Senders that it names"),
    )


def _answered_by_machine(delivery: Delivery, message: Message) -> tuple[Block, ...]:
    """Return what the reporter hears, where that is not the acknowledgement."""
    verdict = delivery.verdict
    if verdict is None:
        return ()
    if not verdict.may_reply:
        why = words.refusal(verdict.reply_refused_because)
        return (Paragraph(f"Nobody was answered by machine. {why}"),)
    if message.protection is Protection.UNDECRYPTABLE:
        text = "The reporter is asked to send it again, encrypted to our key, by a fixed notice."
        return (Paragraph(text),)
    return ()


# ── How to answer ────────────────────────────────────────────────────────────────────────────────


def _how_to_answer(case: Case, mark: str) -> tuple[Block, ...]:
    """Return what can be done from here: the commands that most reports need, and ``help``."""
    blocks: list[Block] = [Heading("How to answer")]
    if case.must_encrypt:
        blocks.append(
            Paragraph(
                "This thread is encrypted: whoever answers by mail must encrypt, too, to the "
                "reporter and to the alias."
            )
        )
    copy = addresses.case_address(case.route.alias, case.token)
    blocks += [
        Paragraph("Comments here stay here. One whose first line is a command is for secbridge:"),
        Facts(tuple(_commands(mark))),
        Paragraph("Mail to the reporter with this address on copy joins the issue, as do answers:"),
        Facts((("On copy", copy),)),
    ]
    return tuple(blocks)


def _commands(mark: str) -> Iterator[tuple[str, str]]:
    for name in COMMON:
        usage = commands.USAGES[name]
        yield f"{mark} {usage.form}", usage.effect


# ── What the mail says ───────────────────────────────────────────────────────────────────────────


def _content(prefix: str, message: Message, raw: str, *, joined: bool = False) -> tuple[Block, ...]:
    """Return all that a mail says; ``joined``: it is part of a thread, which it may quote whole."""
    silent = message.protection is not Protection.UNDECRYPTABLE
    return (
        Heading("Mail"),
        *_cannot_open(message, raw),
        *_subjects(message),
        *_text(message.text, silent=silent, joined=joined),
        *_outside(message),
        *_attachments(prefix, message, raw),
    )


def _cannot_open(message: Message, raw: str) -> tuple[Block, ...]:
    """Say that something was not read, why, and how an operator gets at it."""
    if message.decryption.ok is False:
        whole = not message.text
        what = "This is a report that we cannot read" if whole else "A part cannot be read"
        told = f"{what}: {words.failure(message.decryption.reason)}."
    elif message.error == "too-complex":
        told = "This mail is too complex to open: not all of it was read."
    else:
        return ()
    return (Paragraph(told), Paragraph(f"An operator gets the mail as it came with: {raw}"))


def _subjects(message: Message) -> tuple[Block, ...]:
    blocks: list[Block] = []
    if message.subject:
        blocks.append(Untrusted(single_line(message.subject), label="Subject"))
    if message.was_encrypted and message.outer_subject not in {"", "...", message.subject}:
        label = "Subject outside the encryption, which anybody on the way could read and change"
        blocks.append(Untrusted(single_line(message.outer_subject), label=label))
    return tuple(blocks)


def _text(text: str, *, silent: bool, joined: bool) -> tuple[Block, ...]:
    """Return the words of the mail; a trailing quote is folded away, never cut.

    What stands below the header of another mail is a quote in a thread alone: in a first mail it
    may be the report, forwarded.
    """
    if not text.strip():
        return (Paragraph("The mail has no text."),) if silent else ()
    text = text.replace("\r\n", "\n")
    own, quote = split_trailing_quote(text)
    if joined and not quote:
        own, quote = split_forwarded_header(text)
    shown = Untrusted(own.strip("\n"), label="Text")
    if not quote:
        return (shown,)
    return (shown, Untrusted(quote.strip("\n"), label="Quoted below it", folded=True))


def _outside(message: Message) -> tuple[Block, ...]:
    if not message.outside_encryption.strip():
        return ()
    return (
        Heading("Outside the encryption"),
        Paragraph("Anybody on the way could read this, change it, or put it there."),
        Untrusted(message.outside_encryption, label="Text outside the encryption"),
    )


# ── Its files ────────────────────────────────────────────────────────────────────────────────────


def name_of(case_id: str, delivery_id: str = "") -> str:
    """Return what the files of a mail are named after: the case, and the delivery if it joined."""
    return "-".join(filter(None, (case_id, delivery_id)))


def files_of(prefix: str, message: Message) -> tuple[DraftAttachment, ...]:
    """Return the files of a mail under neutral names of ours."""
    return tuple(
        DraftAttachment(_neutral_name(prefix, number), _media_type(file), file.content)
        for number, file in enumerate(message.attachments, start=1)
    )


def _attachments(prefix: str, message: Message, raw: str) -> tuple[Block, ...]:
    """Describe each file, and show it where it is text."""
    if not message.attachments:
        return ()
    blocks: list[Block] = [Heading("Attachments")]
    room = INLINE_TOTAL
    for number, file in enumerate(message.attachments[:LISTED], start=1):
        shown = _shown(file, min(INLINE_LIMIT, room))
        room -= len(shown or "")
        blocks += _described(_neutral_name(prefix, number), file, shown)
    if (more := len(message.attachments) - LISTED) > 0:
        blocks.append(Paragraph(f"There are {more} more, which are not listed here."))
    blocks.append(Paragraph(f"The mail with all its parts: {raw}"))
    return tuple(blocks)


def _described(name: str, file: Attachment, shown: str | None) -> list[Block]:
    rows = [("Attachment", name), ("Type", _media_type(file)), ("Size", f"{file.size} octets")]
    if file.encrypted:
        rows.append(("Protection", "came encrypted"))
    elif file.outside_encryption:
        rows.append(("Protection", "OUTSIDE the encryption"))
    blocks: list[Block] = [Facts(tuple(rows))]
    if file.name:
        blocks.append(Untrusted(single_line(file.name), label="Name given by the sender"))
    if shown is not None:
        blocks.append(Untrusted(shown, label=_content_label(file, shown), file=name))
    return blocks


def _content_label(file: Attachment, shown: str) -> str:
    whole = len(shown) == len(_decoded(file, 4 * len(shown) + 8))
    return "Content" if whole else "Content, only its beginning"


def _shown(file: Attachment, room: int) -> str | None:
    """Return what of a text file the issue shows; None when it is no text or no room is left."""
    if room <= 0 or not _is_text(file) or b"\0" in file.content[: 4 * room]:
        return None
    return _decoded(file, 4 * room)[:room]


def _decoded(file: Attachment, octets: int) -> str:
    """Return the first octets as text; what is no UTF-8 is replaced."""
    return file.content[:octets].decode("utf-8", "replace").replace("\r\n", "\n")


def _is_text(file: Attachment) -> bool:
    media_type = file.media_type.lower()
    return media_type.startswith("text/") or media_type in _TEXT_TYPES


def _media_type(file: Attachment) -> str:
    media_type = file.media_type.lower()
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream"


def _neutral_name(prefix: str, number: int) -> str:
    return f"{prefix}-{number}.bin"


# ── Small change ─────────────────────────────────────────────────────────────────────────────────


def _title(case: Case) -> str:
    """Return a title that says nothing: trackers mail titles around."""
    return f"Security report {case.id}"


def _raw_command(delivery: Delivery) -> str:
    return f"secbridge delivery raw {delivery.id}"


def _files_command(delivery: Delivery) -> str:
    return f"secbridge delivery files {delivery.id} FOLDER"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
