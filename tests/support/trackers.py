"""Tracker adapters as the contract suite drives them: each on a bench with the same few handles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

from structlog.testing import capture_logs
from tests.support.fake_gitlab import FakeGitLab
from tests.support.messages import a_case, a_delivery, a_message

from secbridge.errors import Deferral, OutcomeUnknown
from secbridge.model.case import Case, CommentRef, IssueRef, Route
from secbridge.model.issue import CommentDraft, IssueDraft
from secbridge.model.message import Attachment, Message
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey, LocalIssues, OpenPGP, Tracker
from secbridge.rules.drafting import draft_comment, draft_report, markdown, plain
from secbridge.trackers import registry
from secbridge.trackers.gitlab import GitLabTracker
from secbridge.trackers.local import LocalTracker, open_issue
from secbridge.trackers.registry import Sealer, TrackerContext

CANARY = "xyzzy-heap-overflow"
"""A word of the report, which may be found only where the report may be."""

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


@dataclass(frozen=True)
class Shown:
    """An issue as a person sees it."""

    title: str
    text: str
    confidential: bool
    open: bool
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    due: date | None
    comments: tuple[str, ...]


class Bench(Protocol):
    """A tracker with a window in its back."""

    tracker: Tracker
    clock: HeldClock
    project: str

    async def issues(self) -> Sequence[Shown]:
        """Return all issues that are there."""
        ...

    def told(self, key: EffectKey, draft: IssueDraft) -> str:
        """Return the text that a told issue should have."""
        ...

    def told_comment(self, key: EffectKey, draft: CommentDraft) -> str:
        """Return the text that a comment should have."""
        ...


# ── Drafts ───────────────────────────────────────────────────────────────────────────────────────


def new_key(attempted_at: datetime | None = None) -> EffectKey:
    """Return the key of a new effect."""
    return EffectKey(str(uuid4()), attempted_at)


def a_report(**given: Any) -> Message:
    """Return a mail with the canary in everything that a mail can say."""
    file = Attachment(f"{CANARY}.txt", "text/plain", CANARY.encode(), False, False)
    plain_mail = {
        "subject": f"Crash: {CANARY}",
        "outer_subject": f"Crash: {CANARY}",
        "text": f"Hello,\n/close\n@alex look: {CANARY}\n",
        "attachments": (file,),
    }
    return a_message(**(plain_mail | given))


def case_in(bench: Bench, **given: Any) -> Case:
    """Return a case whose route leads to the bench."""
    where = Route(
        "security@example.org", "t", bench.project, ("Security",), ("alex",), date(2026, 11, 27)
    )
    return a_case(route=where, **given)


def report_draft(bench: Bench, message: Message | None = None, **given: Any) -> IssueDraft:
    """Return the draft of a report with the canary; ``given`` replaces its fields."""
    draft = draft_report(case_in(bench), a_delivery(), message or a_report())
    return replace(draft, **given)


def comment_draft(bench: Bench, message: Message | None = None, **given: Any) -> CommentDraft:
    """Return the draft of a follow-up with the canary."""
    draft = draft_comment(case_in(bench), a_delivery(id="D2"), message or a_report())
    return replace(draft, **given)


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
    assert CANARY not in str(error)
    sent = isinstance(error, OutcomeUnknown) and error.sent
    attempted = bench.clock.now() if sent else attempted
    bench.clock.advance(max(error.retry_after or timedelta(0), timedelta(seconds=30)))
    return attempted


@contextmanager
def log_lines() -> Iterator[list[Any]]:
    """Collect what is logged, and see that no line holds a word of the report."""
    with capture_logs() as lines:
        yield lines
    assert CANARY not in repr(lines)


def alarms(lines: Sequence[Any]) -> list[str]:
    """Return the events that raised an alarm."""
    return [line["event"] for line in lines if line.get("alarm")]


# ── GitLab ───────────────────────────────────────────────────────────────────────────────────────


class GitLabBench:
    """The GitLab adapter before the fake GitLab."""

    def __init__(self, gitlab: FakeGitLab, **settings: Any) -> None:
        self.gitlab = gitlab
        self.clock = HeldClock()
        self.project = gitlab.project
        self.token = gitlab.token
        self.read_token: Callable[[], Secret] = lambda: Secret(self.token)
        nobody_asks: Any = None  # a GitLab needs neither the store nor the role key
        context = TrackerContext(
            "t",
            lambda _: self.read_token(),
            nobody_asks,
            nobody_asks,
            self.clock,
            assignees=("alex",),
        )
        plugin = registry.plugin("gitlab")
        given = {"url": gitlab.url, "token_credential": "t", "timeout": 0.5, "settle": 60}
        tracker = plugin.create(context, plugin.settings_model(**(given | settings)), self.project)
        assert isinstance(tracker, GitLabTracker)
        self.tracker: Tracker = tracker
        self.desk = tracker.desk

    async def issues(self) -> Sequence[Shown]:
        """Return all issues that the fake has."""
        return [
            Shown(
                title=issue["title"],
                text=issue["description"],
                confidential=issue["confidential"],
                open=issue["state"] == "opened",
                labels=tuple(issue["labels"]),
                assignees=tuple(person["username"] for person in issue["assignees"]),
                due=date.fromisoformat(issue["due_date"]),
                comments=tuple(note["body"] for note in self.gitlab.notes(issue["iid"])),
            )
            for issue in self.gitlab.issues()
        ]

    def told(self, key: EffectKey, draft: IssueDraft) -> str:
        """Return the Markdown of a told issue without files."""
        return markdown.told_issue(draft, key.marker, limit=1 << 20)

    def told_comment(self, key: EffectKey, draft: CommentDraft) -> str:
        """Return the Markdown of a comment without files."""
        return markdown.told_comment(draft, key.marker, limit=1_000_000)

    def bodies(self) -> str:
        """Return everything that was ever sent to the fake."""
        return repr(self.gitlab.requests())


# ── The embedded tracker ─────────────────────────────────────────────────────────────────────────


class LocalBench:
    """The embedded tracker over a real store and a real key ring."""

    def __init__(self, issues: LocalIssues, openpgp: OpenPGP, role_key: str) -> None:
        self.rows = issues
        self.clock = HeldClock()
        self.project = "security"
        self.sealer = Sealer(openpgp, (role_key,))
        context = TrackerContext(
            "local", _no_secret, issues, self.sealer, self.clock, assignees=("alex",)
        )
        plugin = registry.plugin("local")
        tracker = plugin.create(context, plugin.settings_model(), self.project)
        assert isinstance(tracker, LocalTracker)
        self.tracker: Tracker = tracker
        self.desk = tracker.desk

    async def issues(self) -> Sequence[Shown]:
        """Return all issues, opened."""
        rows = reversed(await self.rows.list_issues())
        return [await self._shown(row.number) for row in rows]

    async def _shown(self, number: int) -> Shown:
        opened = await open_issue(self.rows, self.sealer, number)
        assert opened is not None
        row = opened.issue
        return Shown(
            title=row.title,
            text=opened.text,
            confidential=row.confidential,
            open=row.open,
            labels=row.labels,
            assignees=row.assignees,
            due=row.due,
            comments=tuple(comment.text for comment in opened.comments),
        )

    def told(self, key: EffectKey, draft: IssueDraft) -> str:
        """Return the plain text of an issue."""
        return plain.issue_text(draft)

    def told_comment(self, key: EffectKey, draft: CommentDraft) -> str:
        """Return the plain text of a comment."""
        return plain.comment_text(draft)


def _no_secret(name: str) -> Secret:
    raise AssertionError(f"nobody asked for {name}")
