"""What do we say to whom?  An OutgoingMail is built once, and its bytes are final."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Submitted(StrEnum):
    """How a mail came to be, in the words of its header (RFC 3834 section 5)."""

    BY_PERSON = "no"
    REPLIED = "auto-replied"
    GENERATED = "auto-generated"


class ReplyKind(StrEnum):
    """Which text goes out; the notices are fixed and may leave an encrypted thread in clear."""

    ACKNOWLEDGEMENT = "acknowledgement"
    INTAKE_PAUSED = "intake-paused"
    NOTICE_SEND_KEY = "notice-send-key"
    NOTICE_USE_THIS_KEY = "notice-use-this-key"
    NOTICE_KEY_UNUSABLE = "notice-key-unusable"
    NOTICE_PLEASE_ENCRYPT = "notice-please-encrypt"
    REPLY = "reply"
    HOLDING = "holding"
    REJECTION = "rejection"
    NEED_INFO = "need-info"
    FIXED = "fixed"
    DISCLOSED = "disclosed"
    DUPLICATE = "duplicate"
    NORMAL_BUG = "normal-bug"
    CLAIM = "claim"

    @property
    def is_fixed_notice(self) -> bool:
        """Whether it holds nothing of a report, and the guard can build it again byte for byte."""
        return self in _NOTICES

    @property
    def is_letter(self) -> bool:
        """Whether a person of the team asked for it, so that it may hold words of that person."""
        return self in _LETTERS

    @property
    def submitted(self) -> Submitted:
        """How mails of this kind come to be.

        A claim answers no mail, and yet nobody wrote it: vacation programs shall not answer it.
        """
        if self.is_letter:
            return Submitted.BY_PERSON
        return Submitted.GENERATED if self is ReplyKind.CLAIM else Submitted.REPLIED


_NOTICES = frozenset(
    {
        ReplyKind.NOTICE_SEND_KEY,
        ReplyKind.NOTICE_USE_THIS_KEY,
        ReplyKind.NOTICE_KEY_UNUSABLE,
        ReplyKind.NOTICE_PLEASE_ENCRYPT,
        ReplyKind.CLAIM,
    }
)
_LETTERS = frozenset(
    {
        ReplyKind.REPLY,
        ReplyKind.HOLDING,
        ReplyKind.REJECTION,
        ReplyKind.NEED_INFO,
        ReplyKind.FIXED,
        ReplyKind.DISCLOSED,
        ReplyKind.DUPLICATE,
        ReplyKind.NORMAL_BUG,
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class OutgoingMail:
    """A finished mail for one recipient: the bytes are built once, stored, and sent as they are.

    ``message_id`` derives from case and step, so a mail that goes out twice is one mail.
    ``body_hash`` recognises it when it comes back through the alias.
    ``encrypted_to`` are the fingerprints it was encrypted to; empty for clear mail.
    ``automatic``: a machine decided to send it, so it counts towards the budgets.
    """

    case_id: str
    step: str
    kind: ReplyKind
    recipient: str
    reverse_path: str
    message_id: str
    content: bytes
    body_hash: str
    must_encrypt: bool
    encrypted_to: tuple[str, ...] = ()
    automatic: bool = True

    def __repr__(self) -> str:
        return f"OutgoingMail({self.case_id}, {self.step}, {len(self.content)} bytes)"


@dataclass(frozen=True, slots=True)
class OwnMail:
    """What we know of a mail that we sent under some Message-ID."""

    case_id: str
    step: str
    body_hash: str
    kind: ReplyKind = ReplyKind.ACKNOWLEDGEMENT
    recipient: str = ""
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True, repr=False)
class LetterFacts:
    """What a text may know beside the case: all of it was written by a person of the team.

    ``text`` is what stood below or behind the command, cleaned (``rules.leaving``);
    ``reason_class`` is the class of a rejection, ``version`` that of a fix, ``url`` that of a
    disclosure; ``handler`` and ``link`` are for a claim alone: who took the case, and the address
    of its issue.  ``signer`` is the name below the text, or "" for the team's.
    """

    text: str = ""
    reason_class: str = ""
    version: str = ""
    url: str = ""
    handler: str = ""
    link: str = ""
    signer: str = ""

    def __repr__(self) -> str:
        return "LetterFacts(…)"


@dataclass(frozen=True, slots=True, repr=False)
class ReplyText:
    """Subject and body of a mail of ours; nothing in it was said by a reporter."""

    subject: str
    body: str

    def __repr__(self) -> str:
        return "ReplyText(…)"


# ── A person of the team has something said ──────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False)
class Saying:
    """What a command has said to the reporter; ``key`` names the event for ever.

    ``text`` as it was typed, not yet cleaned; ``by`` is the name of who typed it.
    """

    kind: ReplyKind
    key: str
    by: str
    text: str = ""
    reason_class: str = ""
    version: str = ""
    url: str = ""

    def __repr__(self) -> str:
        return f"Saying({self.kind}, {self.key})"


@dataclass(frozen=True, slots=True, repr=False)
class Said:
    """A letter that is on its way, or that a preview shows.

    ``subject`` and ``text`` are the whole of what leaves; ``removed`` says in words what of the
    typed text does not.  ``fingerprint`` is the reporter's, None where it leaves in clear.
    ``waits``: the case is on hold.  ``again``: it was on its way before, and ``changed``: what is
    typed now is another text than the one that went.
    """

    subject: str
    text: str
    fingerprint: str | None
    removed: tuple[str, ...] = ()
    waits: bool = False
    again: bool = False
    changed: bool = False

    def __repr__(self) -> str:
        return f"Said({self.fingerprint})"


@dataclass(frozen=True, slots=True)
class NotSaid:
    """Nothing leaves, and why: a code of ours; ``fingerprint`` of a key that cannot be used."""

    code: str
    fingerprint: str = ""
