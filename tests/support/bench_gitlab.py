"""The GitLab adapter on a bench: before the fake GitLab, with a window in its back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Self

from tests.support.fake_gitlab import FakeGitLab
from tests.support.trackers import HeldClock, Shown, changed_labels

from secbridge.model.case import IssueRef
from secbridge.model.issue import Actor, CommentDraft, IssueChange, IssueDraft
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey, Tracker
from secbridge.rules.drafting import markdown
from secbridge.trackers import registry
from secbridge.trackers.gitlab import GitLabTracker
from secbridge.trackers.registry import TeamSealer, TrackerContext

PEOPLE = {"alex": 1, "kim": 2, "outsider": 3}
"""The numbers of the fake's people."""


class GitLabBench:
    """The GitLab adapter before the fake GitLab; ``settings`` are those of its table."""

    questions = ("user", "users", "list-issues")
    commander = Actor("1", "alex")
    stranger = Actor("3", "outsider")

    def __init__(
        self, gitlab: FakeGitLab, *, team: TeamSealer | None = None, **settings: Any
    ) -> None:
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
            team=team,
        )
        plugin = registry.plugin("gitlab")
        given = {"url": gitlab.url, "token_credential": "t", "timeout": 10, "settle": 60}
        tracker = plugin.create(context, plugin.settings_model(**(given | settings)), self.project)
        assert isinstance(tracker, GitLabTracker)
        self.tracker: Tracker = tracker
        self.desk = tracker.desk

    @property
    def fake(self) -> FakeGitLab:
        """Return the handle of the fake."""
        return self.gitlab

    async def issues(self) -> Sequence[Shown]:
        """Return all issues that the fake has."""
        return [
            Shown(
                number=str(issue["iid"]),
                title=issue["title"],
                text=issue["description"],
                confidential=issue["confidential"],
                open=issue["state"] == "opened",
                labels=tuple(issue["labels"]),
                assignees=tuple(person["username"] for person in issue["assignees"]),
                due=date.fromisoformat(issue["due_date"]) if issue["due_date"] else None,
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

    async def files(self) -> Sequence[tuple[str, bytes]]:
        """Return the uploads of the project."""
        return [(file["name"], file["content"].encode("latin-1")) for file in self.gitlab.uploads()]

    async def write(self, ref: IssueRef, text: str) -> None:
        """Write an internal note, as kim."""
        self.gitlab.write(ref.number, text, author=2, internal=True)

    async def close(self, ref: IssueRef) -> None:
        """Close an issue by hand."""
        self.gitlab.edit(ref.number, state="closed")

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change labels, people or state by hand."""
        (issue,) = [one for one in self.gitlab.issues() if str(one["iid"]) == ref.number]
        labels = changed_labels(issue["labels"], change)
        given: dict[str, Any] = {"labels": labels}
        if change.assignees is not None:
            given["assignee_ids"] = [PEOPLE[name] for name in change.assignees]
        if change.open is not None:
            given["state"] = "opened" if change.open else "closed"
        self.gitlab.edit(ref.number, **given)

    async def open_by_hand(self, *, secret: bool) -> IssueRef | None:
        """Open an issue, as alex."""
        self.gitlab.open_by_hand(labels=["Security"], confidential=secret)
        return self.desk.places.ref(self.gitlab.issues()[-1])

    async def alive(self) -> Sequence[str]:
        """Return what acted, and what was alive in texts."""
        return [f"{act['kind']}: {act['what']}" for act in self.gitlab.events()]

    def bodies(self) -> str:
        """Return everything that was ever sent to the fake."""
        return repr(self.gitlab.requests())

    def keep_no_secret(self) -> None:
        """Let GitLab ignore ``confidential``, in every create and in every update."""
        self.gitlab.fault("confidential-ignored", count=99)
        self.gitlab.fault("confidential-put-ignored", count=99)

    def keep_secrets_again(self) -> None:
        """Let GitLab do as it is asked."""
        self.gitlab.settings(faults=[])

    def another_account(self) -> Self:
        """Return a bench whose token is alex's."""
        self.gitlab.settings(bot=1)
        return type(self)(self.gitlab)
