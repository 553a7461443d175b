"""What may one room ask of another?  The Protocols between the pipeline and the adapters.

The pipeline knows these and no adapter.  Every method that can fail for a reason of ours raises a
``Deferral`` (errors.py); facts about a mail are return values, never exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from secbridge.model.alias import Alias
from secbridge.model.case import Case, CaseStatus, CommentRef, IssueRef, KeyBinding, Route
from secbridge.model.delivery import Delivery, Incoming, Move, Outgoing, OutgoingState, State
from secbridge.model.envelope import Envelope, Target
from secbridge.model.issue import (
    Actor,
    CommentDraft,
    Finding,
    IssueChange,
    IssueDraft,
    IssueState,
    Remark,
    Standing,
    TrackerEvent,
)
from secbridge.model.message import (
    CertificateSource,
    FoundCertificate,
    Message,
    OpenFailure,
    SignatureFact,
)
from secbridge.model.plaintext import Plaintext
from secbridge.model.reply import LetterFacts, OutgoingMail, OwnMail, ReplyKind, ReplyText

# ── Clock ────────────────────────────────────────────────────────────────────────────────────────


class Clock(Protocol):
    """The only source of time; tests hold it in their hand."""

    def now(self) -> datetime:
        """Return the present, timezone-aware, in UTC."""
        ...


# ── Spool: all that intake may ask of the store ──────────────────────────────────────────────────


class Spool(Protocol):
    """Durable accept."""

    async def accept(
        self, envelope: Envelope, content: bytes, targets: Sequence[Target]
    ) -> Sequence[str]:
        """Commit one delivery for each target and return their ids, in order.

        When this returns, the mail is ours and on the disk.  A duplicate (same alias, same
        Message-ID, same content without trace fields) returns the id of the first delivery.
        Raises StoreBusy; then nothing was kept.
        """
        ...

    async def knows_token(self, alias: str, token: str) -> bool:
        """Return whether ``token`` is the address token of a case of ``alias``."""
        ...


# ── Deliveries: the worker's view ────────────────────────────────────────────────────────────────


class Deliveries(Protocol):
    """The life of accepted mails; every method commits before it returns."""

    async def claim(self, now: datetime, *, limit: int, lease: timedelta) -> Sequence[Delivery]:
        """Lease up to ``limit`` deliveries that have something to do now, oldest first.

        Due are those in a working state whose lease is free or over, and deferred and held ones
        whose wait is over (they come back ``Retried``).  Terminal, quarantined and set-aside ones
        never come, nor do answered ones while a mail of theirs is queued.  A claim counts as an
        attempt: it adds one to ``attempts`` in the same commit, so that a mail which kills us while
        it is opened cannot loop; ``release_leases`` takes it back for what was not begun.
        """
        ...

    async def release_leases(self) -> None:
        """Give up this process's leases, so that a restart need not wait for them."""
        ...

    async def get(self, delivery_id: str) -> Delivery | None:
        """Return one delivery, or None."""
        ...

    async def find(self, *, state: State | None = None, limit: int = 1000) -> Sequence[Delivery]:
        """Return deliveries, newest first."""
        ...

    async def content(self, delivery_id: str) -> bytes:
        """Return the raw mail as it was accepted.

        Raises Refusal when there is no such delivery, or when its bytes were purged.
        """
        ...

    async def record(self, delivery_id: str, *moves: Move) -> Delivery:
        """Apply moves by the table, with facts, journal entries and outbox rows, in one commit.

        ``Attempted`` makes ``attempts`` at least 1 and sets ``attempted_at`` to the present; any
        other move sets ``attempts`` to 0 and clears ``attempted_at``, except that ``Deferred`` says
        what it becomes, and ``Retried``, ``Quarantined`` and ``Released`` leave it.
        ``Deferred`` adds one to ``deferrals``; ``Filed``, ``Commented``, ``Answered``,
        ``Withheld``, ``Held`` set it to 0.  A final
        ``Finished``/``Deferred``/``Held``/``Quarantined``/``SetAside`` gives the lease back.
        ``Released`` makes the recorded verdict's class ``other`` with the added reason
        ``released-by-operator``, and lets the mail be answered unless more than its being set aside
        spoke against it.
        ``Answered`` hands over to the outbox; when none of its mails waits (all were queued for
        another delivery), ``Finished`` is part of the same commit.  ``Held`` queues its notices.
        Raises IllegalMove, also for a delivery that does not exist; then nothing changed.
        """
        ...

    async def wake_held(self, *, case_id: str | None = None, address: str | None = None) -> int:
        """Make held answers of a case, or to a reporter's address, due now; return how many."""
        ...

    async def next_due(self) -> datetime | None:
        """Return when ``claim`` will next find something, which may be past, or None for never."""
        ...

    async def wait_for_work(self, timeout: float) -> bool:  # noqa: ASYNC109  a sleep that can be woken
        """Return True as soon as something changed since the last ``claim`` began, else False.

        ``timeout`` in seconds.  What this process commits wakes at once, what another process
        commits is seen within a fraction of a second.  A wake-up is a hint, never a promise; it
        is used up when it is returned, so one task at a time should wait.
        """
        ...

    async def counts(self) -> Mapping[State, int]:
        """Return how many deliveries are in each state; every state is named, with 0 too."""
        ...

    async def purge(self, before: datetime) -> int:
        """Delete the raw bytes of mails all of whose deliveries were done before then.

        Return the number of mails.  Those of ours that are closed as long go, too.  What is known
        of all of them stays, so a late duplicate is still one.
        """
        ...


