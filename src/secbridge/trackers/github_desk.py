"""Which verbs does a private repository have?  The desk that ``telling`` works at.

The proof that an issue is secret is that its repository is private, read after the issue itself.
Reconciliation lists by author and time only, and neither by label nor with the search, which is an
index that lags behind.  An issue that people transferred to another repository is followed there,
and is secret if that one is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta

from secbridge import maillog
from secbridge.errors import Deferral, NotConfidential, PermanentFault
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
from secbridge.trackers import github_answers as answers
from secbridge.trackers.door import Ask, Json, segment
from secbridge.trackers.files import whole_text
from secbridge.trackers.github_door import GitHubDoor, Moved
from secbridge.trackers.github_files import Files
from secbridge.trackers.github_people import People
from secbridge.trackers.github_place import Place
from secbridge.trackers.telling import Seen, SeenComment

BODY_LIMIT = 65_536
"""Octets of a text; GitHub counts characters, so this is never too much."""

FRAME = 2_000
"""Octets of a text that are left to markers and notes."""

LOOKBACKS = (timedelta(hours=1), timedelta(days=90))
"""How long before an attempt an issue with its marker may have been made: usual, and at most."""

HOPS = 3
"""How often an issue may have been transferred."""


@dataclass(frozen=True, slots=True, repr=False)
class SeenIssue(Seen[str]):
    """An issue with what else GitHub may have dropped without a word."""

    due: date | None = None
    kind: str = ""


class GitHubDesk:
    """The verbs of a private repository (see ``telling.Desk``); a body is an issue's Markdown.

    ``settle`` is how long after its timeout an unanswered request may still take effect;
    ``issue_type`` the type that issues get, "" for none.
    """

    def __init__(
        self,
        name: str,
        place: Place,
        people: People,
        files: Files,
        *,
        clock: Clock,
        settle: timedelta,
        issue_type: str = "",
    ) -> None:
        self.name = name
        self.place = place
        self.people = people
        self.files = files
        self.door: GitHubDoor = place.door
        self.patience = self.door.longest + settle
        self._clock = clock
        self._issue_type = issue_type
        self._moved: dict[tuple[str, str], IssueRef] = {}
        self._places = {place.project.casefold(): place}

    # ── Issues ────────────────────────────────────────────────────────────────────────────────────

    async def find_issues(self, key: EffectKey) -> Sequence[Seen[str]]:
        """Return our own issues with this marker; one that somebody else pasted is not ours."""
        line, me = markdown.issue_marker(key.marker), await self.people.myself()
        began = key.attempted_at or self._clock.now()
        for lookback in LOOKBACKS:
            items = await self.door.pages(
                "find issue",
                f"{self.place.path}/issues",
                creator=me.login,
                since=answers.stamp(began - lookback),
                state="all",
                sort="created",
                direction="asc",
            )
            ours = [item for item in items if answers.is_issue(item) and me.is_(item.get("user"))]
            found = [item for item in ours if markdown.says(answers.text(item, "body"), line)]
            if found:
                secret = await self.place.keeps_secrets()
                return tuple(self.seen(item, secret=secret) for item in found)
        return ()

    async def create_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Create with people and date, but without a word of the report, where it stays secret."""
        people = await self.people.assignable(draft.assignees)
        body: dict[str, Json] = {
            "title": draft.title,
            "body": markdown.untold_issue(draft, key.marker),
            "labels": list(draft.labels),
            **({"assignees": list(people)} if people else {}),
            **({"type": self._issue_type} if self._issue_type else {}),
            **await self.place.due_fields(draft.due),
        }
        await self.place.must_keep_secrets()
        try:
            answer = await self.door.post("create issue", f"{self.place.path}/issues", body)
        except PermanentFault:
            self.people.forget()
            self.place.forget()
            raise
        if answers.number(answer, "number") is None or answers.number(answer, "id") is None:
            raise answers.without_id()
        return self.seen(answer, secret=False).ref

    async def read_issue(self, ref: IssueRef) -> SeenIssue:
        """Return the issue as it is now, where it is now, and whether its repository is private."""
        here = self.present(ref)
        item, hops = await self.door.get_or_moved("read issue", self._path(here)), 0
        while isinstance(item, Moved) and (hops := hops + 1) <= HOPS:
            item = await self.door.get_or_moved("read transferred issue", item.path)
        if isinstance(item, Moved):
            raise self.door.permanent("tracker-redirects")
        project = answers.project_of(answers.as_object(item), here.project)
        secret = await self._place_of(project).keeps_secrets()
        seen = self.seen(item, secret=secret, project=project)
        if hops and seen.ref != here:
            self._moved[(here.project, here.number)] = seen.ref
        return seen

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the issue as it is now, where it is now."""
        return state_of(await self.read_issue(ref))

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Ask once more for the labels; that a repository is private no request of ours brings."""
        await self._add_labels(ref, draft.labels)

    async def attach(self, seen: Seen[str], draft: IssueDraft | CommentDraft) -> Sequence[Note]:
        """Commit the files to the repository, as the policy allows."""
        return await self.files.attach(draft, whole=whole_if_cut(draft))

    async def compose(
        self, key: EffectKey, draft: IssueDraft, seen: Seen[str], notes: Sequence[Note]
    ) -> str:
        """Return the whole text, with what a reader must know of people, dates and files."""
        told = [*self.people.unassigned(draft, seen), *self._unset(draft, seen), *notes]
        return markdown.told_issue(draft, key.marker, limit=BODY_LIMIT, notes=told)

    async def tell(self, ref: IssueRef, body: str, draft: IssueDraft) -> None:
        """Give the issue its whole text, unless its repository was opened in this very moment."""
        here = self.present(ref)
        if not await self._place_of(here.project).keeps_secrets():
            maillog.not_confidential(draft.case_id, self.name, here.number, ("confidential",))
            with suppress(Deferral):
                await self.set_open(here, is_open=False)
            raise NotConfidential("not-confidential", "The tracker does not keep the issue secret.")
        await self.door.patch("tell issue", self._path(here), {"body": body})

    async def withdraw(self, ref: IssueRef, key: EffectKey, draft: IssueDraft) -> None:
        """Put the text back to header and marker; GitHub keeps the earlier one in its history."""
        body = {"body": markdown.untold_issue(draft, key.marker)}
        await self.door.patch("withdraw report", self._path(self.present(ref)), body)

    async def set_open(self, ref: IssueRef, *, is_open: bool) -> None:
        """Close or reopen."""
        body = {"state": "open"} if is_open else {"state": "closed", "state_reason": "not_planned"}
        verb = "reopen" if is_open else "close"
        await self.door.patch(f"{verb} issue", self._path(self.present(ref)), body)

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change what is named; labels one by one, so that those of others stay."""
        if change == IssueChange():
            return
        here = (await self.read_issue(ref)).ref
        body: dict[str, Json] = {}
        if change.assignees is not None:
            body["assignees"] = list(await self.people.assignable(change.assignees))
        if change.due is not None:
            body |= await self.place.due_fields(change.due)
        if change.open is not None:
            body["state"] = "open" if change.open else "closed"
        if change.add_labels:
            await self._add_labels(here, change.add_labels)
        for label in change.remove_labels:
            await self._remove_label(here, label)
        if body:
            await self.door.patch("change issue", self._path(here), body)

    # ── Comments ──────────────────────────────────────────────────────────────────────────────────

    async def find_comments(self, ref: IssueRef, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our own comments with this marker."""
        line, me = markdown.comment_marker(key.marker), await self.people.myself()
        here = (await self.read_issue(ref)).ref
        items = await self.door.pages("find note", f"{self._path(here)}/comments")
        ours = [item for item in items if me.is_(item.get("user"))]
        found = [item for item in ours if markdown.says(answers.text(item, "body"), line)]
        return tuple(seen_comment(here, item) for item in found)

    async def compose_comment(
        self, key: EffectKey, draft: CommentDraft, notes: Sequence[Note]
    ) -> str:
        """Return the whole text of a comment."""
        return compose_comment(key, draft, notes)

    async def create_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft, body: str | None
    ) -> CommentRef:
        """Create a comment where it stays secret; GitHub knows no other kind of secret one."""
        text = body if body is not None else markdown.untold_comment(key.marker)
        return await self.create_text(ref, text)

    async def create_text(self, ref: IssueRef, text: str) -> CommentRef:
        """Create a comment with this text."""
        here = self.present(ref)
        await self._place_of(here.project).must_keep_secrets()
        answer = await self.door.post("create note", f"{self._path(here)}/comments", {"body": text})
        if answers.number(answer, "id") is None:
            raise answers.without_id()
        return CommentRef(here, str(answer["id"]))

    async def read_comment(self, ref: CommentRef) -> SeenComment[str]:
        """Return the comment as it is now."""
        answer = await self.door.get("read note", self._comment(ref))
        return seen_comment(ref.issue, answers.as_object(answer))

    async def tell_comment(self, ref: CommentRef, body: str) -> None:
        """Give a proven comment its whole text."""
        await self._place_of(ref.issue.project).must_keep_secrets()
        await self.door.patch("tell note", self._comment(ref), {"body": body})

    # ── Small change ──────────────────────────────────────────────────────────────────────────────

    def present(self, ref: IssueRef) -> IssueRef:
        """Return where an issue is, by what was read before."""
        return self._moved.get((ref.project, ref.number), ref)

    def seen(self, item: Mapping[str, Json], *, secret: bool, project: str = "") -> SeenIssue:
        """Return an issue of an answer; ``secret`` is what its repository says of itself."""
        text = answers.text(item, "body")
        return SeenIssue(
            ref=IssueRef(
                self.name,
                project or self.place.project,
                id=str(item.get("id", "")),
                number=str(item.get("number", "")),
                url=answers.text(item, "html_url"),
            ),
            confidential=secret,
            labels=answers.label_names(item),
            assignees=answers.logins(item.get("assignees")),
            open=item.get("state") == "open",
            told=markdown.says(text, markdown.TOLD),
            body=text,
            due=answers.due_in(item, self.place.dates.field),
            kind=answers.text(answers.inner(item, "type"), "name"),
        )

    def _unset(self, draft: IssueDraft, seen: Seen[str]) -> Sequence[Paragraph]:
        """Say what else GitHub dropped; it does so without a word where we may not push."""
        if not isinstance(seen, SeenIssue):
            return ()
        dates = self.place.dates
        missing = [
            *(("due date",) if (dates.field or dates.milestones) and seen.due != draft.due else ()),
            *(("type",) if seen.kind.casefold() != self._issue_type.casefold() else ()),
        ]
        if not missing:
            return ()
        maillog.not_as_asked(draft.case_id, self.name, seen.ref.number, missing)
        return (Paragraph(f"Not set, though the settings ask for it: {' and '.join(missing)}."),)

    async def _add_labels(self, ref: IssueRef, labels: Sequence[str]) -> None:
        path = f"{self._path(self.present(ref))}/labels"
        await self.door.send(Ask("add labels", "post", path, body={"labels": list(labels)}))

    async def _remove_label(self, ref: IssueRef, label: str) -> None:
        """Remove a label; one that the issue does not have is gone already."""
        path = f"{self._path(ref)}/labels/{segment(label)}"
        try:
            await self.door.send(Ask("remove label", "delete", path))
        except PermanentFault as error:
            if error.code != "tracker-not-found":
                raise

    def _place_of(self, project: str) -> Place:
        """Return a repository; one that an issue was transferred to is asked as strictly."""
        wanted = project.casefold()
        if wanted not in self._places:
            self._places[wanted] = Place(
                self.door,
                project,
                allow_internal=self.place.allow_internal,
                dates=self.place.dates,
            )
        return self._places[wanted]

    def _path(self, ref: IssueRef) -> str:
        return f"{answers.repository_path(ref.project)}/issues/{segment(ref.number)}"

    def _comment(self, ref: CommentRef) -> str:
        path = answers.repository_path(ref.issue.project)
        return f"{path}/issues/comments/{segment(ref.id)}"


