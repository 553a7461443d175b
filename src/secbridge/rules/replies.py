"""What do we answer to a mail of a case?  One text, in clear or encrypted to whom, now or later.

Must-encrypt is a rule of the thread: once a mail of it held ciphertext, nothing but the fixed
notices leaves in clear.  A certificate that cannot be used is told to its owner, never passed over.
The first certificate of a reporter is trusted and bound; another one is never written to before a
person of the team has said that it counts.  Until there is one, the acknowledgement is held.
"""

from __future__ import annotations

from dataclasses import dataclass

from secbridge.model.case import Case, KeyBinding
from secbridge.model.message import (
    CertificateSource,
    Coverage,
    Message,
    Protection,
    SignatureVerdict,
)
from secbridge.model.reply import ReplyKind
from secbridge.rules.structure import same_address

OUTDATES = frozenset({"guard-not-bound", "guard-clear-in-encrypted-thread"})
"""Refusals of the guard that say: since this was built the key or the thread has changed."""

FIRST_ANSWER = "ack"
"""The step of the acknowledgement; a case has one."""

ACKNOWLEDGEMENTS = (FIRST_ANSWER, *(f"{FIRST_ANSWER}-{turn}" for turn in range(2, 10)))
"""The steps of acknowledgements: a later one takes the place of one that never left."""

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
"""Every code that a notice can explain (``Certificate.problem``).

New ones go to the end: the place of a code is part of the envelope sender of mails that are out.
"""

NO_KEY = "no-key"
KEY_CHANGED = "key-changed"
KEY_UNUSABLE = "key-unusable-"
"""Why an acknowledgement is held; behind the last one stands a code of ``KEY_PROBLEMS``."""


# ── What a search for a key finds ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class KeyFound:
    """A certificate to which we can answer, with where it came from.

    ``binding`` is what says that it is the reporter's; None when it is found for the first time.
    ``warnings`` are codes of what its owner should mend (``Certificate.warnings``).
    """

    fingerprint: str
    source: CertificateSource
    binding: KeyBinding | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """There is a certificate, and it cannot be used for a reason that its owner can mend."""

    code: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """Another certificate came than the bound one; nothing is sent to it before the team agrees.

    ``bound`` is None where the case itself has none, and this one came with another mail under the
    same address: that of a later case, or one for which a team was asked and did not agree.
    ``code`` says why the bound one cannot be used, None where it can.  ``endorsement`` is what the
    signature of the bound key over the whole mail is worth, ABSENT without one.
    """

    bound: str | None
    offered: str
    source: CertificateSource
    code: str | None = None
    endorsement: SignatureVerdict = SignatureVerdict.ABSENT


@dataclass(frozen=True, slots=True)
class NoKey:
    """No certificate names the address that we would answer."""


KeySearch = KeyFound | KeyProblem | KeyChanged | NoKey


# ── What is answered ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Answer:
    """A text, and whom it is encrypted to (a fingerprint; None: it leaves in clear).

    ``code`` is one of ``KEY_PROBLEMS`` for the notice that explains it, else None; ``warnings``
    are what the acknowledgement says of a key that can be used and should be mended.  ``turn``
    is more than 1 where earlier acknowledgements were outdated before they left.
    """

    kind: ReplyKind
    encrypt_to: str | None = None
    code: str | None = None
    warnings: tuple[str, ...] = ()
    turn: int = 1

    @property
    def step(self) -> str:
        """The name of this answer within its case: each leaves once."""
        if self.kind is ReplyKind.ACKNOWLEDGEMENT:
            return ACKNOWLEDGEMENTS[self.turn - 1]
        return self.kind.value if self.code is None else f"{self.kind.value}-{self.code}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What leaves now, and why the acknowledgement is held; None where nothing is held back."""

    answer: Answer | None
    held: str | None = None


_NOTICES = (
    Answer(ReplyKind.NOTICE_SEND_KEY),
    Answer(ReplyKind.NOTICE_USE_THIS_KEY),
    *(Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code=code) for code in KEY_PROBLEMS),
)

NOTICES: dict[str, Answer] = {notice.step: notice for notice in _NOTICES}
"""Every fixed notice by its step: a step has one text for ever, as the guard expects it."""

STEP_NUMBERS: dict[str, int] = {
    FIRST_ANSWER: 1,
    **{step: number for number, step in enumerate(NOTICES, start=2)},
    **{step: number for number, step in enumerate(ACKNOWLEDGEMENTS[1:], start=92)},
}
"""Steps as small numbers, for the envelope sender (``alias+sb-TOKEN-N@``)."""


LETTER, CLAIM = "letter-", "claim-"
"""What the step of a letter, and of a claim, begins with; behind it stands its number."""


def number_of(step: str) -> int:
    """Return the small number of a step, for the envelope sender.  Raises KeyError for no step."""
    for beginning in (LETTER, CLAIM):
        number = step.removeprefix(beginning)
        if number != step and number.isascii() and number.isdigit() and len(number) <= 13:
            return int(number)
    return STEP_NUMBERS[step]


def needs_key(protection: Protection, *, must_encrypt: bool) -> bool:
    """Return whether the reporter's certificate matters: nobody's is looked for without need."""
    return must_encrypt and protection is not Protection.UNDECRYPTABLE


def choose_answer(protection: Protection, *, must_encrypt: bool, key: KeySearch = NoKey()) -> Plan:
    """Return the answer to a mail; ``key`` counts only where ``needs_key`` says so.

    To what nobody could open the notice is all: the acknowledgement belongs to a mail that can be
    read.
    """
    if protection is Protection.UNDECRYPTABLE:
        return Plan(Answer(ReplyKind.NOTICE_USE_THIS_KEY))
    if not must_encrypt:
        return Plan(Answer(ReplyKind.ACKNOWLEDGEMENT))
    match key:
        case KeyFound(fingerprint=fingerprint, warnings=warnings):
            return Plan(Answer(ReplyKind.ACKNOWLEDGEMENT, fingerprint, warnings=warnings))
        case KeyChanged(code=code):
            return Plan(_explained(code) if code in KEY_PROBLEMS else None, KEY_CHANGED)
        case KeyProblem(code=code) if code in KEY_PROBLEMS:
            return Plan(_explained(code), f"{KEY_UNUSABLE}{code}")
        case KeyProblem() | NoKey():
            return Plan(Answer(ReplyKind.NOTICE_SEND_KEY), NO_KEY)


def _explained(code: str | None) -> Answer:
    return Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code=code)


def is_by_reporter(message: Message, case: Case) -> bool:
    """Return whether a mail of a thread is its reporter's: same address, or signed by the key.

    The address alone can be forged; so what such a mail brings is bound only where nothing is
    bound yet, as on first use.
    """
    if case.reporter is None:
        return False
    if message.author is not None and same_address(message.author, case.reporter):
        return True
    return case.key is not None and endorsement(message, case.key) is SignatureVerdict.GOOD


def endorsement(message: Message, binding: KeyBinding) -> SignatureVerdict:
    """Return what a signature of the bound key over the whole mail is worth, else ABSENT."""
    verdicts = {
        signature.verdict
        for signature in message.signatures
        if signature.fingerprint == binding.fingerprint and signature.covers is Coverage.WHOLE
    }
    if SignatureVerdict.GOOD in verdicts:
        return SignatureVerdict.GOOD
    return min(verdicts, default=SignatureVerdict.ABSENT)