class Retention(Protocol):
    """What the clock may ask of the store."""

    async def purge(self, before: datetime) -> int:
        """Delete the raw bytes of mails that were done before then; return how many mails."""
        ...

    async def forget_lookups(self) -> int:
        """Delete the answers of key directories that are not used again; return how many."""
        ...


# ── Cases ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Another certificate than the bound one came for a reporter; the team says whether it counts.

    ``accepted_by`` is who said so, or None.
    """

    case_id: str
    address: str
    fingerprint: str
    source: CertificateSource
    seen_at: datetime
    accepted_at: datetime | None = None
    accepted_by: str | None = None


@dataclass(frozen=True, slots=True)
class BoundKey:
    """A binding with the case that it was made in."""

    case_id: str
    alias: str
    binding: KeyBinding


@dataclass(frozen=True, slots=True, repr=False)
class Ahead:
    """Another delivery that is in no case yet; ``beginning`` is how its raw mail begins."""

    delivery_id: str
    beginning: bytes

    def __repr__(self) -> str:
        return f"Ahead({self.delivery_id})"


class Cases(Protocol):
    """Cases and their journal."""

    async def open_case(
        self,
        delivery_id: str,
        route: Route,
        *,
        reporter: str | None,
        must_encrypt: bool,
        language: str = "",
        incoming: Incoming | None = None,
        moves: Sequence[Move] = (),
    ) -> tuple[Delivery, Case]:
        """Return the delivery and the case of its mail on this route, opening that once.

        ``moves`` are applied in the same commit, as ``Deliveries.record`` does.  Two deliveries of
        the same mail with the same (tracker, project) share one case; other cases of the same mail
        are named in ``linked``.  The delivery's ``case_id`` is set.  ``incoming`` is the mail
        itself, by which later ones find the case, filed or not.
        """
        ...

    async def get_case(self, case_id: str) -> Case | None:
        """Return a case by its id, or None."""
        ...

    async def case_by_token(self, alias: str, token: str) -> Case | None:
        """Return the case whose address token this is, or None."""
        ...

    async def case_by_message_ids(self, alias: str, message_ids: Sequence[str]) -> Case | None:
        """Return the case for which we issued one of these Message-IDs to the outside, or None."""
        ...

    async def case_by_incoming_ids(
        self, alias: str, message_ids: Sequence[str], *, author: str | None = None
    ) -> Case | None:
        """Return the case with which one of these Message-IDs came in from outside, or None.

        Anybody may have named them, so only some senders join a case by them; and anybody may have
        opened a case under one of them, so those that ``author`` reported count before others.
        """
        ...

    async def ahead_of(self, delivery_id: str, *, patience: timedelta) -> Sequence[Ahead]:
        """Return other deliveries to the same alias that are in no case yet.

        Earlier ones that a worker has or will take at once; as long as this one came in less than
        ``patience`` ago, those that were put off and later ones, too.  None that waits for a
        person.  Once a delivery is missing here, ``case_by_incoming_ids`` finds its mail if ever it
        opened or joined a case.  Some dozens at most, the earlier ones first, of these those at
        work first, the nearest first.
        """
        ...

    async def incoming_ids(self, case_id: str) -> Sequence[str]:
        """Return the Message-IDs of the reporter's mails in a case, oldest first, ten at most."""
        ...

    async def own_mail(self, message_id: str) -> OwnMail | None:
        """Return what we sent under this Message-ID, or None."""
        ...

    async def mail_sent_as(self, case_id: str, reverse_path: str) -> OwnMail | None:
        """Return which mail of ours in a case had this envelope sender, or None."""
        ...

    async def require_encryption(self, case_id: str) -> None:
        """Set ``must_encrypt`` for good."""
        ...

    async def outdated_answers(self, case_id: str) -> frozenset[str]:
        """Return the steps of mails that our guard did not let out, since something had changed."""
        ...

    async def answers_of(self, case_id: str) -> AbstractSet[str]:
        """Return the steps for which the reporter was written to, whatever became of the mails.

        An outdated one is none: it never left, and another takes its place.
        """
        ...

    async def telling_since(self, case_id: str) -> datetime | None:
        """Return when a mail of the case last began to tell its issue of an answer, or None.

        Only attempts without an outcome count, whichever mail's they are.
        """
        ...

    async def is_answer_held(self, case_id: str, *, besides: str) -> bool:
        """Return whether another delivery of the case than ``besides`` holds its answer."""
        ...

    async def bind_key(self, case_id: str, binding: KeyBinding) -> None:
        """Bind a certificate to the case and its reporter, unless one is bound already.

        In the same commit the held answers of the case, and others to the address, become due.
        """
        ...

    async def key_for(self, alias: str, address: str) -> KeyBinding | None:
        """Return the newest binding of this address under this alias, or None.

        The case of its letters does not tell addresses apart (``rules.structure.same_address``).
        """
        ...

    async def propose_key(self, change: KeyChange) -> bool:
        """Record that another certificate came for the case; return whether that is news.

        One that was accepted once and is not bound any more is news again.
        """
        ...

    async def key_changes(self, case_id: str) -> Sequence[KeyChange]:
        """Return the certificates that were proposed for a case, oldest first."""
        ...

    async def waiting_keys(self, *, address: str | None = None) -> Sequence[KeyChange]:
        """Return the certificates that nobody has accepted yet, oldest first.

        Those of all cases and aliases, or those that came for one address.
        """
        ...

    async def accept_key(self, case_id: str, fingerprint: str, *, by: str) -> KeyBinding | None:
        """Bind a proposed certificate in place of the bound one, and wake the case's held answers.

        One commit.  In the reporter's other cases under the alias it takes the old one's place too,
        and their held answers wake as well.  Return the binding, or None when this certificate was
        never proposed there.  Accepting twice changes nothing.
        """
        ...

    async def bound_keys(
        self, *, alias: str | None = None, address: str | None = None
    ) -> Sequence[BoundKey]:
        """Return bindings with their provenance, newest first."""
        ...

    async def forget_key(self, fingerprint: str, *, by: str) -> int:
        """Remove every binding of a certificate, with a journal entry each; return how many."""
        ...

    async def note(self, case_id: str, event: str, facts: dict[str, str | int]) -> None:
        """Append an entry to the journal of the case.  Facts hold ids, codes and sizes only."""
        ...

    # ── What the team decides; each is journaled with who did it, and doing it twice is harmless

    async def set_status(self, case_id: str, status: CaseStatus, *, by: str) -> bool:
        """Record where a case stands; return whether that is news."""
        ...

    async def hold_mail(self, case_id: str, *, hold: bool, by: str) -> int:
        """Keep all mail of a case here, or let it go; return how many mails wait, or waited.

        While a case is on hold nothing of it is claimed from the outbox, new mail included.
        """
        ...

    async def take_case(self, case_id: str, handler: str, *, by: str) -> bool:
        """Record who handles a case; return whether that is news."""
        ...

    async def record_contact(self, case_id: str, *, by: str, at: datetime) -> bool:
        """Record that a person answered the reporter; the first one counts.  Return if it is it."""
        ...

    async def attach_reporter(self, case_id: str, address: str, *, by: str) -> bool:
        """Set or change to whom a case's mail goes; return whether that is news.

        The binding of a key that names another address is removed with it.
        """
        ...

    async def adopt_case(self, route: Route, issue: IssueRef, *, by: str) -> Case:
        """Return the case of an issue that was born in the tracker, opening it once."""
        ...


