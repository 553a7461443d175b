"""The Jira adapter on a bench: before the fake Jira, with a window in its back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Self

from tests.support.fake_jira import TEAM, USER, FakeJira
from tests.support.trackers import HeldClock, Shown, changed_labels

from secbridge.model.case import IssueRef
from secbridge.model.issue import Actor, CommentDraft, IssueChange, IssueDraft, Paragraph
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey, Tracker
from secbridge.trackers import jira_answers as answers
from secbridge.trackers import registry
from secbridge.trackers.jira import JiraTracker
from secbridge.trackers.jira_desk import TEXT_LIMIT
from secbridge.trackers.registry import TeamSealer, TrackerContext


class JiraBench:
    """The Jira adapter before the fake Jira; ``settings`` are those of its table."""

    questions = ("user", "users", "list-issues")
    commander = Actor("alex", "Alex", account="alex")
    stranger = Actor("outsider", "Out Sider")

    def __init__(
        self,
        jira: FakeJira,
        *,
        deployment: str = "cloud",
        team: TeamSealer | None = None,
        **settings: Any,
    ) -> None:
        self.jira = jira
        self.deployment = deployment
        jira.settings(deployment="Cloud" if deployment == "cloud" else "Server")
        self.clock = HeldClock()
        self.project = jira.project
        self.token = jira.token
        self.read_token: Callable[[], Secret] = lambda: Secret(self.token)
        nobody_asks: Any = None  # a Jira needs neither the store nor the role key
        context = TrackerContext(
            "t",
            lambda _: self.read_token(),
            nobody_asks,
            nobody_asks,
            self.clock,
            assignees=("alex",),
            team=team,
        )
        plugin = registry.plugin("jira")
        given = {
            "url": jira.url,
            "deployment": deployment,
            "user": USER if deployment == "cloud" else "",
            "token_credential": "t",
            "security_level": "Team",
            "timeout": 10,
            "settle": 60,
        }
        tracker = plugin.create(context, plugin.settings_model(**(given | settings)), self.project)
        assert isinstance(tracker, JiraTracker)
        self.tracker: Tracker = tracker
        self.desk = tracker.desk
        self.dialect = tracker.desk.dialect

    @property
    def fake(self) -> FakeJira:
        """Return the handle of the fake."""
        return self.jira

    async def issues(self) -> Sequence[Shown]:
        """Return all issues that the fake has."""
        return [self._shown(issue) for issue in self.jira.issues()]

    def _shown(self, issue: Any) -> Shown:
        fields = issue["fields"]
        person = fields["assignee"] or {}
        name = person.get("accountId") or person.get("name")
        comments = [self.dialect.received(one["body"]) for one in issue["comments"]]
        return Shown(
            number=issue["key"],
            title=fields["summary"],
            text=self.dialect.received(fields["description"]),
            confidential=fields["security"] is not None,
            open=fields["status"]["statusCategory"]["key"] != "done",
            labels=tuple(fields["labels"]),
            assignees=(name,) if name else (),
            due=date.fromisoformat(fields["duedate"]) if fields["duedate"] else None,
            comments=tuple(comments),
        )

    def told(self, key: EffectKey, draft: IssueDraft) -> str:
        """Return the text of a told issue without files but that of its whole text."""
        text = self.dialect.told_issue(draft, limit=TEXT_LIMIT)
        if "Cut here: " not in text:
            return text
        return self.dialect.told_issue(draft, limit=TEXT_LIMIT, notes=_whole(draft))

    def told_comment(self, key: EffectKey, draft: CommentDraft) -> str:
        """Return the text of a comment without files but that of its whole text."""
        text = self.dialect.told_comment(draft, limit=TEXT_LIMIT)
        if "Cut here: " not in text:
            return text
        told = replace(draft, blocks=(*draft.blocks, *_whole(draft)))
        return self.dialect.told_comment(told, limit=TEXT_LIMIT)

    async def files(self) -> Sequence[tuple[str, bytes]]:
        """Return the attachments of all issues."""
        files = [file for issue in self.jira.issues() for file in issue["files"]]
        return [(file["name"], file["content"].encode("latin-1")) for file in files]

    async def write(self, ref: IssueRef, text: str) -> None:
        """Write a comment, as kim."""
        paragraphs = [
            {"type": "paragraph", "content": [{"type": "text", "text": line}]}
            for line in text.split("\n")
        ]
        document = {"type": "doc", "version": 1, "content": paragraphs}
        self.jira.write(_number(ref), document if self.deployment == "cloud" else text, by="kim")

    async def close(self, ref: IssueRef) -> None:
        """Close an issue by hand."""
        self.jira.edit(_number(ref), status="Done")

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change labels, people or state by hand."""
        (issue,) = [one for one in self.jira.issues() if one["id"] == ref.id]
        given: dict[str, Any] = {"labels": changed_labels(issue["fields"]["labels"], change)}
        if change.assignees is not None:
            given["assignee"] = next(iter(change.assignees), None)
        if change.open is not None:
            given["status"] = "In Progress" if change.open else "Done"
        self.jira.edit(_number(ref), **given)

    async def open_by_hand(self, *, secret: bool) -> IssueRef | None:
        """Open an issue, as alex."""
        self.jira.edit(0, open={"labels": ["Security"], "security": TEAM if secret else None})
        return self.desk.ref_of(answers.facts(self.jira.issues()[-1]))

    async def alive(self) -> Sequence[str]:
        """Return what was alive in texts."""
        return [f"{act['kind']}: {act['what']}" for act in self.jira.events()]

    def bodies(self) -> str:
        """Return everything that was ever sent to the fake."""
        return repr(self.jira.requests())

    def keep_no_secret(self) -> None:
        """Let Jira drop the security level, in every create and in every update."""
        self.jira.fault("security-ignored", count=99)
        self.jira.fault("security-put-ignored", count=99)

    def keep_secrets_again(self) -> None:
        """Let Jira do as it is asked."""
        self.jira.settings(faults=[])

    def another_account(self) -> Self:
        """Return a bench whose token is alex's."""
        self.jira.settings(bot="alex")
        return type(self)(self.jira, deployment=self.deployment)


def _whole(draft: IssueDraft | CommentDraft) -> tuple[Paragraph, ...]:
    return (Paragraph(f"Files beside this issue: {draft.name}.txt."),)


def _number(ref: IssueRef) -> int:
    return int(ref.number.rpartition("-")[2])
