"""Where does the team of the story work?  In each tracker, with the hands of its people.

A ``Site`` is a tracker as people have it before them: they write, label, close, assign and open
issues there, and read what stands in them; none of it by way of the adapter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from tests.support.bench_gitlab import PEOPLE
from tests.support.fake_github import FakeGitHub
from tests.support.fake_gitlab import FakeGitLab
from tests.support.fake_jira import TEAM, USER, FakeJira
from tests.support.trackers import changed_labels

from secbridge.house import House
from secbridge.model.issue import IssueChange
from secbridge.rules.drafting import adf
from secbridge.trackers.local import open_issue, write_comment
from secbridge.trackers.registry import Sealer


@dataclass(frozen=True)
class SeenIssue:
    """An issue as a person sees it; ``comments`` with their authors, oldest first."""

    number: str
    title: str
    text: str
    secret: bool
    open: bool
    labels: Sequence[str]
    assignees: Sequence[str]
    comments: Sequence[tuple[str, str]]


class Site(Protocol):
    """A tracker under the hands of its people.

    ``kind`` names it; ``has_strangers``: there are people in it whose commands do not count, and
    people open issues there by hand.  ``house`` is the one that stands now: the embedded tracker is
    a room of it.
    """

    kind: str
    has_strangers: bool

    def tables(self, folder: Path) -> tuple[str, str]:
        """Return the tracker's table of a configuration, and what the alias says of it."""
        ...

    def hold_time(self, now: datetime) -> None:
        """Let it be this time in the tracker."""
        ...

    async def write(self, house: House, number: str, text: str, *, by: str) -> None:
        """Comment."""
        ...

    async def rewrite(self, number: str, begins: str, text: str) -> None:
        """Edit the last comment on an issue that begins so."""
        ...

    async def change(self, house: House, number: str, change: IssueChange) -> None:
        """Change labels, people or state."""
        ...

    async def open(self) -> str:
        """Open a confidential issue with the label of the alias, and return its number."""
        ...

    def page(self, number: str) -> str:
        """Return the address of an issue, as people copy it from their browser."""
        ...

    async def issues(self, house: House) -> Sequence[SeenIssue]:
        """Return all issues, oldest first."""
        ...

    def complaints(self) -> Sequence[str]:
        """Return what acted in a text, and what the tracker would not have known."""
        ...


class EmbeddedSite:
    """The tracker within secbridge, by its commands."""

    kind = "local"
    has_strangers = False

    def __init__(self, role_key: str) -> None:
        self._role_key = role_key

    def tables(self, folder: Path) -> tuple[str, str]:
        """Return nothing: it is there by itself."""
        return "", ""

    def hold_time(self, now: datetime) -> None:
        """Do nothing: it has the house's own clock."""

    async def write(self, house: House, number: str, text: str, *, by: str) -> None:
        """Comment, as ``secbridge issue comment`` does."""
        await write_comment(
            house.store, self._sealer(house), int(number), author=by, text=text, clock=house.clock
        )

    async def rewrite(self, number: str, begins: str, text: str) -> None:
        """Fail: no command edits a comment here."""
        raise AssertionError("no comment is edited here")

    async def change(self, house: House, number: str, change: IssueChange) -> None:
        """Change, as ``secbridge issue label`` and its neighbours do."""
        await house.store.change_issue(int(number), change, house.clock.now(), by="alex")

    async def open(self) -> str:
        """Fail: no command opens an issue here."""
        raise AssertionError("nobody opens an issue here")

    def page(self, number: str) -> str:
        """Return the address of an issue."""
        return "(no page)"

    async def issues(self, house: House) -> Sequence[SeenIssue]:
        """Return all issues, opened."""
        rows = reversed(await house.store.list_issues())
        return [await self._seen(house, row.number) for row in rows]

    async def _seen(self, house: House, number: int) -> SeenIssue:
        opened = await open_issue(house.store, self._sealer(house), number)
        assert opened is not None
        row = opened.issue
        return SeenIssue(
            str(number),
            row.title,
            opened.text,
            row.confidential,
            row.open,
            row.labels,
            row.assignees,
            [(one.comment.author, one.text) for one in opened.comments],
        )

    def _sealer(self, house: House) -> Sealer:
        return Sealer(house.openpgp, (self._role_key,))

    def complaints(self) -> Sequence[str]:
        """Return nothing: text is text."""
        return []


def _table(folder: Path, kind: str, url: str, token: str, *, more: str = "") -> str:
    """Return a tracker's table, with its token in a file."""
    file = folder / "token"
    file.write_text(token)
    file.chmod(0o600)
    lines = [
        "[trackers.main]", f'kind = "{kind}"', f'url = "{url}"', f'token_file = "{file}"',
        'timeout = "20s"', more,
    ]  # fmt: skip
    return "\n".join(lines)