# ── Events ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class HeardBefore:
    """What is known of a command from before: when it was begun last, and whether it is done.

    ``changed``: it was begun with another text than it has now.
    """

    attempted_at: datetime | None
    done: bool
    changed: bool = False


@dataclass(frozen=True, slots=True)
class HeardState:
    """What an issue was like when we last heard of it; an account is what assignees hold.

    ``turn`` counts the changes by people that were followed up: it names the next one.  -1: people
    changed the issue when nobody listened, so that what it is like now stands for nothing.
    """

    open: bool
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    turn: int = 0


class Events(Protocol):
    """How far each tracker was read, and which commands are done.  Every method commits."""

    async def cursor(self, tracker: str, project: str) -> str | None:
        """Return how far a project was read, or None when it never was."""
        ...

    async def move_cursor(self, tracker: str, project: str, cursor: str) -> None:
        """Record that everything before ``cursor`` has an outcome."""
        ...

    async def case_of_issue(self, tracker: str, project: str, issue_id: str) -> str | None:
        """Return the id of the case whose issue this is, or None.

        ``project`` is where the issue is by now, or through which it is heard of.
        """
        ...

    async def case_of_number(self, tracker: str, project: str, number: str) -> str | None:
        """Return the id of the case whose issue people call so, with or without ``#``, or None."""
        ...

    async def hear(
        self,
        tracker: str,
        project: str,
        key: str,
        *,
        case_id: str,
        command: str,
        digest: bytes = b"",
    ) -> HeardBefore:
        """Record that a command is about to be done; return what is known of it from before.

        ``digest`` is an HMAC of its text: the first one is kept, to tell whether it was edited.
        """
        ...

    async def is_begun(self, tracker: str, project: str, key: str) -> bool:
        """Return whether a command was begun whose outcome nobody recorded."""
        ...

    async def undo_hear(self, tracker: str, project: str, key: str, attempted_at: datetime) -> None:
        """Put back when a command was begun: the last try left nothing that is not known.

        So that the wait for the try before comes to its end, however often we look meanwhile.
        """
        ...

    async def heard_state(self, case_id: str) -> HeardState | None:
        """Return what an issue was like when we last heard of it, or None for the first time."""
        ...

    async def keep_state(self, case_id: str, state: HeardState) -> None:
        """Record what an issue is like, once all that follows from it is done."""
        ...

    async def heard(
        self, tracker: str, project: str, key: str, *, case_id: str, by: str, outcome: str
    ) -> None:
        """Record a command's outcome, a code of ours, with its entry in the case's journal."""
        ...


