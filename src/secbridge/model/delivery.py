"""What became of a mail that we answered with 250?  A Delivery says so at any time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from secbridge.model.case import IssueRef, Route, Verdict
from secbridge.model.message import Protection
from secbridge.model.reply import OutgoingMail


class State(StrEnum):
    """Every state in which a delivery can be found (see ``rules.lifecycle`` for the moves)."""

    RECEIVED = "received"
    OPENED = "opened"
    JUDGED = "judged"
    ROUTED = "routed"
    FILED = "filed"
    COMMENTED = "commented"
    SET_ASIDE = "set-aside"
    ANSWERED = "answered"
    WITHHELD = "answer-withheld"
    HELD = "answer-held"
    DONE = "done"
    DEFERRED = "deferred"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, repr=False)
class Delivery:
    """One mail for one alias.  ``resume`` is the state to go on from when deferred or quarantined.

    ``attempts`` counts attempts without an outcome (deaths); ``deferrals`` counts deferrals in a
    row, for the backoff.  ``attempted_at`` is when the first attempt since the last outcome began;
    a deferral, a retry and a quarantine are no outcomes, because what happened may be unknown.
    """

    id: str
    mail_id: int
    alias: str
    recipient: str
    token: str | None
    outgoing: int | None
    reverse_path: str
    size: int
    received_at: datetime
    state: State
    resume: State | None = None
    why: str | None = None
    wait_until: datetime | None = None
    attempts: int = 0
    deferrals: int = 0
    attempted_at: datetime | None = None
    protection: Protection | None = None
    verdict: Verdict | None = None
    route: Route | None = None
    case_id: str | None = None

    @property
    def at(self) -> State:
        """The state that decides the next step: what a deferred delivery goes on from."""
        return self.resume if self.state is State.DEFERRED and self.resume else self.state

    def __repr__(self) -> str:
        return f"Delivery({self.id}, {self.state})"


@dataclass(frozen=True, slots=True, repr=False)
class Incoming:
    """The Message-ID of a mail that came in with a case; ``by_reporter``: it is the reporter's."""

    message_id: str
    by_reporter: bool = False

    def __repr__(self) -> str:
        return "Incoming(…)"


# ── Moves: what happens to a delivery, with the facts that are recorded ──────────────────────────


@dataclass(frozen=True, slots=True)
class Opened:
    """The mail was parsed and opened as far as we can."""

    protection: Protection


@dataclass(frozen=True, slots=True)
class Judged:
    """Triage gave it a class."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Routed:
    """Routing chose tracker, project and people."""

    route: Route


@dataclass(frozen=True, slots=True)
class Attempted:
    """An effect is about to happen; recorded before it, so a death during it counts."""

    step: str


@dataclass(frozen=True, slots=True)
class Filed:
    """The issue exists, proven confidential, and holds the report.

    ``incoming`` is the mail itself, by which later ones find the case.
    """

    case_id: str
    issue: IssueRef
    incoming: Incoming | None = None


@dataclass(frozen=True, slots=True)
class Commented:
    """The mail became a comment on the issue of a case (or a silent entry in its journal).

    ``comment`` is "journal" for the latter.
    """

    case_id: str
    comment: str
    incoming: Incoming | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """Listed, not filed, until an operator releases it."""

    why: str


@dataclass(frozen=True, slots=True)
class Released:
    """An operator says that a mail set aside is to be filed after all."""

    by: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The answers are built and stored; from now on they are the outbox's to deliver."""

    mails: tuple[OutgoingMail, ...]


@dataclass(frozen=True, slots=True)
class Withheld:
    """No answer is sent, for a recorded reason."""

    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """The answer waits for a key, or for the team's word on one; ``mails`` are notices meanwhile.

    One that our guard did not let out, since what it rests on has changed, waits to be built anew.

    It is tried again at ``until``, or as soon as something brings a key (``wake_held``).
    """

    why: str
    until: datetime
    mails: tuple[OutgoingMail, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Nothing happens before ``until``.

    ``attempted_at`` is when an attempt began whose outcome is still unknown, else None: it replaces
    the delivery's own, so that a known "nothing was done" makes the next try neither search nor
    wait.
    """

    until: datetime
    why: str
    attempted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Nothing happens until a person looks."""

    why: str


@dataclass(frozen=True, slots=True)
class Retried:
    """The wait is over, or an operator asked for another try."""

    by: str = "clock"


Move = (
    Opened
    | Judged
    | Routed
    | Attempted
    | Filed
    | Commented
    | SetAside
    | Released
    | Answered
    | Withheld
    | Held
    | Finished
    | Deferred
    | Quarantined
    | Retried
)


class OutgoingState(StrEnum):
    """What became of a mail of ours."""

    QUEUED = "queued"
    SENT = "sent"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True, repr=False)
class Outgoing:
    """A row of the outbox.

    ``attempts`` counts submissions begun; ``last_status`` is what the relay said (codes only).
    ``delivery_id`` is None for what no mail but a person of the team brought about.  ``sent_at`` is
    when the relay took it, ``told_at`` when its issue was told that it will not leave, and
    ``telling_at`` when an attempt at that began whose outcome is not known.
    """

    id: int
    delivery_id: str | None
    mail: OutgoingMail
    state: OutgoingState
    attempts: int
    deferrals: int
    wait_until: datetime | None = None
    last_status: str | None = None
    queued_at: datetime | None = None
    sent_at: datetime | None = None
    telling_at: datetime | None = None
    told_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Outgoing({self.id}, {self.state})"