class GitLabSite:
    """A GitLab."""

    kind = "gitlab"
    has_strangers = True

    def __init__(self, gitlab: FakeGitLab) -> None:
        self._gitlab = gitlab
        gitlab.reset()

    def tables(self, folder: Path) -> tuple[str, str]:
        """Return the tables; alex is a developer, kim is not."""
        gitlab = self._gitlab
        alias = f'tracker = "main"\nproject = "{gitlab.project}"'
        return _table(folder, "gitlab", gitlab.url, gitlab.token), alias

    def hold_time(self, now: datetime) -> None:
        """Let it be this time."""
        self._gitlab.hold_time(now)

    async def write(self, house: House, number: str, text: str, *, by: str) -> None:
        """Write an internal note."""
        self._gitlab.write(number, text, author=PEOPLE[by], internal=True)

    async def rewrite(self, number: str, begins: str, text: str) -> None:
        """Edit a note."""
        notes = self._gitlab.notes(number)
        last = [one for one in notes if one["body"].startswith(begins)][-1]
        self._gitlab.edit(number, edit_note={"id": last["id"], "body": text})

    async def change(self, house: House, number: str, change: IssueChange) -> None:
        """Change by hand."""
        (issue,) = [one for one in self._gitlab.issues() if str(one["iid"]) == number]
        given: dict[str, Any] = {"labels": changed_labels(issue["labels"], change)}
        if change.assignees is not None:
            given["assignee_ids"] = [PEOPLE[name] for name in change.assignees]
        if change.open is not None:
            given["state"] = "opened" if change.open else "closed"
        self._gitlab.edit(number, **given)

    async def open(self) -> str:
        """Open a confidential issue."""
        self._gitlab.open_by_hand(labels=["Security"], confidential=True)
        return str(self._gitlab.issues()[-1]["iid"])

    def page(self, number: str) -> str:
        """Return the address of an issue."""
        return f"{self._gitlab.url}/{self._gitlab.project}/-/issues/{number}"

    async def issues(self, house: House) -> Sequence[SeenIssue]:
        """Return all issues."""
        return [
            SeenIssue(
                str(issue["iid"]),
                issue["title"],
                issue["description"],
                issue["confidential"],
                issue["state"] == "opened",
                issue["labels"],
                [person["username"] for person in issue["assignees"]],
                [
                    (f"{note['author']['username']}{'' if note['internal'] else ' IN PUBLIC'}",
                     note["body"])
                    for note in self._gitlab.notes(issue["iid"])
                ],
            )
            for issue in self._gitlab.issues()
        ]  # fmt: skip

    def complaints(self) -> Sequence[str]:
        """Return what acted, and what GitLab would not have known."""
        acts = [f"{act['kind']}: {act['what']}" for act in self._gitlab.events()]
        return [*acts, *self._gitlab.violations()]


class GitHubSite:
    """A private repository."""

    kind = "github"
    has_strangers = True

    def __init__(self, github: FakeGitHub) -> None:
        self._github = github
        github.reset()

    def tables(self, folder: Path) -> tuple[str, str]:
        """Return the tables; alex may write, kim may not."""
        github = self._github
        alias = f'tracker = "main"\nproject = "{github.project}"'
        return _table(folder, "github", github.api, github.token), alias

    def hold_time(self, now: datetime) -> None:
        """Let it be this time."""
        self._github.hold_time(now)

    async def write(self, house: House, number: str, text: str, *, by: str) -> None:
        """Comment."""
        self._github.edit(int(number), comment=text, by=by)

    async def rewrite(self, number: str, begins: str, text: str) -> None:
        """Edit a comment."""
        notes = self._github.notes(int(number))
        last = [one for one in notes if one["body"].startswith(begins)][-1]
        self._github.edit(int(number), edit_comment={"id": last["id"], "body": text})

    async def change(self, house: House, number: str, change: IssueChange) -> None:
        """Change by hand."""
        (issue,) = [one for one in self._github.issues() if str(one["number"]) == number]
        labels = changed_labels([label["name"] for label in issue["labels"]], change)
        given: dict[str, Any] = {"labels": labels}
        if change.assignees is not None:
            given["assignees"] = list(change.assignees)
        if change.open is not None:
            given["state"] = "open" if change.open else "closed"
            given["state_reason"] = "reopened" if change.open else "completed"
        self._github.edit(int(number), **given)

    async def open(self) -> str:
        """Open an issue."""
        number = str(len(self._github.issues()) + 1)
        self._github.edit(
            f"{self._github.project}#{number}", open="By hand", by="alex", labels=["Security"]
        )
        return number

    def page(self, number: str) -> str:
        """Return the address of an issue."""
        return f"{self._github.url}/{self._github.project}/issues/{number}"

    async def issues(self, house: House) -> Sequence[SeenIssue]:
        """Return all issues; they are as secret as the repository."""
        secret = self._github.state_of_project() == "private"
        return [
            SeenIssue(
                str(issue["number"]),
                issue["title"],
                issue["body"],
                secret,
                issue["state"] == "open",
                [label["name"] for label in issue["labels"]],
                [person["login"] for person in issue["assignees"]],
                [
                    (note["user"]["login"], note["body"])
                    for note in self._github.notes(issue["number"])
                ],
            )
            for issue in self._github.issues()
        ]

    def complaints(self) -> Sequence[str]:
        """Return what was alive, and what GitHub does not specify."""
        acts = [f"{act['kind']}: {act.get('what', '')}" for act in self._github.events()]
        return [*acts, *self._github.violations()]