# ── Where issues are ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Watched:
    """A case whose issue is looked at from time to time; ``standing`` is what was seen last."""

    case: Case
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class Leaving:
    """A case whose issue stays in the embedded tracker for now, or has just left it.

    ``begun_at`` is when a move was begun whose outcome nobody recorded.  ``left`` is the number of
    the issue that the case has left and that is to be closed, or None while it is still there.
    """

    case: Case
    begun_at: datetime | None = None
    left: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectCheck:
    """How the last check of a project ended.  ``refused_since``: nothing is filed there."""

    tracker: str
    project: str
    checked_at: datetime
    refused_since: datetime | None


class Places(Protocol):
    """Where the issues of cases are, and whether they keep their secret.  Every method commits."""

    async def reroute(self, case_id: str, route: Route) -> bool:
        """Give a case without an issue another route; return False where that cannot be done.

        It cannot when the case has an issue, or when another case of its mail has that place.
        """
        ...

    async def issues_to_look_at(self, *, limit: int) -> Sequence[Watched]:
        """Return cases with an issue, open ones first, of these the longest not looked at first."""
        ...

    async def looked(self, case_id: str, standing: Standing, *, state: IssueState | None) -> bool:
        """Record what a look at an issue saw, and where it is by now; return whether it is news.

        What is news stands in the journal of the case (``case.issue-exposed`` and so on); that a
        first look finds the secret kept is none.  Of an issue that the case has left meanwhile for
        another tracker nothing is recorded.
        """
        ...

    async def passed_over(self, case_id: str) -> None:
        """Record that an issue could not be looked at; what was seen of it before stands."""
        ...

    async def away_from_home(self, tracker: str) -> Sequence[Leaving]:
        """Return the cases whose issue is in ``tracker`` though their route leads elsewhere.

        Those that have just left it, and are not settled, are among them.
        """
        ...

    async def begin_move(self, case_id: str) -> None:
        """Record that the effects of a move are about to begin."""
        ...

    async def undo_begin(self, case_id: str, begun_at: datetime | None) -> None:
        """Put back when a move was begun: the last try did nothing whose outcome is not known."""
        ...

    async def move_issue(self, case_id: str, issue: IssueRef) -> None:
        """Record that the case's issue is another one now, and which one it has left."""
        ...

    async def settle_move(self, case_id: str) -> None:
        """Record that nothing is left to do about the issue that a case has left."""
        ...

    async def mails_of(self, case_id: str) -> Sequence[Delivery]:
        """Return the deliveries of a case, the one that opened it first."""
        ...

    async def record_check(self, tracker: str, project: str, *, refused: bool) -> None:
        """Record how the check of a project ended."""
        ...

    async def project_checks(self) -> Sequence[ProjectCheck]:
        """Return how the last check of each project ended."""
        ...


