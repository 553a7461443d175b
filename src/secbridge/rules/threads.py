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
from secbridge.model.message import Coverage, Message, SignatureVerdict
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
    the alias on copy.  ``disagrees``: it names another case as well.
    """

    case_id: str
    participant: Participant
    member: Member | None = None
    tie: Tie = Tie.TOKEN
    pretended: Member | None = None
    directly: bool = False
    disagrees: bool = False

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
        return (*found, *(("thread.member-unproven",) if self.pretended else ()))

    def __repr__(self) -> str:
        return f"Thread({self.case_id}, {self.participant}, {self.tie})"


@dataclass(frozen=True, slots=True)
class Mention:
    """A mail says that it continues a case, and nothing shows that it may; it opens its own."""

    case_id: str
    tie: Tie


def decide(
    message: Message, found: Found, *, roster: Sequence[Member], recipients: Sequence[str]
) -> Thread | Mention | None:
    """Return the case that a mail is part of, the one that it only claims, or None.

    ``roster`` are the members behind the alias, ``recipients`` the addresses that the mail is to.
    The case's own address counts before Message-IDs, and those of ours before those of others.
    """
    for tie, case in ((Tie.TOKEN, found.token), (Tie.REFERENCES, found.references)):
        if case is not None:
            return _joined(message, case, tie, found, roster, recipients)
    if found.came_in is not None:
        thread = _joined(message, found.came_in, Tie.CAME_IN, found, roster, recipients)
        if thread.participant is not Participant.NEW:
            return thread
        return Mention(found.came_in.id, Tie.CAME_IN)
    return Mention(found.subject.id, Tie.SUBJECT) if found.subject is not None else None


def _joined(
    message: Message,
    case: Case,
    tie: Tie,
    found: Found,
    roster: Sequence[Member],
    recipients: Sequence[str],
) -> Thread:
    who, listed = participant(message, case, roster), _listed(message, roster)
    is_member = who is Participant.MEMBER
    return Thread(
        case.id,
        who,
        member=listed if is_member else None,
        tie=tie,
        pretended=None if is_member or who is Participant.REPORTER else listed,
        directly=is_member and _names_reporter(case, recipients),
        disagrees=found.names_others(case.id),
    )


def participant(message: Message, case: Case, roster: Sequence[Member]) -> Participant:
    """Return who wrote a mail of a case, by its single author and its signatures."""
    author = message.author
    if author is not None and case.reporter is not None and same_address(author, case.reporter):
        return Participant.REPORTER
    member = _listed(message, roster)
    if member is not None and is_signed_by(message, member.fingerprint):
        return Participant.MEMBER
    return Participant.SIGNER if replies.is_by_reporter(message, case) else Participant.NEW


def is_signed_by(message: Message, fingerprint: str) -> bool:
    """Return whether a good signature by this certificate covers the whole mail."""
    return bool(fingerprint) and any(
        signature.verdict is SignatureVerdict.GOOD
        and signature.covers is Coverage.WHOLE
        and signature.fingerprint.upper() == fingerprint.upper()
        for signature in message.signatures
    )


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