class JiraSite:
    """A project with a security level, in the cloud."""

    kind = "jira"
    has_strangers = True

    def __init__(self, jira: FakeJira) -> None:
        self._jira = jira
        jira.reset()

    def tables(self, folder: Path) -> tuple[str, str]:
        """Return the tables; alex is an administrator of the project, kim is not."""
        jira = self._jira
        more = f'user = "{USER}"\nsecurity_level = "Team"'
        alias = f'tracker = "main"\nproject = "{jira.project}"'
        return _table(folder, "jira", jira.url, jira.token, more=more), alias

    def hold_time(self, now: datetime) -> None:
        """Let it be this time."""
        self._jira.hold_time(now)

    async def write(self, house: House, number: str, text: str, *, by: str) -> None:
        """Comment."""
        self._jira.write(_plain(number), _document(text), by=by)

    async def rewrite(self, number: str, begins: str, text: str) -> None:
        """Edit a comment."""
        (issue,) = [one for one in self._jira.issues() if one["key"] == number]
        last = [one for one in issue["comments"] if _words(one["body"]).startswith(begins)][-1]
        changed = {"id": last["id"], "body": _document(text)}
        self._jira.edit(_plain(number), edit_comment=changed)

    async def change(self, house: House, number: str, change: IssueChange) -> None:
        """Change by hand."""
        (issue,) = [one for one in self._jira.issues() if one["key"] == number]
        given: dict[str, Any] = {"labels": changed_labels(issue["fields"]["labels"], change)}
        if change.assignees is not None:
            given["assignee"] = next(iter(change.assignees), None)
        if change.open is not None:
            given["status"] = "In Progress" if change.open else "Done"
        self._jira.edit(_plain(number), **given)

    async def open(self) -> str:
        """Open an issue with the level and the label."""
        self._jira.edit(0, open={"labels": ["Security"], "security": TEAM})
        return str(self._jira.issues()[-1]["key"])

    def page(self, number: str) -> str:
        """Return the address of an issue."""
        return f"{self._jira.url}/browse/{number}"

    async def issues(self, house: House) -> Sequence[SeenIssue]:
        """Return all issues, their documents as text."""
        return [self._seen(issue) for issue in self._jira.issues()]

    def _seen(self, issue: Any) -> SeenIssue:
        fields = issue["fields"]
        return SeenIssue(
            issue["key"],
            fields["summary"],
            _words(fields["description"]),
            fields["security"] is not None,
            fields["status"]["statusCategory"]["key"] != "done",
            fields["labels"],
            [fields["assignee"]["accountId"]] if fields["assignee"] else [],
            [(one["author"]["accountId"], _words(one["body"])) for one in issue["comments"]],
        )

    def complaints(self) -> Sequence[str]:
        """Return what was alive, and what Atlassian does not specify."""
        acts = [f"{act['kind']}: {act['what']}" for act in self._jira.events()]
        return [*acts, *self._jira.violations()]


def _plain(number: str) -> int:
    return int(number.rpartition("-")[2])


def _document(text: str) -> dict[str, Any]:
    """Return a text as a person types it: a paragraph for each line."""
    paragraphs = [
        {"type": "paragraph", "content": [{"type": "text", "text": line}] if line else []}
        for line in text.split("\n")
    ]
    return {"type": "doc", "version": 1, "content": paragraphs}


def _words(value: Any) -> str:
    """Return a document as text; what that leaves out would not be seen, so it is compared too."""
    if value is None or isinstance(value, str):
        return value or ""
    said = adf.words(value)
    return said if said.strip() else json.dumps(value)
