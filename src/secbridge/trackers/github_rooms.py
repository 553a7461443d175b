"""Where do comments on an advisory go?  Into the advisory, or to an issue in a private repository.

The interface for comments on advisories is a public preview of October 2026.  It stands in no
published specification yet: paths, ``body``, ``id`` and ``since`` are as GitHub's announcement
describes them, and an answer is taken to have the shape of an issue's comment.  So it is off unless
configured, and comments go to an issue of a private repository, one for each advisory, which names
it and is linked from its text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Protocol

from secbridge.errors import PermanentFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import CommentDraft, Facts, FileLinks, IssueDraft, Paragraph
from secbridge.ports import Clock, EffectKey
from secbridge.rules.drafting import markdown
from secbridge.trackers import github_answers as answers
from secbridge.trackers import telling
from secbridge.trackers.door import segment
from secbridge.trackers.github_answers import Record
from secbridge.trackers.github_desk import GitHubDesk, seen_comment
from secbridge.trackers.github_people import People
from secbridge.trackers.github_place import Place
from secbridge.trackers.telling import Seen, SeenComment

_COMPANION = "companion-of-"
"""What the marker of an advisory's issue begins with; the advisory's id follows."""


class SeenWithRecord(Protocol):
    """An advisory as its room needs it."""

    @property
    def ref(self) -> IssueRef:
        """The advisory."""
        ...

    @property
    def confidential(self) -> bool:
        """Whether it is unpublished."""
        ...

    @property
    def record(self) -> Record | None:
        """What its text says for us."""
        ...


class Room(Protocol):
    """Where the comments on an advisory are kept."""

    async def find(self, seen: SeenWithRecord, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our own comments with this marker."""
        ...

    async def open(self, seen: SeenWithRecord, key: EffectKey, draft: CommentDraft) -> str:
        """Make ready for a comment; return the address of what is kept elsewhere, or ""."""
        ...

    async def create(self, seen: SeenWithRecord, opened: str, text: str) -> CommentRef:
        """Create a comment; its reference names the advisory."""
        ...

    async def read(self, ref: CommentRef) -> SeenComment[str]:
        """Return a comment as it is now."""
        ...

    async def tell(self, ref: CommentRef, body: str) -> None:
        """Give a comment its whole text."""
        ...


# ── Nowhere ──────────────────────────────────────────────────────────────────────────────────────


class NoRoom:
    """Neither is configured: a comment waits until one is."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def find(self, seen: SeenWithRecord, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Find nothing."""
        return ()

    async def open(self, seen: SeenWithRecord, key: EffectKey, draft: CommentDraft) -> str:
        """Raise PermanentFault, which names the settings."""
        raise self._nowhere()

    async def create(self, seen: SeenWithRecord, opened: str, text: str) -> CommentRef:
        """Raise PermanentFault."""
        raise self._nowhere()

    async def read(self, ref: CommentRef) -> SeenComment[str]:
        """Raise PermanentFault."""
        raise self._nowhere()

    async def tell(self, ref: CommentRef, body: str) -> None:
        """Raise PermanentFault."""
        raise self._nowhere()

    def _nowhere(self) -> PermanentFault:
        return PermanentFault(
            "no-room-for-comments",
            "Nothing says where comments on an advisory go.",
            setting=f"trackers.{self._name}.companion",
            mend="Name a private repository as companion, or set advisory_comments = true.",
        )


# ── In the advisory: a preview, in no specification ──────────────────────────────────────────────


