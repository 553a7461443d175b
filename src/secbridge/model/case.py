"""What is a case, and what do we decide about a mail before there is one?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID, uuid5

from secbridge.model.message import CertificateSource


class MailClass(StrEnum):
    """The lane of a mail; ``report`` and ``other`` are filed alike, because unsure means issue."""

    REPORT = "report"
    FOLLOW_UP = "follow-up"
    BOUNCE = "bounce"
    AUTO_REPLY = "auto-reply"
    OWN = "own"
    SPAM = "spam"
    UNDECRYPTABLE = "undecryptable"
    OTHER = "other"


class CaseStatus(StrEnum):
    """Where a case stands, as the team said last; the tracker's own state is another thing."""

    NEW = "new"
    ACCEPTED = "accepted"
    NEEDS_INFO = "needs-info"
    REJECTED = "rejected"
    FIXED = "fixed"
    DISCLOSED = "disclosed"
    DUPLICATE = "duplicate"
    SPAM = "spam"
    NORMAL_BUG = "normal-bug"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class of a mail, the ids of the rules that spoke, and whether a machine may answer.

    ``reply_refused_because`` is None exactly when ``may_reply`` is True.
    """

    mail_class: MailClass
    reasons: tuple[str, ...]
    may_reply: bool
    reply_refused_because: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where a case lives and who owns it; recorded, so a changed config moves nothing half way."""

    alias: str
    tracker: str
    project: str
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    due: date


@dataclass(frozen=True, slots=True)
class IssueRef:
    """An issue in a tracker: stable id there, the number that people say, and its address."""

    tracker: str
    project: str
    id: str
    number: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class CommentRef:
    """A comment on an issue."""

    issue: IssueRef
    id: str


@dataclass(frozen=True, slots=True)
class KeyBinding:
    """Which certificate answers a reporter, where it came from and when (trust on first use).

    ``accepted_by`` is who of the team put it in the place of another one, or None.
    """

    address: str
    fingerprint: str
    source: CertificateSource
    bound_at: datetime
    accepted_by: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Case:
    """One report and everything that follows from it.

    ``id`` is what people say (``SB-2026-0001``); ``token`` is unguessable and stands in the
    case's address ``alias+sb-TOKEN@``; ``marker`` is a random UUID that finds the issue again.
    ``must_encrypt`` is a rule of the thread: once True it stays True.  ``attempted_at`` is told by
    ``Cases.open_case`` alone: since when another delivery of the same mail may be filing it.
    ``language`` is that of the reporter (a lower-case tag of RFC 5646), or "".  ``on_hold``: no
    mail of the case leaves until a person releases it.  ``handler`` is the name of who took the
    case, ``contacted_by`` that of the first person who answered the reporter; "" for nobody.
    ``adopted``: it was born in the tracker, and no mail opened it.
    """

    id: str
    token: str
    marker: str
    route: Route
    reporter: str | None
    must_encrypt: bool
    opened_at: datetime
    issue: IssueRef | None = None
    key: KeyBinding | None = None
    linked: tuple[str, ...] = ()
    attempted_at: datetime | None = None
    language: str = ""
    status: CaseStatus = CaseStatus.NEW
    on_hold: bool = False
    handler: str = ""
    contacted_at: datetime | None = None
    contacted_by: str = ""
    adopted: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """The tracker and the project, as configured, through which its issue is reached.

        A tracker follows an issue that was moved within it, so the project is the route's; an issue
        in another tracker than the route's is where that one says.
        """
        if self.issue is None or self.issue.tracker == self.route.tracker:
            return self.route.tracker, self.route.project
        return self.issue.tracker, self.issue.project

    def marker_of(self, effect: str) -> str:
        """Return the marker of a comment, derived: the same effect has the same name for ever."""
        return str(uuid5(UUID(self.marker), effect))

    def __repr__(self) -> str:
        return f"Case({self.id})"
