"""Which verbs does a GitLab have?  The desk that ``telling`` works at, one request or two each.

Reconciliation lists by author and time only, and neither by label nor by secrecy: an issue that did
not become confidential must be found, too.  An issue that people moved is worked on where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta

from secbridge import maillog
from secbridge.errors import PermanentFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import (
    CommentDraft,
    IssueChange,
    IssueDraft,
    IssueState,
    Note,
    Paragraph,
)
from secbridge.ports import Clock, EffectKey
from secbridge.rules.drafting import markdown
from secbridge.trackers import gitlab_answers as answers
from secbridge.trackers.door import Json
from secbridge.trackers.files import whole_text
from secbridge.trackers.gitlab_door import GitLabDoor
from secbridge.trackers.gitlab_files import Files
from secbridge.trackers.gitlab_people import People
from secbridge.trackers.gitlab_places import Places
from secbridge.trackers.telling import Seen, SeenComment

DESCRIPTION_LIMIT = 1_048_576
"""Octets of a description; GitLab counts characters, so this is never too much."""

NOTE_LIMIT = 1_000_000
"""Octets of a note."""

LOOKBACKS = (timedelta(hours=1), timedelta(days=90))
"""How long before an attempt an issue with its marker may have been made: usual, and at most."""


PLAIN_TYPE = "issue"
"""The type of an issue when nobody asks for another."""

_SET_SEVERITY = """
mutation($path: ID!, $iid: String!, $severity: IssuableSeverity!) {
  issueSetSeverity(input: {projectPath: $path, iid: $iid, severity: $severity}) {
    errors
    issue { severity }
  }
}
"""


@dataclass(frozen=True, slots=True, repr=False)
class SeenIssue(Seen[str]):
    """An issue with what only GitLab knows.  ``path`` is the full path of its project."""

    due: date | None
    type: str
    severity: str
    path: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings ask of an issue beyond its draft; ``severity`` is for incidents alone."""

    type: str = PLAIN_TYPE
    severity: str = ""