# ── Outbox ───────────────────────────────────────────────────────────────────────────────────────


class Outbox(Protocol):
    """Mails of ours that wait for the relay; rows appear by ``Answered`` and ``Held``."""

    async def claim_outgoing(
        self, now: datetime, *, limit: int, lease: timedelta
    ) -> Sequence[Outgoing]:
        """Lease rows that are due and add one to ``attempts`` of each, in one commit."""
        ...

    async def outgoing_sent(self, outgoing_id: int, status: str) -> bool:
        """Record that the relay took it; return whether its delivery is done now.

        When no row of an answered delivery is open any more, its ``Finished`` is part of the same
        commit; one whose answer is held is not finished by its notices.  A second outcome of one
        row changes nothing.
        """
        ...

    async def outgoing_deferred(self, outgoing_id: int, until: datetime, status: str) -> None:
        """Record a passing failure; the attempt had an outcome, so ``attempts`` goes back to 0."""
        ...

    async def outgoing_refused(self, outgoing_id: int, status: str, *, quarantine: bool) -> bool:
        """Record that it will not go (``quarantine``: says our guard); see ``outgoing_sent``."""
        ...

    async def outgoing_outdated(self, outgoing_id: int, status: str) -> bool:
        """Record that an answer must be built anew; return False when it has left already.

        Its copies for others do not leave either, and its delivery is due to be answered again.
        One commit.
        """
        ...

    async def find_outgoing(self, delivery_id: str) -> Sequence[Outgoing]:
        """Return the outgoing mails that a delivery caused, oldest first."""
        ...

    async def post(self, mails: Sequence[OutgoingMail]) -> bool:
        """Queue mails that a person brought about; return whether any of them is new.

        A Message-ID that is known for a recipient is not queued again, whatever its bytes are.
        """
        ...

    async def posted(self, case_id: str, step: str) -> Outgoing | None:
        """Return the reporter's copy (or the only one) of a mail by its step, or None."""
        ...

    async def mails_of_case(self, case_id: str) -> Sequence[Outgoing]:
        """Return all mails of ours in a case, oldest first."""
        ...

    async def automatic_since(
        self, since: datetime, *, recipient: str | None = None, case_id: str | None = None
    ) -> int:
        """Count the mails that machines decided to send since then, without the alias's copies.

        Tags (``name+tag@…``) are all of one ``recipient``.
        """
        ...

    async def automatic_to(self, recipient: str, since: datetime) -> tuple[int, int]:
        """Count as ``automatic_since`` does: those to a recipient, and those to all."""
        ...

    async def untold(self, *, limit: int) -> Sequence[Outgoing]:
        """Return mails that will not leave, and of which their issue was not told, oldest first."""
        ...

    async def telling(self, outgoing_id: int, at: datetime | None) -> None:
        """Record that its issue is about to be told, or (None) that nothing came of it for sure."""
        ...

    async def told(self, outgoing_id: int) -> None:
        """Record that the issue knows what became of a mail."""
        ...

    async def find_outgoing_by_state(
        self, state: OutgoingState, *, limit: int = 1000
    ) -> Sequence[Outgoing]:
        """Return outgoing mails in a state, newest first."""
        ...

    async def next_outgoing_due(self) -> datetime | None:
        """Return when ``claim_outgoing`` will next find something, or None for never."""
        ...

    async def wait_for_outgoing(self, timeout: float) -> bool:  # noqa: ASYNC109  a sleep that can be woken
        """Return as ``wait_for_work`` does, with ``claim_outgoing`` in the place of ``claim``."""
        ...


# ── OpenPGP ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False)
class Decrypted:
    """One ciphertext opened, with integrity protection proven.  ``opened_by``: our primary key."""

    plaintext: Plaintext
    opened_by: str
    signatures: tuple[SignatureFact, ...] = ()

    def __repr__(self) -> str:
        return f"Decrypted({len(self.plaintext)} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class Verified:
    """A signed message that carries its text (cleartext framework, or signed literal data)."""

    content: Plaintext
    signatures: tuple[SignatureFact, ...]

    def __repr__(self) -> str:
        return f"Verified({len(self.content)} bytes)"


