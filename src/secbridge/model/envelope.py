"""What did the MTA tell us about a mail before its content (RFC 5321 section 2.3.1)?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """Reverse-path and recipients of one transaction, as the client gave them.

    ``reverse_path`` is an addr-spec without angle brackets; ``""`` is the null sender.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    peer: str
    received_at: datetime

    def __repr__(self) -> str:
        return f"Envelope(recipients={len(self.recipients)})"


@dataclass(frozen=True, slots=True)
class Target:
    """One recipient that we take: the alias it stands for, and the case whose address it was.

    ``alias`` is the configured address, lower-cased, without a tag; ``token`` is the case's
    address token when the recipient was ``alias+sb-TOKEN@``, else ``None``; ``outgoing`` is the
    sequence number of the mail of ours that a bounce names (``+sb-TOKEN-N``), else ``None``.
    """

    recipient: str
    alias: str
    token: str | None = None
    outgoing: int | None = None
