"""The GitHub adapter on a bench: before the fake GitHub, with a window in its back."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Self

from tests.support.fake_github import FakeGitHub
from tests.support.trackers import HeldClock, Shown, changed_labels

from secbridge.model.case import IssueRef
from secbridge.model.issue import Actor, CommentDraft, IssueChange, IssueDraft
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey, Tracker
from secbridge.rules.drafting import markdown
from secbridge.trackers import registry
from secbridge.trackers.github import AdvisoryTracker, GitHubTracker
from secbridge.trackers.github_desk import BODY_LIMIT
from secbridge.trackers.registry import TeamSealer, TrackerContext


class GitHubBench:
    """The GitHub adapter before the fake GitHub; ``settings`` are those of its table."""

    questions = ("user", "users", "list-issues", "repository")
    commander = Actor("1", "alex")
    stranger = Actor("77", "outsider")

    def __init__(
        self,
        github: FakeGitHub,
        *,
        team: TeamSealer | None = None,
        project: str = "",
        secrets: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.github = github
        self.clock = HeldClock()
        self.project = project or github.project
        self.token = github.token
        self.read_token: Callable[[], Secret] = lambda: Secret(self.token)
        kept = secrets or {}
        nobody_asks: Any = None  # a GitHub needs neither the store nor the role key
        context = TrackerContext(
            "t",
            lambda name: Secret(kept[name]) if name in kept else self.read_token(),
            nobody_asks,
            nobody_asks,
            self.clock,
            assignees=("alex",),
            team=team,
        )
        plugin = registry.plugin("github")
        given = {"url": github.api, "timeout": 10, "settle": 60}
        if "app_id" not in settings:
            given["token_credential"] = "t"
        tracker = plugin.create(context, plugin.settings_model(**(given | settings)), self.project)
        assert isinstance(tracker, GitHubTracker | AdvisoryTracker)
        self.tracker: Tracker = tracker
        self.desk: Any = tracker.desk

    @property
    def fake(self) -> FakeGitHub:
        """Return the handle of the fake."""
        return self.github

    async def issues(self) -> Sequence[Shown]:
        """Return all issues that the fake has in this repository."""
        visibility = self.github.state_of_project()
        return [
            Shown(
                number=str(issue["number"]),
                title=issue["title"],
                text=issue["body"],
                confidential=visibility == "private",
                open=issue["state"] == "open",
                labels=tuple(label["name"] for label in issue["labels"]),
                assignees=tuple(person["login"] for person in issue["assignees"]),
                due=_due(issue),
                comments=tuple(note["body"] for note in self.github.notes(issue["number"])),
            )
            for issue in self.github.issues(self.project)
        ]

    def told(self, key: EffectKey, draft: IssueDraft) -> str:
        """Return the Markdown of a told issue without files."""
        return markdown.told_issue(draft, key.marker, limit=BODY_LIMIT)

    def told_comment(self, key: EffectKey, draft: CommentDraft) -> str:
        """Return the Markdown of a comment without files."""
        return markdown.told_comment(draft, key.marker, limit=BODY_LIMIT)

    async def files(self) -> Sequence[tuple[str, bytes]]:
        """Return the files of the repository, by their last name."""
        kept: Mapping[str, str] = self.github.state()["files"]
        return [(name.rpartition("/")[2], b64decode(text)) for name, text in kept.items()]

    async def write(self, ref: IssueRef, text: str) -> None:
        """Write a comment, as kim."""
        self.github.edit(int(ref.number), comment=text, by="kim")

    async def close(self, ref: IssueRef) -> None:
        """Close an issue by hand."""
        self.github.edit(int(ref.number), state="closed", state_reason="completed")

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change labels, people or state by hand."""
        (issue,) = [one for one in self.github.issues() if str(one["number"]) == ref.number]
        labels = changed_labels([label["name"] for label in issue["labels"]], change)
        given: dict[str, Any] = {"labels": labels}
        if change.assignees is not None:
            given["assignees"] = list(change.assignees)
        if change.open is not None:
            given["state"] = "open" if change.open else "closed"
            given["state_reason"] = "reopened" if change.open else "completed"
        self.github.edit(int(ref.number), **given)

    async def open_by_hand(self, *, secret: bool) -> IssueRef | None:
        """Open an issue, as alex; it is as secret as the repository."""
        number = len(self.github.issues(self.project)) + 1
        name = f"{self.project}#{number}"
        self.github.edit(name, open="By hand", by="alex", labels=["Security"])
        self.github.settings(visibility="private" if secret else "public")
        issue = self.github.issues(self.project)[-1]
        ref: IssueRef = self.desk.seen(issue, secret=secret).ref
        return ref

    async def alive(self) -> Sequence[str]:
        """Return what was alive in texts."""
        return [f"{act['kind']}: {act.get('what', '')}" for act in self.github.events()]

    def bodies(self) -> str:
        """Return everything that was ever sent to the fake."""
        return repr(self.github.requests())

    def keep_no_secret(self) -> None:
        """Let somebody open the repository in the moment after an issue was created."""
        self.github.fault("opens-to-public", count=99)

    def keep_secrets_again(self) -> None:
        """Let somebody make the repository private again."""
        self.github.settings(faults=[], visibility="private")

    def another_account(self) -> Self:
        """Return a bench whose token is alex's."""
        self.github.settings(bot="alex")
        return type(self)(self.github)


def _due(issue: Mapping[str, Any]) -> date | None:
    milestone = issue["milestone"]
    return date.fromisoformat(milestone["due_on"][:10]) if milestone else None