@dataclass(frozen=True, slots=True)
class CannotOpen:
    """A fact about the ciphertext; never a fault of ours."""

    reason: OpenFailure


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as we judge it.  ``problem`` is None when we can encrypt to it, else a code.

    Codes: expired, revoked, no-encryption-subkey, weak, sha1-bindings, unsupported-version,
    malformed, too-large, no-user-id.  ``encryption_subkeys`` are full fingerprints of the valid
    encryption-capable subkeys (or primary), the one that we choose first.  ``warnings`` are codes,
    too (weak, expires-soon): what its owner should mend, though we can still encrypt to it.
    """

    fingerprint: str
    addresses: tuple[str, ...]
    encryption_subkeys: tuple[str, ...] = ()
    problem: str | None = None
    expires: datetime | None = None
    algorithm: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class DetachedSignature:
    """An armored detached signature (LF line ends) and its ``micalg`` (RFC 3156 section 5)."""

    armor: bytes
    micalg: str

    def __repr__(self) -> str:
        return f"DetachedSignature({self.micalg})"


class CannotEncrypt(Exception):  # noqa: N818 - the map's own word
    """A certificate cannot be used; ``code`` as in Certificate.problem, or unknown-key."""

    def __init__(self, code: str, fingerprint: str) -> None:
        super().__init__(code)
        self.code = code
        self.fingerprint = fingerprint


class OpenPGP(Protocol):
    """The alias's role keys and the key ring around them.

    All methods raise Deferral for faults of ours: passphrase, agent, timeout, missing home, a gpg
    killed other than by a cap.  ``limit`` is the cap on output octets.
    """

    async def decrypt(
        self, ciphertext: bytes | memoryview, *, limit: int
    ) -> Decrypted | CannotOpen:
        """Open exactly one OpenPGP message, armored or binary."""
        ...

    async def verify_detached(self, signature: bytes, content: bytes) -> tuple[SignatureFact, ...]:
        """Judge a detached signature over these very bytes; empty when it is no signature."""
        ...

    async def verify_opaque(self, message: bytes, *, limit: int) -> Verified | CannotOpen:
        """Judge a clear-signed text or a signed, unencrypted message, and return what it covers."""
        ...

    async def encrypt_and_sign(
        self, content: bytes, *, recipients: Sequence[str], signer: str
    ) -> bytes:
        """Return one armored message (LF) to exactly these fingerprints.  Raises CannotEncrypt."""
        ...

    async def sign_detached(self, content: bytes, *, signer: str) -> DetachedSignature:
        """Sign these very bytes with a role key."""
        ...

    async def seal(self, content: bytes, *, recipients: Sequence[str]) -> bytes:
        """Encrypt for storage, binary, without a signature.  Raises CannotEncrypt."""
        ...

    async def unseal(self, sealed: bytes) -> Plaintext:
        """Open what ``seal`` made; failing to is a fault of ours."""
        ...

    async def import_certificate(
        self, content: bytes, *, address: str, by_person: bool = False
    ) -> Certificate | None:
        """Inspect the certificates in ``content``; keep and return the one that names ``address``.

        Only user IDs equal to ``address`` are imported.  None when no certificate names it; one
        that cannot be used is returned with its ``problem``, and kept only where it still tells
        who signed (expired, revoked, no-encryption-subkey).
        """
        ...

    async def certificate(self, fingerprint: str) -> Certificate | None:
        """Return what the ring knows of a certificate, or None."""
        ...

    async def certificates_for(
        self, address: str, *, strangers: bool = False
    ) -> Sequence[Certificate]:
        """Return the certificates with this address as a valid user ID, usable ones first.

        Those that a person put into the ring; with ``strangers`` also those that came by mail or
        from a key server, for which nobody has vouched.
        """
        ...

    async def export(self, fingerprint: str, *, minimal: bool = True) -> bytes:
        """Return a public certificate, binary."""
        ...

    async def self_test(self, fingerprint: str) -> Sequence[Finding]:
        """Decrypt and sign for real with a role key, and say what is wrong with it."""
        ...

    async def forget_certificate(self, fingerprint: str) -> bool:
        """Delete a public certificate from the ring; never one with a secret part.

        Return whether there was one.
        """
        ...


class RawMail(Protocol):
    """A mail as it was accepted, which somebody keeps: whoever wants it again reads it again."""

    async def read(self) -> bytes:
        """Return the whole mail, the same each time."""
        ...


class Opener(Protocol):
    """Makes a Message of a mail."""

    async def open(self, raw: bytes | RawMail) -> Message:
        """Return the mail, opened as far as we can: whatever it is like, it is a Message.

        Of a large mail that is kept elsewhere nothing is held in memory that is not needed.
        Raises Deferral for faults of ours, and what ``RawMail.read`` raises.
        """
        ...


class KeyFinder(Protocol):
    """Asks others for a reporter's certificate; that tells them who writes to us.

    Answers are remembered, misses too (``Lookups``, whose StoreBusy is the one thing that is
    raised): a place that does not answer has nothing.
    """

    async def find(
        self, source: CertificateSource, address: str, *, fingerprints: Sequence[str] = ()
    ) -> Sequence[FoundCertificate]:
        """Return what one place (WKD, VKS or HKP) has for an address, not yet inspected.

        HKP is asked by ``fingerprints`` alone: those that signatures of the mail name.
        """
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Remembered:
    """What a place said when it was asked: octets that may be a certificate, or None for a miss."""

    found: bytes | None

    def __repr__(self) -> str:
        return f"Remembered({'nothing' if self.found is None else len(self.found)})"


class Lookups(Protocol):
    """The memory of a ``KeyFinder``.  All methods raise StoreBusy."""

    async def recall_lookup(self, source: CertificateSource, query: str) -> Remembered | None:
        """Return what this place said to this question, or None when it is to be asked."""
        ...

    async def remember_lookup(
        self, source: CertificateSource, query: str, found: bytes | None, *, until: datetime
    ) -> None:
        """Keep an answer, or None for a miss, in place of an earlier one."""
        ...


# ── Trackers ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class EffectKey:
    """Names one effect for ever, so that doing it twice is harmless.

    ``marker`` is a random UUID that is written into what we create.  ``attempted_at`` is when an
    earlier attempt began whose outcome is not known, else None: then the tracker is searched for
    the marker first, and a create may have to wait until that attempt cannot be running any more.
    """

    marker: str
    attempted_at: datetime | None = None


class Tracker(Protocol):
    """A project in somebody's tracker."""

    @property
    def leaves_slashes(self) -> bool:
        """Whether it stores a comment that begins with ``/word`` as it is, and does nothing."""
        ...

    async def check(self) -> Sequence[Finding]:
        """Answer: can this project keep a secret, and have we just the rights that we need?"""
        ...

    async def ensure_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Return the one issue with this marker: confidential, labelled, told, made if missing."""
        ...

    async def ensure_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        """Return the one comment with this marker; create it if missing."""
        ...

    async def update(self, ref: IssueRef, change: IssueChange) -> None:
        """Change assignees, due date, labels or state."""
        ...

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the issue as it is now, followed to where it was moved."""
        ...

    async def link(self, ref: IssueRef, other: IssueRef) -> bool:
        """Link two issues as related, once; return False where the tracker knows no such thing."""
        ...

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what was done in issues of ours since ``cursor``, oldest first, and the next one.

        A cursor is the adapter's own text; None means from now on, and then there are no events.
        Comments of our own account and notes of the tracker itself never come.  The same event may
        come twice (its key is the same); none is left out, also when two have the same second.
        """
        ...

    async def may_command(self, actor: Actor) -> bool:
        """Return whether a person's commands count: a member of the project with the right role."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Posted:
    """A request that says it is a tracker's webhook; nothing of it is proven.

    ``fields`` are its header fields as they came: names in lower case, a repeated one twice.
    """

    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"Posted({len(self.body)} octets)"


