"""Which case does a mail go on with, and who of those in it wrote?

What we issued (the address of a case, the Message-IDs of our mails) was told to those who are in a
case and to nobody else, so whoever names it joins.  A Message-ID that came in from outside, or the
number of a case in a subject, can be known by many: with the former only the reporter and the team
join, with the latter nobody.  Anybody else has made a *mention*, which opens a case of its own.

Joining gives no right by itself: only the reporter's address and bound key stand for the reporter,
and a member of the team is recognised by address and signature together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from secbridge.model.alias import Member
from secbridge.model.case import Case
from secbridge.model.message import Message, SignatureVerdict
from secbridge.rules import replies
from secbridge.rules.structure import same_address

MOST_NAMED = 3
"""Cases in one subject that are looked at."""

_CASE_ID = re.compile(r"(?<![A-Za-z0-9-])SB-[0-9]{4}-[0-9]{4,9}(?![A-Za-z0-9-])", re.IGNORECASE)


class Participant(StrEnum):
    """Who wrote a mail of a case.

    ``reporter``: it bears the reporter's address.  ``signer``: it bears another one and is signed,
    as a whole, with the key that is bound to the case.  ``member``: the roster has the address, and
    the signature over the whole mail.  ``new``: somebody else who was told of the case.
    """

    REPORTER = "reporter"
    SIGNER = "signer"
    MEMBER = "member"
    NEW = "new"


class Tie(StrEnum):
    """What a mail names a case by."""

    TOKEN = "token"  # noqa: S105 - the kind of a tie, no password
    REFERENCES = "references"
    CAME_IN = "came-in"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """The cases of one alias that a mail names, as the store knows them.

    ``token``: by its own address.  ``references``: by a Message-ID that we issued.  ``came_in``: by
    one that came in with a mail of the case.  ``subject``: by its number.
    """

    token: Case | None = None
    references: Case | None = None
    came_in: Case | None = None
    subject: Case | None = None

    def case(self, case_id: str) -> Case:
        """Return the one with this id.  Raises KeyError where none of them has it."""
        return {case.id: case for case in self._all()}[case_id]

    def names_others(self, case_id: str) -> bool:
        """Whether one of them is another case than this."""
        return any(case.id != case_id for case in self._all())

    def _all(self) -> list[Case]:
        found = (self.token, self.references, self.came_in, self.subject)
        return [case for case in found if case is not None]

    def __repr__(self) -> str:
        return "Found(…)"


@dataclass(frozen=True, slots=True, repr=False)
class Thread:
    """A mail is part of a case.

    ``member`` is the one of the team who wrote it, or None; ``pretended`` the one whose address it
    bears without a signature that proves it.  ``directly``: a member wrote to the reporter, with
    the alias on copy, and the relay does not doubt the address: a signature is of the text alone.
    ``disagrees``: it names another case as well.  ``doubted``: it bears the reporter's address, and
    the relay says that this is not proven.  ``replayed``: it is signed with the bound key, and was
    so before there was the case.
    """

    case_id: str
    participant: Participant
    member: Member | None = None
    tie: Tie = Tie.TOKEN
    pretended: Member | None = None
    directly: bool = False
    disagrees: bool = False
    doubted: bool = False
    replayed: bool = False

    @property
    def is_reporters(self) -> bool:
        """Whether it is the reporter's mail, by address or by key."""
        return self.participant in {Participant.REPORTER, Participant.SIGNER}

    @property
    def ties(self) -> tuple[str, ...]:
        """The ids of the rules of triage that tie it to the case."""
        return (f"thread.{self.tie}", *(("thread.disagree",) if self.disagrees else ()))

    @property
    def sender(self) -> tuple[str, ...]:
        """The ids of the rules that say who wrote it; none for the reporter's own address."""
        found = {
            Participant.REPORTER: (),
            Participant.SIGNER: ("thread.signer",),
            Participant.MEMBER: ("thread.member",),
            Participant.NEW: ("thread.participant-new",),
        }[self.participant]
        return (
            *found,
            *(("thread.reporter-unproven",) if self.doubted else ()),
            *(("thread.member-unproven",) if self.pretended else ()),
        )

    def __repr__(self) -> str:
        return f"Thread({self.case_id}, {self.participant}, {self.tie})"


