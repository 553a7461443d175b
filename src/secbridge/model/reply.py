"""What do we say to whom?  An OutgoingMail is built once, and its bytes are final."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReplyKind(StrEnum):
    """Which text goes out; the notices are fixed and may leave an encrypted thread in clear."""

    ACKNOWLEDGEMENT = "acknowledgement"
    NOTICE_SEND_KEY = "notice-send-key"
    NOTICE_USE_THIS_KEY = "notice-use-this-key"
    NOTICE_KEY_UNUSABLE = "notice-key-unusable"

    @property
    def is_fixed_notice(self) -> bool:
        """Whether the guard can build the mail again and compare it byte for byte."""
        return self is not ReplyKind.ACKNOWLEDGEMENT


@dataclass(frozen=True, slots=True, repr=False)
class OutgoingMail:
    """A finished mail for one recipient: the bytes are built once, stored, and sent as they are.

    ``message_id`` derives from case and step, so a mail that goes out twice is one mail.
    ``body_hash`` recognises it when it comes back through the alias.
    ``encrypted_to`` are the fingerprints it was encrypted to; empty for clear mail.
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

    def __repr__(self) -> str:
        return f"OutgoingMail({self.case_id}, {self.step}, {len(self.content)} bytes)"


@dataclass(frozen=True, slots=True)
class ReplyText:
    """Subject and body of an answer by machine: words of ours only, nothing that a mail said."""

    subject: str
    body: str