@dataclass(frozen=True, slots=True)
class Proven:
    """A webhook that only the tracker can have made.

    ``identity`` is the same when the same request comes again; ``late``: it was made so long ago
    that it is not worth a look.
    """

    identity: bytes
    late: bool = False


@dataclass(frozen=True, slots=True)
class Unproven:
    """A request that anybody can have made; ``reason`` is a code of ours."""

    reason: str


class Hook(Protocol):
    """Tells the webhooks of one tracker from those of others."""

    def judge(self, posted: Posted, *, now: datetime) -> Proven | Unproven:
        """Prove a request in constant time: what is wrong with it cannot be told by a clock."""
        ...


class Shelter(Tracker, Protocol):
    """A tracker from which an issue can be taken to another one: the embedded one."""

    async def holds(self, key: EffectKey) -> bool:
        """Return whether an issue with this marker is here, told or not.  Raises Deferral."""
        ...

    async def text(self, ref: IssueRef) -> str:
        """Return what an issue says.  Raises Deferral."""
        ...

    async def remarks(self, ref: IssueRef) -> Sequence[Remark]:
        """Return all comments of an issue, by people and by us, oldest first.  Raises Deferral."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class LocalIssue:
    """A row of the embedded tracker.  ``sealed_*`` are OpenPGP messages to the role key."""

    number: int
    project: str
    marker: str
    title: str
    sealed_body: bytes
    confidential: bool
    open: bool
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    due: date | None
    created_at: datetime
    updated_at: datetime

    def __repr__(self) -> str:
        return f"LocalIssue({self.number})"


@dataclass(frozen=True, slots=True, repr=False)
class LocalComment:
    """A comment in the embedded tracker, sealed."""

    id: int
    number: int
    marker: str
    author: str
    sealed_body: bytes
    created_at: datetime

    def __repr__(self) -> str:
        return f"LocalComment({self.id})"


@dataclass(frozen=True, slots=True, repr=False)
class LocalAttachment:
    """A file in the embedded tracker, sealed; ``name`` is neutral."""

    id: int
    number: int
    name: str
    media_type: str
    size: int
    sealed: bytes

    def __repr__(self) -> str:
        return f"LocalAttachment({self.id}, {self.size} bytes)"


@dataclass(frozen=True, slots=True)
class LocalEvent:
    """A comment (``comment`` is its id) or a change (``by`` a person, or "" for us) of an issue.

    ``number`` counts all that happens in the installation.
    """

    number: int
    issue: int
    at: datetime
    comment: int | None = None
    by: str = ""


class LocalIssues(Protocol):
    """The tables of the embedded tracker; numbers are unique in the installation, from 1."""

    async def create_issue(
        self,
        *,
        project: str,
        marker: str,
        title: str,
        sealed_body: bytes,
        labels: Sequence[str],
        assignees: Sequence[str],
        due: date | None,
        now: datetime,
    ) -> LocalIssue:
        """Create, or return the issue that has this marker already."""
        ...

    async def find_issue(self, marker: str) -> LocalIssue | None:
        """Return the issue with this marker, or None."""
        ...

    async def read_issue(self, number: int) -> LocalIssue | None:
        """Return an issue, or None."""
        ...

    async def tell_issue(
        self, number: int, sealed_body: bytes, attachments: Sequence[LocalAttachment], now: datetime
    ) -> None:
        """Replace the body and the attachments in one commit."""
        ...

    async def change_issue(
        self, number: int, change: IssueChange, now: datetime, *, by: str = ""
    ) -> LocalIssue:
        """Change labels, people, date or state.  Raises PermanentFault for an unknown issue.

        ``by`` is the person who did it, or "" for secbridge itself.
        """
        ...

    async def list_issues(
        self, *, project: str | None = None, open_only: bool = False
    ) -> Sequence[LocalIssue]:
        """Return issues, newest first."""
        ...

    async def add_comment(
        self, number: int, *, marker: str, author: str, sealed_body: bytes, now: datetime
    ) -> LocalComment:
        """Add, or return the comment that has this marker already."""
        ...

    async def comments(self, number: int) -> Sequence[LocalComment]:
        """Return the comments of an issue, oldest first."""
        ...

    async def attachments(self, number: int) -> Sequence[LocalAttachment]:
        """Return the attachments of an issue."""
        ...

    async def last_event(self) -> int:
        """Return the number of the newest thing that happened, whatever it was; 0 for nothing."""
        ...

    async def local_events(self, project: str, *, after: int, limit: int) -> Sequence[LocalEvent]:
        """Return comments and changes of a project's issues since a number, oldest first."""
        ...


