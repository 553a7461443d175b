"""What do we answer to a mail that became a case?  One text, and in clear or encrypted to whom.

Must-encrypt is a rule of the thread: once a mail of it held ciphertext, nothing but the fixed
notices leaves in clear.  A certificate that cannot be used is told to its owner, never passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

from secbridge.model.message import CertificateSource, Protection
from secbridge.model.reply import ReplyKind

FIRST_ANSWER = "ack"
"""The step of the first answer of a case, whichever text it has: there is only one."""

STEP_NUMBERS = {FIRST_ANSWER: 1}
"""Steps as small numbers, for the envelope sender (``alias+sb-TOKEN-N@``)."""

KEY_PROBLEMS = (
    "expired",
    "revoked",
    "no-encryption-subkey",
    "weak",
    "sha1-bindings",
    "unsupported-version",
    "malformed",
    "too-large",
    "no-user-id",
)
"""Every code that a notice can explain (``Certificate.problem``)."""


@dataclass(frozen=True, slots=True)
class KeyFound:
    """A certificate to which we can answer, with where it came from; ``bound``: it already was."""

    fingerprint: str
    source: CertificateSource
    bound: bool = False


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """There is a certificate, and it cannot be used for a reason that its owner can mend."""

    code: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class NoKey:
    """No certificate names the address that we would answer."""


KeySearch = KeyFound | KeyProblem | NoKey


@dataclass(frozen=True, slots=True)
class Answer:
    """A text, and whom it is encrypted to (a fingerprint; None: it leaves in clear).

    ``code`` is one of ``KEY_PROBLEMS`` for the notice that explains it, else None.
    """

    kind: ReplyKind
    encrypt_to: str | None = None
    code: str | None = None


def needs_key(protection: Protection, *, must_encrypt: bool) -> bool:
    """Return whether the reporter's certificate matters: nobody's is looked for without need."""
    return must_encrypt and protection is not Protection.UNDECRYPTABLE


def choose_answer(
    protection: Protection, *, must_encrypt: bool, key: KeySearch = NoKey()
) -> Answer:
    """Return the first answer to a mail; ``key`` counts only where ``needs_key`` says so."""
    if protection is Protection.UNDECRYPTABLE:
        return Answer(ReplyKind.NOTICE_USE_THIS_KEY)
    if not must_encrypt:
        return Answer(ReplyKind.ACKNOWLEDGEMENT)
    match key:
        case KeyFound(fingerprint=fingerprint):
            return Answer(ReplyKind.ACKNOWLEDGEMENT, encrypt_to=fingerprint)
        case KeyProblem(code=code) if code in KEY_PROBLEMS:
            return Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code=code)
        case KeyProblem() | NoKey():
            return Answer(ReplyKind.NOTICE_SEND_KEY)
