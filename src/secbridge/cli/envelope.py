"""Which envelope did a mail in a file have?  What we are told, else what its header says.

The MTA writes ``Return-Path:`` and ``Delivered-To:`` at delivery; without them the recipients are
those of To, Cc and Bcc, and the reverse-path is that of the author, because the null one would mean
a bounce; a mail of a mail system is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secbridge.mail.headers import HeaderBlock, begins_with_field, mailboxes, plain, split_header

_MOST_HEADER = 256 << 10
_MOST_VALUE = 32 << 10
_NOBODY = "unknown@sender.invalid"
_DAEMON = "mailer-daemon"
_RECIPIENT_FIELDS = ("delivered-to", "x-original-to", "envelope-to", "to", "cc", "bcc")
_SENDER_FIELDS = ("from", "sender", "return-path")


@dataclass(frozen=True, slots=True, repr=False)
class Guess:
    """The envelope of a mail.  ``senders`` are addresses that never count as an alias."""

    reverse_path: str
    recipients: tuple[str, ...]
    senders: frozenset[str]

    @property
    def possible_aliases(self) -> tuple[str, ...]:
        """Every recipient that is no sender, lower-cased, in order."""
        lowered = (recipient.lower() for recipient in self.recipients)
        return tuple(dict.fromkeys(one for one in lowered if one not in self.senders))


def without_mbox_line(content: bytes) -> bytes:
    """Return a mail without the ``From `` line that begins it in an mbox (RFC 4155)."""
    if content.startswith(b"From ") and not begins_with_field(content):
        return content.partition(b"\n")[2]
    return content


def guess(content: bytes, *, sender: str | None, recipients: Sequence[str]) -> Guess:
    """Return the envelope that was given, and what the header says where nothing was."""
    header = split_header(content, 0, len(content), most=_MOST_HEADER)
    senders = [one for name in _SENDER_FIELDS for one in _addresses(header, name)]
    reverse_path = _reverse_path(header, sender, senders)
    return Guess(
        reverse_path,
        tuple(recipients)
        or tuple(one for name in _RECIPIENT_FIELDS for one in _addresses(header, name)),
        frozenset(one.lower() for one in (*senders, reverse_path)),
    )


def _reverse_path(header: HeaderBlock, sender: str | None, senders: Sequence[str]) -> str:
    if sender is not None:
        return sender.strip("<> ")
    if header.all("return-path"):
        return next(iter(_addresses(header, "return-path")), "")
    if not senders:
        daemon = any(_DAEMON in header.first(name).lower() for name in ("from", "sender"))
        return "" if daemon else _NOBODY
    return "" if senders[0].lower().startswith(f"{_DAEMON}@") else senders[0]


def _addresses(header: HeaderBlock, name: str) -> list[str]:
    values = header.all(name)
    return [one for value in values for one in mailboxes(plain(value, most=_MOST_VALUE))[0]]