# ── Submission ───────────────────────────────────────────────────────────────────────────────────


class Submission(Protocol):
    """The relay that takes our mail to the world, one recipient a transaction."""

    async def submit(self, reverse_path: str, recipient: str, content: bytes) -> str:
        """Hand over and return the relay's status as ``code enhanced`` (no text of its own).

        Raises Deferral (4yz, connection) or Refusal (5yz).
        """
        ...

    async def check(self) -> Sequence[Finding]:
        """Connect, greet, log in, and say what is wrong."""
        ...


class Guard(Protocol):
    """The only door to the submission room."""

    async def allow(self, outgoing: OutgoingMail) -> None:
        """Parse the finished bytes and raise Refusal unless this mail may leave as it is."""
        ...


NO_FACTS = LetterFacts()
"""Of a text by machine a person has said nothing."""


class Wording(Protocol):
    """The texts of our answers by machine, the operator's where there are any."""

    def write(
        self,
        kind: ReplyKind,
        *,
        alias: Alias,
        case_id: str,
        encrypted: bool,
        code: str | None = None,
        warnings: Sequence[str] = (),
        language: str = "",
        facts: LetterFacts = NO_FACTS,
    ) -> ReplyText:
        """Return the text in a language that there is, built from nothing but these arguments.

        The same arguments give the same text, so that the guard can build it again.
        """
        ...
