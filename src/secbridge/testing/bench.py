"""What does the contract suite hold in its hands?  A tracker, a clock, and a window in its back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol, Self

from structlog.testing import capture_logs

from secbridge.errors import Deferral, OutcomeUnknown
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import Actor, CommentDraft, IssueChange, IssueDraft
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey, Tracker
from secbridge.testing.drafts import CANARY
from secbridge.trackers.registry import TeamSealer, TrackerContext

PATIENCE = timedelta(minutes=10)
"""Longer than any unanswered request may still take effect."""


class HeldClock:
    """A clock that moves only when the test moves it."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)

    def now(self) -> datetime:
        """Return the time that the test set."""
        return self._now

    def advance(self, step: timedelta) -> None:
        """Let so much time pass at once."""
        self._now += step


def a_context(
    clock: HeldClock,
    *,
    name: str = "t",
    secrets: Mapping[str, str] | None = None,
    team: TeamSealer | None = None,
) -> TrackerContext:
    """Return what the daemon lends to a tracker, for one that stands outside.

    ``secrets`` by their stem, as in ``context.secret("token")``.  The store and the role key are
    the embedded tracker's alone, so they are not there.
    """
    kept = secrets or {}
    nobody_asks: Any = None
    return TrackerContext(
        name,
        lambda stem: Secret(kept[stem]),
        nobody_asks,
        nobody_asks,
        clock,
        assignees=("alex",),
        team=team,
    )


@dataclass(frozen=True)
class Shown:
    """An issue as a person sees it; ``number`` is what people call it by."""

    number: str
    title: str
    text: str
    confidential: bool
    open: bool
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    due: date | None
    comments: tuple[str, ...]


class Bench(Protocol):
    """A tracker with a window in its back.

    ``project`` is empty when a test begins, and can keep a secret.  It knows the people ``alex``
    and ``kim`` and the labels ``Security`` and ``triaged``, or takes any.  ``commander`` may
    command, ``stranger`` may not.
    """

    tracker: Tracker
    clock: HeldClock
    project: str
    commander: Actor
    stranger: Actor

    async def issues(self) -> Sequence[Shown]:
        """Return all issues that are there, oldest first, not by way of the adapter."""
        ...

    def told(self, key: EffectKey, draft: IssueDraft) -> str:
        """Return the text that a told issue without files should have."""
        ...

    def told_comment(self, key: EffectKey, draft: CommentDraft) -> str:
        """Return the text that a comment without files should have."""
        ...

    async def files(self) -> Sequence[tuple[str, bytes]]:
        """Return name and content of each file that stands beside an issue."""
        ...

    async def write(self, ref: IssueRef, text: str) -> None:
        """Comment on an issue, as a person of the team does by hand."""
        ...

    async def close(self, ref: IssueRef) -> None:
        """Close an issue, as a person of the team does by hand."""
        ...

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change labels, people or state of an issue, as a person of the team does by hand."""
        ...

    async def open_by_hand(self, *, secret: bool) -> IssueRef | None:
        """Open an issue with the label ``Security``, as a person of the team does by hand.

        Return None where only secbridge opens issues, or where all of them are secret.
        """
        ...

    async def alive(self) -> Sequence[str]:
        """Return what acts in the texts that the tracker was given, or acted on the way in.

        Mentions, references, commands, links, images, markup, and so on, found by a parser of the
        tracker's dialect that is not the adapter's own.
        """
        ...


class OpenableBench(Bench, Protocol):
    """A tracker in which an issue could be shown to others."""

    def bodies(self) -> str:
        """Return everything that the tracker was ever given."""
        ...

    def keep_no_secret(self) -> None:
        """Let the tracker show issues to others, whatever it is asked, until told otherwise."""
        ...

    def keep_secrets_again(self) -> None:
        """Let the tracker do as it is asked."""
        ...


class FakeHandle(Protocol):
    """The handle of a fake in another process, which fails when told to.

    Kinds of requests are ``create-issue``, ``update-issue``, ``read-issue``, ``list-issues``,
    ``create-note``, and what else the tracker has.
    """

    def fault(self, name: str, count: int = 1, *, on: str = "", skip: int = 0, **more: str) -> None:
        """Arm a fault for the next ``count`` requests of kind ``on``, after ``skip`` of them."""
        ...

    def requests(self, kind: str = "") -> Sequence[Mapping[str, Any]]:
        """Return the requests that came (``kind``, ``body``, …), all or those of one kind."""
        ...

    def elsewhere(self) -> Sequence[Mapping[str, Any]]:
        """Return what the other host, to which redirects lead, was given."""
        ...

    def release(self) -> int:
        """Let requests that hung as ``late`` take effect now, and return how many did."""
        ...


class RemoteBench(OpenableBench, Protocol):
    """A tracker behind HTTP: a fake that fails when told to.

    ``questions`` are the kinds of requests that come before the create of a second attempt.
    """

    token: str

    @property
    def fake(self) -> FakeHandle:
        """Return the handle of the fake."""
        ...

    @property
    def questions(self) -> Sequence[str]:
        """Return the kinds of what is asked before anything is created."""
        ...

    def another_account(self) -> Self:
        """Return a bench before the same fake with the token of somebody else."""
        ...


# ── Trying again, as the worker does ─────────────────────────────────────────────────────────────


async def persist(bench: Bench, marker: str, draft: IssueDraft, *, tries: int = 12) -> IssueRef:
    """File as the worker does: again after each deferral, when its wait is over."""
    attempted: datetime | None = None
    for _ in range(tries):
        try:
            return await bench.tracker.ensure_issue(EffectKey(marker, attempted), draft)
        except Deferral as error:
            attempted = _after(bench, error, attempted)
    raise AssertionError(f"not filed after {tries} tries")


async def persist_comment(
    bench: Bench, ref: IssueRef, marker: str, draft: CommentDraft, *, tries: int = 12
) -> CommentRef:
    """Comment as the worker does: again after each deferral, when its wait is over."""
    attempted: datetime | None = None
    for _ in range(tries):
        try:
            return await bench.tracker.ensure_comment(ref, EffectKey(marker, attempted), draft)
        except Deferral as error:
            attempted = _after(bench, error, attempted)
    raise AssertionError(f"not commented after {tries} tries")


def _after(bench: Bench, error: Deferral, attempted: datetime | None) -> datetime | None:
    if CANARY in str(error):
        raise AssertionError("a word of the report stands in an exception")
    sent = isinstance(error, OutcomeUnknown) and error.sent
    attempted = bench.clock.now() if sent else attempted
    bench.clock.advance(max(error.retry_after or timedelta(0), timedelta(seconds=30)))
    return attempted


@contextmanager
def log_lines() -> Iterator[list[Any]]:
    """Collect what is logged, and see that no line holds a word of the report."""
    with capture_logs() as lines:
        yield lines
    if CANARY in repr(lines):
        raise AssertionError("a word of the report stands in the log")


def alarms(lines: Sequence[Any]) -> list[str]:
    """Return the events that raised an alarm."""
    return [line["event"] for line in lines if line.get("alarm")]
