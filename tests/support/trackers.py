"""The embedded tracker as the contract suite drives it, and what the suite has for the others."""

from __future__ import annotations

from collections.abc import Sequence

from secbridge.model.case import IssueRef
from secbridge.model.issue import Actor, CommentDraft, IssueChange, IssueDraft
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey, LocalIssues, OpenPGP, Tracker
from secbridge.rules.drafting import plain
from secbridge.testing.bench import (
    PATIENCE,
    Bench,
    HeldClock,
    RemoteBench,
    Shown,
    alarms,
    log_lines,
    persist,
    persist_comment,
)
from secbridge.testing.drafts import (
    CANARY,
    a_report,
    case_in,
    comment_draft,
    new_key,
    report_draft,
)
from secbridge.trackers import registry
from secbridge.trackers.local import LocalTracker, open_attachment, open_issue, write_comment
from secbridge.trackers.registry import Sealer, TrackerContext

__all__ = [
    "CANARY",
    "PATIENCE",
    "Bench",
    "HeldClock",
    "LocalBench",
    "RemoteBench",
    "Shown",
    "a_report",
    "alarms",
    "answer_within",
    "case_in",
    "changed_labels",
    "comment_draft",
    "log_lines",
    "new_key",
    "persist",
    "persist_comment",
    "report_draft",
]


def answer_within(fault: str = "") -> float:
    """Return the seconds for which an adapter waits for an answer, when this fault is armed.

    Few where the tracker is to hang, which a test sits out; else many: the machine may be busy.
    """
    return 1.0 if fault == "late" or fault.startswith("slow") else 10.0


class LocalBench:
    """The embedded tracker over a real store and a real key ring."""

    commander = Actor("alex", "alex")
    stranger = Actor("secbridge", "secbridge", is_us=True)

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
            number=str(number),
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

    async def files(self) -> Sequence[tuple[str, bytes]]:
        """Return the files of all issues, opened."""
        rows = [
            file
            for issue in await self.rows.list_issues()
            for file in await self.rows.attachments(issue.number)
        ]
        return [(row.name, (await open_attachment(self.sealer, row)).content) for row in rows]

    async def write(self, ref: IssueRef, text: str) -> None:
        """Comment, as ``secbridge issue comment`` does."""
        await write_comment(
            self.rows, self.sealer, int(ref.number), author="kim", text=text, clock=self.clock
        )

    async def close(self, ref: IssueRef) -> None:
        """Close, as ``secbridge issue close`` does."""
        change = IssueChange(open=False)
        await self.rows.change_issue(int(ref.number), change, self.clock.now(), by="kim")

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change, as ``secbridge issue label`` and its neighbours do."""
        await self.rows.change_issue(int(ref.number), change, self.clock.now(), by="kim")

    async def open_by_hand(self, *, secret: bool) -> IssueRef | None:
        """Return None: no command opens an issue here."""
        return None

    async def alive(self) -> Sequence[str]:
        """Return lines of a stranger's that could be taken for ours: nothing else acts in it."""
        return [
            line
            for issue in await self.issues()
            for text in (issue.text, *issue.comments)
            for line in text.split("\n")
            if any(control in line for control in "\x1b\r\x00\x07\u202e")
        ]


def changed_labels(labels: Sequence[str], change: IssueChange) -> list[str]:
    """Return an issue's labels after a change."""
    kept = [label for label in labels if label not in change.remove_labels]
    return list(dict.fromkeys([*kept, *change.add_labels]))


def _no_secret(name: str) -> Secret:
    raise AssertionError(f"nobody asked for {name}")
