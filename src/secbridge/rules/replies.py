"""What do we answer to a mail of a case?  One text, in clear or encrypted to whom, now or later.

Must-encrypt is a rule of the thread: once a mail of it held ciphertext, nothing but the fixed
notices leaves in clear.  A certificate that cannot be used is told to its owner, never passed over.
The first certificate of a reporter is trusted and bound; another one is never written to before a
person of the team has said that it counts.  Until there is one, the acknowledgement is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

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

LEEWAY = timedelta(days=1)
"""How much older than its case a signature may be: mails wait in queues, and clocks differ."""

FIRST_ANSWER = "ack"
"""The step of the acknowledgement; a case has one."""

PAUSED = "paused"
"""The step of what takes the acknowledgement's place while the intake is paused."""


def _turns(first: str) -> tuple[str, ...]:
    return (first, *(f"{first}-{turn}" for turn in range(2, 10)))


TURNS: dict[ReplyKind, tuple[str, ...]] = {
    ReplyKind.ACKNOWLEDGEMENT: _turns(FIRST_ANSWER),
    ReplyKind.INTAKE_PAUSED: _turns(PAUSED),
}
"""The steps of each text that acknowledges: a later turn takes the place of one that never left."""

ACKNOWLEDGEMENTS = tuple(step for steps in TURNS.values() for step in steps)
"""The steps of all of them: a case has one answer of these."""

BUILT_ANEW = frozenset(step for steps in TURNS.values() for step in steps[:-1])
"""Those in whose place there may be another, when the guard finds them outdated."""

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
    is more than 1 where earlier ones of the kind were outdated before they left.
    """

    kind: ReplyKind
    encrypt_to: str | None = None
    code: str | None = None
    warnings: tuple[str, ...] = ()
    turn: int = 1

    @property
    def step(self) -> str:
        """The name of this answer within its case: each leaves once."""
        if self.kind in TURNS:
            return TURNS[self.kind][self.turn - 1]
        return self.kind.value if self.code is None else f"{self.kind.value}-{self.code}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What leaves now, and why the acknowledgement is held; None where nothing is held back."""

    answer: Answer | None
    held: str | None = None


PLEASE_ENCRYPT = Answer(ReplyKind.NOTICE_PLEASE_ENCRYPT)
"""What a reporter is told, once a case, who goes on in clear in an encrypted thread."""

_OF_KEYS = (
    Answer(ReplyKind.NOTICE_SEND_KEY),
    Answer(ReplyKind.NOTICE_USE_THIS_KEY),
    *(Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code=code) for code in KEY_PROBLEMS),
)

NOTICES: dict[str, Answer] = {notice.step: notice for notice in (*_OF_KEYS, PLEASE_ENCRYPT)}
"""Every fixed notice by its step: a step has one text for ever, as the guard expects it."""

STEP_NUMBERS: dict[str, int] = {
    FIRST_ANSWER: 1,
    **{notice.step: number for number, notice in enumerate(_OF_KEYS, start=2)},
    **dict(zip(TURNS[ReplyKind.ACKNOWLEDGEMENT][1:], range(92, 100), strict=True)),
    PAUSED: 100,
    PLEASE_ENCRYPT.step: 101,
    **dict(zip(TURNS[ReplyKind.INTAKE_PAUSED][1:], range(102, 110), strict=True)),
}
"""Steps as small numbers, for the envelope sender (``alias+sb-TOKEN-N@``).

They are in mails that are out, so none may ever mean another step; up to 91 is room for those of
``KEY_PROBLEMS`` that come.
"""


LETTER, CLAIM = "letter-", "claim-"
"""What the step of a letter, and of a claim, begins with; behind it stands its number."""


def number_of(step: str) -> int:
    """Return the small number of a step, for the envelope sender.  Raises KeyError for no step."""
    for beginning in (LETTER, CLAIM):
        number = step.removeprefix(beginning)
        if number != step and number.isascii() and number.isdigit() and len(number) <= 13:
            return int(number)
    return STEP_NUMBERS[step]


def kind_of(step: str) -> ReplyKind | None:
    """Return which text a step has, None for a letter: a person chose it.

    Raises KeyError for no step.
    """
    number_of(step)
    if step.startswith(LETTER):
        return None
    if step.startswith(CLAIM):
        return ReplyKind.CLAIM
    if step in NOTICES:
        return NOTICES[step].kind
    return next(kind for kind, steps in TURNS.items() if step in steps)


def is_kind_of(step: str, kind: ReplyKind) -> bool:
    """Return whether a mail of this step may have this text; of no step none may."""
    try:
        expected = kind_of(step)
    except KeyError:
        return False
    return kind.is_letter if expected is None else kind is expected


def needs_key(protection: Protection, *, must_encrypt: bool) -> bool:
    """Return whether the reporter's certificate matters: nobody's is looked for without need."""
    return must_encrypt and protection is not Protection.UNDECRYPTABLE


def choose_answer(
    protection: Protection, *, must_encrypt: bool, key: KeySearch = NoKey(), paused: bool = False
) -> Plan:
    """Return the answer to a mail; ``key`` counts only where ``needs_key`` says so.

    To what nobody could open the notice is all: the acknowledgement belongs to a mail that can be
    read.  While the intake is ``paused`` another text is the acknowledgement, under the same rules.
    """
    received = ReplyKind.INTAKE_PAUSED if paused else ReplyKind.ACKNOWLEDGEMENT
    if protection is Protection.UNDECRYPTABLE:
        return Plan(Answer(ReplyKind.NOTICE_USE_THIS_KEY))
    if not must_encrypt:
        return Plan(Answer(received))
    match key:
        case KeyFound(fingerprint=fingerprint, warnings=warnings):
            return Plan(Answer(received, fingerprint, warnings=warnings))
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
    bound yet, as on first use.  A signature counts that is not too old for the case.
    """
    if case.reporter is None:
        return False
    if message.author is not None and same_address(message.author, case.reporter):
        return True
    return is_signed_by_reporter(message, case)


def is_signed_by_reporter(message: Message, case: Case) -> bool:
    """Return whether a mail is signed with the key that is bound to its case, and not long ago."""
    if case.reporter is None or case.key is None:
        return False
    return is_signed_by(message, case.key.fingerprint, since=case.opened_at)


def is_signed_by(message: Message, fingerprint: str, *, since: datetime) -> bool:
    """Return whether a good signature by this certificate covers the whole mail, and is new.

    It covers neither the sender nor the thread, so anybody can send an old signed mail again, as an
    answer to what its author never saw: one that was made ``LEEWAY`` before ``since`` says nothing.
    """
    wanted, earliest = fingerprint.upper(), since - LEEWAY
    return bool(wanted) and any(
        signature.verdict is SignatureVerdict.GOOD
        and signature.covers is Coverage.WHOLE
        and signature.fingerprint.upper() == wanted
        and (signature.signed_at is None or signature.signed_at >= earliest)
        for signature in message.signatures
    )


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