@dataclass(frozen=True, slots=True)
class Mention:
    """A mail says that it continues a case, and nothing shows that it may; it opens its own."""

    case_id: str
    tie: Tie


def decide(
    message: Message,
    found: Found,
    *,
    roster: Sequence[Member],
    recipients: Sequence[str],
    proven: bool = True,
) -> Thread | Mention | None:
    """Return the case that a mail is part of, the one that it only claims, or None.

    ``roster`` are the members behind the alias, ``recipients`` the addresses that the mail is to.
    ``proven`` is False where the relay says that the address of the author may be forged.
    The case's own address counts before Message-IDs, and those of ours before those of others.
    """
    question = _Question(message, found, roster, recipients, proven)
    for tie, case in ((Tie.TOKEN, found.token), (Tie.REFERENCES, found.references)):
        if case is not None:
            return _joined(question, case, tie)
    if found.came_in is not None:
        thread = _joined(question, found.came_in, Tie.CAME_IN)
        if thread.participant is not Participant.NEW:
            return thread
        return Mention(found.came_in.id, Tie.CAME_IN)
    return Mention(found.subject.id, Tie.SUBJECT) if found.subject is not None else None


@dataclass(frozen=True, slots=True, repr=False)
class _Question:
    """All that the decision rests on, as ``decide`` was given it."""

    message: Message
    found: Found
    roster: Sequence[Member]
    recipients: Sequence[str]
    proven: bool


def _joined(question: _Question, case: Case, tie: Tie) -> Thread:
    message, roster = question.message, question.roster
    who = participant(message, case, roster, proven=question.proven)
    listed, is_member = _listed(message, roster), who is Participant.MEMBER
    is_new = who is Participant.NEW
    return Thread(
        case.id,
        who,
        member=listed if is_member else None,
        tie=tie,
        pretended=None if is_member or who is Participant.REPORTER else listed,
        directly=is_member and question.proven and _names_reporter(case, question.recipients),
        disagrees=question.found.names_others(case.id),
        doubted=is_new and _bears_reporters(message, case),
        replayed=is_new and _was_signed_once(message, case),
    )


def participant(
    message: Message, case: Case, roster: Sequence[Member], *, proven: bool = True
) -> Participant:
    """Return who wrote a mail of a case, by its single author and its signatures.

    An address that is not ``proven`` says nothing, nor does a signature from long before the case.
    """
    bears = _bears_reporters(message, case)
    if bears and proven:
        return Participant.REPORTER
    member = _listed(message, roster)
    if member is not None and replies.is_signed_by(
        message, member.fingerprint, since=case.opened_at
    ):
        return Participant.MEMBER
    if not replies.is_signed_by_reporter(message, case):
        return Participant.NEW
    return Participant.REPORTER if bears else Participant.SIGNER


def _was_signed_once(message: Message, case: Case) -> bool:
    """Return whether a mail is signed with the bound key, whenever that was."""
    key = case.key
    return key is not None and replies.endorsement(message, key) is SignatureVerdict.GOOD


def _bears_reporters(message: Message, case: Case) -> bool:
    """Return whether a mail bears the reporter's address, whoever wrote it."""
    author, reporter = message.author, case.reporter
    return author is not None and reporter is not None and same_address(author, reporter)


def called(member: Member) -> str:
    """Return how we speak of a member: by name, else by what stands before the @."""
    return member.name or member.address.rpartition("@")[0]


def cases_in(*subjects: str) -> tuple[str, ...]:
    """Return the ids of cases that subjects name, each once, at most ``MOST_NAMED``."""
    found = (name.upper() for subject in subjects for name in _CASE_ID.findall(subject))
    return tuple(dict.fromkeys(found))[:MOST_NAMED]


def _listed(message: Message, roster: Sequence[Member]) -> Member | None:
    """Return the member whose address a mail bears, whoever wrote it."""
    author = message.author
    if author is None:
        return None
    return next((one for one in roster if same_address(one.address, author)), None)


def _names_reporter(case: Case, recipients: Sequence[str]) -> bool:
    reporter = case.reporter
    return reporter is not None and any(same_address(reporter, one) for one in recipients)