class GitLabDesk:
    """The verbs of GitLab (see ``telling.Desk``); a body is the Markdown of a description.

    ``settle`` is how long after its timeout an unanswered request may still take effect.
    """

    def __init__(
        self,
        door: GitLabDoor,
        places: Places,
        people: People,
        files: Files,
        *,
        clock: Clock,
        settle: timedelta,
        wishes: Wishes,
    ) -> None:
        self.name = places.name
        self.project = places.project
        self.door = door
        self.places = places
        self.people = people
        self.files = files
        self.patience = door.longest + settle
        self._clock = clock
        self._wishes = wishes

    # ── Issues ────────────────────────────────────────────────────────────────────────────────────

    async def find_issues(self, key: EffectKey) -> Sequence[Seen[str]]:
        """Return our own issues with this marker; one that somebody else pasted is not ours."""
        line, me = markdown.issue_marker(key.marker), await self.people.myself()
        began = key.attempted_at or self._clock.now()
        for lookback in LOOKBACKS:
            items = await self.door.pages(
                "find issue",
                f"{self.places.root}/issues",
                author_id=me.id,
                created_after=(began - lookback).astimezone(UTC).isoformat(),
                scope="all",
                state="all",
                order_by="created_at",
                sort="asc",
            )
            ours = [item for item in items if answers.author_id(item) == me.id]
            found = [
                item for item in ours if markdown.says(answers.text(item, "description"), line)
            ]
            if found:
                return tuple(self.seen(item) for item in found)
        return ()

    async def create_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Create confidential, with people and date, but without a word of the report."""
        body: dict[str, Json] = {
            "title": draft.title,
            "description": markdown.untold_issue(draft, key.marker),
            "confidential": True,
            "labels": self._labels(draft.labels),
            "due_date": draft.due.isoformat(),
        }
        if self._wishes.type != PLAIN_TYPE:
            body["issue_type"] = self._wishes.type
        if people := await self.people.assignable(draft.assignees):
            body["assignee_ids"] = [account.id for account in people]
        answer = await self.door.post("create issue", f"{self.places.root}/issues", body)
        if not answers.is_number(answer.get("iid")) or not answers.is_number(answer.get("id")):
            raise answers.without_id()
        return self.places.ref(answer)

    async def read_issue(self, ref: IssueRef) -> SeenIssue:
        """Return the issue as it is now, followed to where it was moved."""
        return self.seen(await self.places.read(ref))

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Ask once more for secrecy and labels."""
        body = {"confidential": True, "add_labels": self._labels(draft.labels)}
        await self.door.put("secure issue", self.places.path(ref), body)

    async def attach(self, seen: Seen[str], draft: IssueDraft | CommentDraft) -> Sequence[Note]:
        """Upload the files, and the whole text where it does not fit, as the policy allows."""
        limit = DESCRIPTION_LIMIT if isinstance(draft, IssueDraft) else NOTE_LIMIT
        whole = None if markdown.fits(draft, limit=limit) else whole_text(draft)
        return await self.files.attach(seen.ref.project, draft, whole=whole)

    async def compose(
        self, key: EffectKey, draft: IssueDraft, seen: Seen[str], notes: Sequence[Note]
    ) -> str:
        """Return the whole description, with what a reader must know of people and files."""
        severity = await self._grade(seen)
        told = [*self._unassigned(draft, seen), *self._unlike(draft, seen, severity), *notes]
        return markdown.told_issue(draft, key.marker, limit=DESCRIPTION_LIMIT, notes=told)

    async def tell(self, ref: IssueRef, body: str, draft: IssueDraft) -> None:
        """Give the issue its whole description."""
        await self.door.put("tell issue", self.places.path(ref), {"description": body})

    async def withdraw(self, ref: IssueRef, key: EffectKey, draft: IssueDraft) -> None:
        """Put the description back to header and marker."""
        body = {"description": markdown.untold_issue(draft, key.marker)}
        await self.door.put("withdraw report", self.places.path(ref), body)

    async def set_open(self, ref: IssueRef, *, is_open: bool) -> None:
        """Close or reopen."""
        event = "reopen" if is_open else "close"
        await self.door.put(f"{event} issue", self.places.path(ref), {"state_event": event})

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change what is named, in one request, where the issue is by now."""
        body: dict[str, Json] = {}
        if change.add_labels:
            body["add_labels"] = self._labels(change.add_labels)
        if change.remove_labels:
            body["remove_labels"] = self._labels(change.remove_labels)
        if change.assignees is not None:
            people = await self.people.assignable(change.assignees)
            body["assignee_ids"] = [person.id for person in people]
        if change.due is not None:
            body["due_date"] = change.due.isoformat()
        if change.open is not None:
            body["state_event"] = "reopen" if change.open else "close"
        if body:
            await self.places.read(ref)  # what a move left behind is not to be opened again
            await self.door.put("change issue", self.places.path(ref), body)

    async def link(self, ref: IssueRef, other: IssueRef) -> bool:
        """Relate two issues, once; a GitLab that does not let us is a False."""
        there = self.places.ref(await self.places.read(other))
        await self.places.read(ref)
        path = f"{self.places.path(ref)}/links"
        try:
            linked = await self.door.pages("read links", path)
            if not any(str(item.get("id")) == there.id for item in linked):
                body = {"target_project_id": there.project, "target_issue_iid": there.number}
                await self.door.post("link issues", path, body)
        except PermanentFault as error:
            match error.code:
                case "tracker-conflict":
                    return True  # somebody was faster: it is there
                case "tracker-forbidden" | "tracker-not-found" | "tracker-refused":
                    return False
                case _:
                    raise
        return True

    # ── Notes ─────────────────────────────────────────────────────────────────────────────────────

    async def find_comments(self, ref: IssueRef, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our own notes with this marker."""
        line, me = markdown.comment_marker(key.marker), await self.people.myself()
        await self.places.read(ref)  # a moved issue took its notes along
        items = await self.door.pages(
            "find note", f"{self.places.path(ref)}/notes", order_by="created_at", sort="asc"
        )
        ours = [item for item in items if answers.author_id(item) == me.id]
        found = [item for item in ours if markdown.says(answers.text(item, "body"), line)]
        return tuple(self._seen_comment(self.places.present(ref), item) for item in found)

    async def compose_comment(
        self, key: EffectKey, draft: CommentDraft, notes: Sequence[Note]
    ) -> str:
        """Return the whole note."""
        whole = replace(draft, blocks=(*draft.blocks, *notes), attachments=())
        return markdown.told_comment(whole, key.marker, limit=NOTE_LIMIT)

    async def create_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft, body: str | None
    ) -> CommentRef:
        """Create a note; an answer without an id says that GitLab took the text for commands."""
        text = body if body is not None else markdown.untold_comment(key.marker)
        answer = await self.door.post(
            "create note",
            f"{self.places.path(ref)}/notes",
            {"body": text, "internal": draft.internal},
        )
        if not answers.is_number(answer.get("id")):
            raise answers.without_id()
        return CommentRef(self.places.present(ref), str(answer["id"]))

    async def read_comment(self, ref: CommentRef) -> SeenComment[str]:
        """Return the note as it is now."""
        answer = await self.door.get("read note", f"{self.places.path(ref.issue)}/notes/{ref.id}")
        return self._seen_comment(ref.issue, answers.as_object(answer))

    async def tell_comment(self, ref: CommentRef, body: str) -> None:
        """Give a proven note its whole text."""
        path = f"{self.places.path(ref.issue)}/notes/{ref.id}"
        await self.door.put("tell note", path, {"body": body})

    # ── What was asked and is not so ──────────────────────────────────────────────────────────────

    def _unassigned(self, draft: IssueDraft, seen: Seen[str]) -> Sequence[Paragraph]:
        """Say who should have the issue and does not, so that nobody is forgotten."""
        have = {name.casefold() for name in seen.assignees}
        wanted = [name.removeprefix("@") for name in draft.assignees]
        missing = [name for name in wanted if name.casefold() not in have]
        unknown = [name for name in missing if not self.people.is_known(name)]
        if unknown or (wanted and not have):
            maillog.not_assigned(draft.case_id, self.name, seen.ref.number, missing)
        if not missing:
            return ()
        names = ", ".join(markdown.code(name) for name in missing)
        return (Paragraph(f"Not assigned, though the alias asks for it: {names}."),)

    async def _grade(self, seen: Seen[str]) -> str:
        """Set the severity that the settings ask for, and return the one that the issue has."""
        if not isinstance(seen, SeenIssue):
            return ""
        wanted = self._wishes.severity
        if not wanted or seen.severity.casefold() == wanted or seen.type != "incident":
            return seen.severity
        try:
            answer = await self.door.mutate(
                "set severity", _SET_SEVERITY,
                path=seen.path, iid=seen.ref.number, severity=wanted.upper(),
            )  # fmt: skip
        except PermanentFault:
            return seen.severity  # told in the log, and noted in the issue
        done = answer.get("issueSetSeverity")
        issue = done.get("issue") if isinstance(done, dict) else None
        return answers.text(issue, "severity") if isinstance(issue, dict) else seen.severity

    def _unlike(self, draft: IssueDraft, seen: Seen[str], severity: str) -> Sequence[Paragraph]:
        """Say which of date, type and severity GitLab dropped: it does so without an error."""
        if not isinstance(seen, SeenIssue):
            return ()
        asked = (
            ("due date", draft.due.isoformat(), str(seen.due or "")),
            ("issue type", self._wishes.type, seen.type or PLAIN_TYPE),
            ("severity", self._wishes.severity or severity.casefold(), severity.casefold()),
        )
        unlike = [(what, wanted) for what, wanted, have in asked if wanted != have]
        if not unlike:
            return ()
        maillog.not_as_asked(
            draft.case_id, self.name, seen.ref.number, [what for what, _ in unlike]
        )
        told = ", ".join(f"{what} {markdown.code(wanted)}" for what, wanted in unlike)
        return (Paragraph(f"The tracker did not take what the settings ask for: {told}."),)

    # ── Small change ──────────────────────────────────────────────────────────────────────────────

    def _labels(self, labels: Sequence[str]) -> str:
        """Return labels as GitLab takes them; a comma cannot be sent."""
        if any("," in label for label in labels):
            raise PermanentFault(
                "label-with-comma",
                "A label has a comma, which GitLab cannot be sent.",
                setting="alias.labels",
                mend="Rename the label.",
            )
        return ",".join(labels)

    def seen(self, item: Mapping[str, Json]) -> SeenIssue:
        """Return an issue of an answer; what is missing there counts as not confidential."""
        text = answers.text(item, "description")
        labels, people = item.get("labels"), item.get("assignees")
        accounts = (
            [answers.account_in(person) for person in people] if isinstance(people, list) else []
        )
        return SeenIssue(
            ref=self.places.ref(item),
            confidential=item.get("confidential") is True,
            labels=tuple(map(str, labels)) if isinstance(labels, list) else (),
            assignees=tuple(account.username for account in accounts if account),
            open=item.get("state") == "opened",
            told=markdown.says(text, markdown.TOLD),
            body=text,
            due=answers.date_in(item.get("due_date")),
            type=answers.text(item, "issue_type"),
            severity=answers.text(item, "severity"),
            path=answers.project_path(item),
        )

    def state(self, item: Mapping[str, Json]) -> IssueState:
        """Return an issue of an answer as the rest of the house knows it."""
        seen = self.seen(item)
        return IssueState(
            seen.ref, seen.confidential, seen.open, seen.labels, seen.assignees, seen.due
        )

    def _seen_comment(self, ref: IssueRef, item: Mapping[str, Json]) -> SeenComment[str]:
        text = answers.text(item, "body")
        return SeenComment(
            ref=CommentRef(ref, str(item.get("id", ""))),
            internal=item.get("internal") is True or item.get("confidential") is True,
            told=not markdown.is_untold_comment(text),
            body=text,
        )
