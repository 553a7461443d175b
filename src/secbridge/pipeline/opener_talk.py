"""What may we and a process that opens mails say to each other?  The whole of it.

We hand over a mail.  The process asks for what only the holder of the keys can tell, one question
at a time, and says at last what it found.  It is told plaintext, verdicts and public certificates
of this one mail, and never a key, a passphrase or anything of another mail.
"""

from __future__ import annotations

from dataclasses import dataclass

from secbridge.model.message import Message, SignatureFact
from secbridge.model.part import OpeningLimits
from secbridge.ports import CannotOpen, Certificate, Decrypted, Verified

# ── What we say ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False)
class Open:
    """Open this mail.  Comes first, and again when the process is to open another one."""

    raw: bytes
    limits: OpeningLimits


@dataclass(frozen=True, slots=True)
class Facts:
    """The answer to ``VerifyDetached``."""

    facts: tuple[SignatureFact, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The answer to ``Import`` and ``LookUp``."""

    certificate: Certificate | None


# ── What a process says ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Ready:
    """It waits for a mail.  ``closed_off``: the kernel refuses it all but computing and talking."""

    closed_off: bool


@dataclass(frozen=True, slots=True, repr=False)
class Decrypt:
    """Asks as ``OpenPGP.decrypt``."""

    ciphertext: bytes
    limit: int


@dataclass(frozen=True, slots=True)
class DecryptPart:
    """Asks as ``Decrypt`` for octets of the mail itself, which need not be sent back."""

    start: int
    size: int
    limit: int


@dataclass(frozen=True, slots=True, repr=False)
class VerifyDetached:
    """Asks as ``OpenPGP.verify_detached``."""

    signature: bytes
    content: bytes


@dataclass(frozen=True, slots=True, repr=False)
class VerifyOpaque:
    """Asks as ``OpenPGP.verify_opaque``."""

    message: bytes
    limit: int


@dataclass(frozen=True, slots=True, repr=False)
class Import:
    """Asks as ``OpenPGP.import_certificate``."""

    content: bytes
    address: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """Asks as ``OpenPGP.certificate``."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Again:
    """Asks for ``Open`` once more: a mail that was given up has to be read a second time."""


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """Gives the mail.  Comes last."""

    message: Message


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The mail needs more memory than the process may take.  Comes last."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Something broke that nobody foresaw; ``kind`` is the class of an exception.  Comes last."""

    kind: str


Question = Decrypt | DecryptPart | VerifyDetached | VerifyOpaque | Import | LookUp | Again
Said = Ready | Question | Opened | OutOfMemory | Failed
"""All that a process may say."""

DecryptAnswer = Decrypted | CannotOpen
OpaqueAnswer = Verified | CannotOpen