def state_of(seen: SeenIssue) -> IssueState:
    """Return what others are told of an issue."""
    return IssueState(seen.ref, seen.confidential, seen.open, seen.labels, seen.assignees, seen.due)


def compose_comment(key: EffectKey, draft: CommentDraft, notes: Sequence[Note]) -> str:
    """Return the whole text of a comment, files and all."""
    told = replace(draft, blocks=(*draft.blocks, *notes))
    return markdown.told_comment(told, key.marker, limit=BODY_LIMIT)


def seen_comment(ref: IssueRef, item: Mapping[str, Json]) -> SeenComment[str]:
    """Return a comment of an answer: it is as secret as its issue, and never more."""
    text = answers.text(item, "body")
    return SeenComment(
        ref=CommentRef(ref, str(item.get("id", ""))),
        internal=False,
        told=not markdown.is_untold_comment(text),
        body=text,
    )


def whole_if_cut(draft: IssueDraft | CommentDraft) -> str | None:
    """Return all that a draft says where a text of GitHub's cannot hold it, else None."""
    blocks = (*draft.header, *draft.report) if isinstance(draft, IssueDraft) else draft.blocks
    octets = sum(len(markdown.render(block).encode()) + 2 for block in blocks)
    return whole_text(draft) if octets > BODY_LIMIT - FRAME else None