class AdvisoryRoom:
    """The comments of the advisory itself (public preview, see above)."""

    def __init__(self, place: Place, people: People) -> None:
        self._door = place.door
        self._path = f"{place.path}/security-advisories"
        self._people = people

    async def find(self, seen: SeenWithRecord, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our own comments with this marker."""
        line, me = markdown.comment_marker(key.marker), await self._people.myself()
        items = await self._door.pages("find advisory comment", self._comments(seen.ref))
        return tuple(
            seen_comment(seen.ref, item)
            for item in items
            if markdown.says(answers.text(item, "body"), line) and me.is_(answers.writer(item))
        )

    async def open(self, seen: SeenWithRecord, key: EffectKey, draft: CommentDraft) -> str:
        """Have nothing elsewhere."""
        return ""

    async def create(self, seen: SeenWithRecord, opened: str, text: str) -> CommentRef:
        """Create a comment on an advisory that was unpublished a moment ago."""
        if not seen.confidential:
            raise PermanentFault(
                "advisory-published",
                "The advisory is published, so nothing is written there.",
                setting="alias.project",
                mend="Answer the case elsewhere, and close it.",
            )
        answer = await self._door.post(
            "create advisory comment", self._comments(seen.ref), {"body": text}
        )
        if answers.number(answer, "id") is None:
            raise answers.without_id()
        return CommentRef(seen.ref, str(answer["id"]))

    async def read(self, ref: CommentRef) -> SeenComment[str]:
        """Return a comment as it is now."""
        answer = await self._door.get("read advisory comment", self._comment(ref))
        return seen_comment(ref.issue, answers.as_object(answer))

    async def tell(self, ref: CommentRef, body: str) -> None:
        """Give a comment its whole text."""
        await self._door.patch("tell advisory comment", self._comment(ref), {"body": body})

    def _comments(self, ref: IssueRef) -> str:
        return f"{self._path}/{segment(ref.number)}/comments"

    def _comment(self, ref: CommentRef) -> str:
        return f"{self._comments(ref.issue)}/{segment(ref.id)}"


# ── In a private repository beside it ────────────────────────────────────────────────────────────


class CompanionRoom:
    """The comments of one issue for each advisory, at the desk of a private repository."""

    def __init__(self, desk: GitHubDesk, *, clock: Clock) -> None:
        self.desk = desk
        self._clock = clock
        self._making = asyncio.Lock()

    async def find(self, seen: SeenWithRecord, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our own comments with this marker; they name the advisory as their issue."""
        issue = await self._issue(seen)
        if issue is None:
            return ()
        found = await self.desk.find_comments(issue, key)
        return [await self._read(CommentRef(seen.ref, one.ref.id)) for one in found]

    async def open(self, seen: SeenWithRecord, key: EffectKey, draft: CommentDraft) -> str:
        """Return the address of the advisory's issue, made where there is none."""
        async with self._making:
            issue = await self._issue(seen)
            if issue is None:
                mark, now = EffectKey(_marker(seen.ref), key.attempted_at), self._clock.now()
                told = _companion(seen, draft, now.date())
                issue = await telling.ensure_issue(self.desk, mark, told, now=now)
        return issue.url

    async def create(self, seen: SeenWithRecord, opened: str, text: str) -> CommentRef:
        """Create a comment on the advisory's issue."""
        issue = self._ref(opened)
        if issue is None:
            raise answers.without_id()
        made = await self.desk.create_text(issue, text)
        return CommentRef(seen.ref, made.id)

    async def read(self, ref: CommentRef) -> SeenComment[str]:
        """Return a comment, which is as secret as the private repository is now."""
        return await self._read(ref)

    async def tell(self, ref: CommentRef, body: str) -> None:
        """Give a comment its whole text."""
        await self.desk.tell_comment(self._there(ref), body)

    async def _read(self, ref: CommentRef) -> SeenComment[str]:
        seen = await self.desk.read_comment(self._there(ref))
        secret = await self.desk.place.keeps_secrets()
        return SeenComment(ref, internal=secret, told=seen.told, body=seen.body)

    async def _issue(self, seen: SeenWithRecord) -> IssueRef | None:
        """Return the advisory's issue: the one that its text names, or one with its marker."""
        if seen.record and (known := self._ref(seen.record.companion)):
            return known
        found = await self.desk.find_issues(EffectKey(_marker(seen.ref), self._clock.now()))
        return found[0].ref if found else None

    def _ref(self, url: str) -> IssueRef | None:
        """Return the issue that an address names, if it is in our repository."""
        project, number = answers.issue_of_url(url) or ("", "")
        if project.casefold() != self.desk.place.project.casefold():
            return None
        return IssueRef(self.desk.name, project, id="", number=number, url=url)

    def _there(self, ref: CommentRef) -> CommentRef:
        """Return a comment as the private repository knows it: by its number alone."""
        here = IssueRef(self.desk.name, self.desk.place.project, id="", number="")
        return CommentRef(here, ref.id)


def advisory_of(seen: Seen[str]) -> str:
    """Return the id of the advisory whose issue this is, or ""; by our own marker."""
    begin, _, end = markdown.issue_marker(_COMPANION).partition(_COMPANION)
    for line in seen.body.splitlines():
        if line.startswith(begin + _COMPANION) and line.endswith(end):
            return line[len(begin + _COMPANION) : -len(end)]
    return ""


def _marker(ref: IssueRef) -> str:
    return f"{_COMPANION}{ref.number}"


def _companion(seen: SeenWithRecord, draft: CommentDraft, today: date) -> IssueDraft:
    """Return the issue that holds the comments of an advisory; its date is the advisory's."""
    record = seen.record or Record()
    told = "The report is in a draft security advisory. What is said about it stands below."
    return IssueDraft(
        case_id=draft.case_id,
        title=f"Comments on security report {draft.case_id}",
        header=(
            Facts((("Case", draft.case_id), ("Advisory", seen.ref.number))),
            FileLinks((("advisory", seen.ref.url),)),
        ),
        report=(Paragraph(told),),
        labels=record.labels,
        assignees=record.assignees,
        due=record.due or today,
    )
