"""Which verbs does a draft security advisory have?  Another desk for ``telling``, for public code.

A draft is seen by the administrators and security managers of its repository and by those who are
made its collaborators, however public the repository is.  It is proven secret by its state.  It has
no labels, no assignees and no due date: they stand in its text, in words and in a line for us.
What it says is published with it, so its own text has to be written before; the draft says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from secbridge import maillog
from secbridge.errors import Deferral, NotConfidential, PermanentFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import (
    Block,
    CommentDraft,
    Facts,
    FileLinks,
    IssueChange,
    IssueDraft,
    IssueState,
    Note,
    Paragraph,
)
from secbridge.ports import Clock, EffectKey
from secbridge.rules.drafting import markdown
from secbridge.trackers import github_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.files import withheld
from secbridge.trackers.github_answers import Record
from secbridge.trackers.github_desk import compose_comment, whole_if_cut
from secbridge.trackers.github_files import Files
from secbridge.trackers.github_people import People
from secbridge.trackers.github_place import Place
from secbridge.trackers.github_rooms import Room
from secbridge.trackers.telling import Seen, SeenComment

DESCRIPTION_LIMIT = 65_535
"""Octets of a description; GitHub counts characters, so this is never too much."""

PAGES = 5
"""Pages of the newest advisories among which one of an earlier attempt must be."""

LOOKBACK = timedelta(days=90)
"""How long before an attempt an advisory with its marker may have been made."""

UNPUBLISHED = (
    "This draft holds the report as it came. Publishing it publishes that, too: write the "
    "advisory's own text first."
)


@dataclass(frozen=True, slots=True)
class AdvisoryOptions:
    """What the operator decided of advisories; ``credits`` are (login, kind of credit)."""

    severity: str = ""
    cvss_vector: str = ""
    credits: tuple[tuple[str, str], ...] = ()
    collaborators: tuple[str, ...] = ()
    collaborating_teams: tuple[str, ...] = ()
    ecosystem: str = ""
    package: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class SeenAdvisory(Seen[str]):
    """An advisory with what its text says for us, and who else may read it."""

    record: Record | None = None
    collaborators: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()


class AdvisoryDesk:
    """The verbs of advisories (see ``telling.Desk``); a body is a description's Markdown.

    ``files`` is where files go, beside it: None where no private repository is configured.
    """

    def __init__(
        self,
        name: str,
        place: Place,
        people: People,
        options: AdvisoryOptions,
        *,
        room: Room,
        files: Files | None,
        clock: Clock,
        settle: timedelta,
    ) -> None:
        self.name = name
        self.place = place
        self.people = people
        self.options = options
        self.room = room
        self.files = files
        self.door = place.door
        self.path = f"{place.path}/security-advisories"
        self.patience = self.door.longest + settle
        self._clock = clock

    # ── Advisories ────────────────────────────────────────────────────────────────────────────────

    async def find_issues(self, key: EffectKey) -> Sequence[Seen[str]]:
        """Return our own advisories with this marker, oldest first."""
        line, me = markdown.issue_marker(key.marker), await self.people.myself()
        oldest = (key.attempted_at or self._clock.now()) - LOOKBACK
        items, _ = await self.door.some_pages(
            "find advisory", self.path, most=PAGES, sort="created", direction="desc"
        )
        found = [
            item
            for item in items
            if markdown.says(answers.text(item, "description"), line)
            and me.is_(item.get("author"))
            and (answers.moment(item.get("created_at")) or oldest) >= oldest
        ]
        return tuple(self.seen(item) for item in reversed(found))

    async def create_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Create a draft without a word of the report."""
        body: dict[str, Json] = {
            "summary": draft.title,
            "description": self._untold(key, draft),
            "vulnerabilities": self._vulnerabilities(),
            **self._weight(),
        }
        if self.options.credits:
            body["credits"] = [{"login": who, "type": kind} for who, kind in self.options.credits]
        answer = await self.door.post("create advisory", self.path, body)
        if not answers.text(answer, "ghsa_id"):
            raise answers.without_id()
        return self.seen(answer).ref

    async def read_issue(self, ref: IssueRef) -> SeenAdvisory:
        """Return the advisory as it is now."""
        answer = await self.door.get("read advisory", self._advisory(ref))
        return self.seen(answers.as_object(answer))

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the advisory as it is now."""
        return state_of(await self.read_issue(ref))

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Write the labels into the text once more; a published advisory no request takes back."""
        seen = await self.read_issue(ref)
        wanted = _record_of(draft)
        labels = dict.fromkeys((*(seen.record or wanted).labels, *draft.labels))
        await self._write(seen, replace(seen.record or wanted, labels=tuple(labels)))

    async def attach(self, seen: Seen[str], draft: IssueDraft | CommentDraft) -> Sequence[Note]:
        """Commit the files to the private repository beside it."""
        if self.files is None:
            return withheld("An advisory holds no files, and no companion is configured.", draft)
        return await self.files.attach(draft, whole=whole_if_cut(draft))

    async def compose(
        self, key: EffectKey, draft: IssueDraft, seen: Seen[str], notes: Sequence[Note]
    ) -> str:
        """Return the whole text; before it is told, who shall read it is made a collaborator."""
        missing = await self._invite(seen) if isinstance(seen, SeenAdvisory) else ()
        record = (seen.record if isinstance(seen, SeenAdvisory) else None) or _record_of(draft)
        said = _with_table(draft, record)
        text = markdown.told_issue(
            said,
            key.marker,
            limit=DESCRIPTION_LIMIT - len(record.line.encode()) - 1,
            notes=[Paragraph(UNPUBLISHED), *missing, *notes],
        )
        return _with_line(text, record)

    async def tell(self, ref: IssueRef, body: str, draft: IssueDraft) -> None:
        """Give the advisory its whole text, unless it was published in this very moment."""
        if not (await self.read_issue(ref)).confidential:
            maillog.not_confidential(draft.case_id, self.name, ref.number, ("confidential",))
            with suppress(Deferral):
                await self.set_open(ref, is_open=False)
            raise NotConfidential("not-confidential", "The tracker does not keep the issue secret.")
        await self.door.patch("tell advisory", self._advisory(ref), {"description": body})

    async def withdraw(self, ref: IssueRef, key: EffectKey, draft: IssueDraft) -> None:
        """Put the text back to header and marker."""
        body = {"description": self._untold(key, draft)}
        await self.door.patch("withdraw report", self._advisory(ref), body)

    async def set_open(self, ref: IssueRef, *, is_open: bool) -> None:
        """Close, or make it a draft again."""
        body = {"state": "draft" if is_open else "closed"}
        await self.door.patch("set advisory's state", self._advisory(ref), body)

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change what is named, in the text all but the state."""
        if change == IssueChange():
            return
        seen = await self.read_issue(ref)
        before = seen.record or Record()
        labels = [name for name in before.labels if name not in change.remove_labels]
        after = replace(
            before,
            labels=tuple(dict.fromkeys((*labels, *change.add_labels))),
            assignees=before.assignees if change.assignees is None else change.assignees,
            due=change.due or before.due,
        )
        if after != before:
            await self._write(seen, after)
        if change.open is not None:
            await self.set_open(ref, is_open=change.open)

    # ── Comments ──────────────────────────────────────────────────────────────────────────────────

    async def find_comments(self, ref: IssueRef, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our own comments with this marker, wherever comments go."""
        return await self.room.find(await self.read_issue(ref), key)

    async def compose_comment(
        self, key: EffectKey, draft: CommentDraft, notes: Sequence[Note]
    ) -> str:
        """Return the whole text of a comment."""
        return compose_comment(key, draft, notes)

    async def create_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft, body: str | None
    ) -> CommentRef:
        """Create a comment where comments go."""
        text = body if body is not None else markdown.untold_comment(key.marker)
        seen = await self.read_issue(ref)
        opened = await self.room.open(seen, key, draft)
        if opened and seen.record and seen.record.companion != opened:
            await self._write(seen, replace(seen.record, companion=opened))
        return await self.room.create(seen, opened, text)

    async def read_comment(self, ref: CommentRef) -> SeenComment[str]:
        """Return the comment as it is now."""
        return await self.room.read(ref)

    async def tell_comment(self, ref: CommentRef, body: str) -> None:
        """Give a proven comment its whole text."""
        await self.room.tell(ref, body)

    # ── Small change ──────────────────────────────────────────────────────────────────────────────

    def seen(self, item: Mapping[str, Json]) -> SeenAdvisory:
        """Return an advisory of an answer; of what was ever published nothing is secret."""
        text, state = answers.text(item, "description"), answers.text(item, "state")
        record = answers.record_in(text)
        teams = [
            answers.text(team, "slug") for team in answers.objects(item.get("collaborating_teams"))
        ]
        return SeenAdvisory(
            ref=IssueRef(
                self.name,
                self.place.project,
                id=answers.text(item, "ghsa_id"),
                number=answers.text(item, "ghsa_id"),
                url=answers.text(item, "html_url"),
            ),
            confidential=state in {"draft", "triage", "closed"} and not item.get("published_at"),
            labels=record.labels if record else (),
            assignees=record.assignees if record else (),
            open=state in {"draft", "triage"},
            told=markdown.says(text, markdown.TOLD),
            body=text,
            record=record,
            collaborators=answers.logins(item.get("collaborating_users")),
            teams=tuple(teams),
        )

    async def _invite(self, seen: SeenAdvisory) -> Sequence[Paragraph]:
        """Make the configured people and teams collaborators beside those that there are.

        GitHub replaces the whole list.  Who cannot be added keeps nobody else from the report.
        """
        users = dict.fromkeys((*seen.collaborators, *self.options.collaborators))
        teams = dict.fromkeys((*seen.teams, *self.options.collaborating_teams))
        if len(users) == len(seen.collaborators) and len(teams) == len(seen.teams):
            return ()
        body = {"collaborating_users": list(users), "collaborating_teams": list(teams)}
        try:
            await self.door.patch("add collaborators", self._advisory(seen.ref), body)
        except PermanentFault:
            wanted = (*self.options.collaborators, *self.options.collaborating_teams)
            names = ", ".join(markdown.code(name) for name in wanted)
            return (Paragraph(f"Not made collaborators, though the settings ask for it: {names}."),)
        return ()

    async def _write(self, seen: SeenAdvisory, record: Record) -> None:
        """Write a record into the text, table and line, in the place of the one before."""
        table, body = _table(record), seen.body
        if seen.record and _table(seen.record) in body and seen.record.line in body:
            body = body.replace(_table(seen.record), table, 1)
            body = body.replace(seen.record.line, record.line)
        else:
            body = _with_line(f"{table}\n\n{body}", record)
        await self.door.patch("write record", self._advisory(seen.ref), {"description": body})

    def _untold(self, key: EffectKey, draft: IssueDraft) -> str:
        record = _record_of(draft)
        return _with_line(markdown.untold_issue(_with_table(draft, record), key.marker), record)

    def _weight(self) -> Mapping[str, Json]:
        """Return severity or CVSS vector; GitHub takes one of them."""
        if self.options.cvss_vector:
            return {"cvss_vector_string": self.options.cvss_vector}
        return {"severity": self.options.severity} if self.options.severity else {}

    def _vulnerabilities(self) -> Sequence[Json]:
        if not self.options.ecosystem:
            return []
        name = {"name": self.options.package} if self.options.package else {}
        return [{"package": {"ecosystem": self.options.ecosystem, **name}}]

    def _advisory(self, ref: IssueRef) -> str:
        return f"{self.path}/{segment(ref.number)}"


def state_of(seen: SeenAdvisory) -> IssueState:
    """Return what others are told of an advisory."""
    due = seen.record.due if seen.record else None
    return IssueState(seen.ref, seen.confidential, seen.open, seen.labels, seen.assignees, due)


def _record_of(draft: IssueDraft) -> Record:
    people = tuple(name.removeprefix("@") for name in draft.assignees)
    return Record(draft.labels, people, draft.due)


def _blocks(record: Record) -> tuple[Block, ...]:
    rows = [("Labels", ", ".join(record.labels)), ("Assigned to", ", ".join(record.assignees))]
    if record.due:
        rows.append(("Due now", record.due.isoformat()))
    links = (FileLinks((("comments", record.companion),)),) if record.companion else ()
    return (Facts(tuple(rows)), *links)


def _table(record: Record) -> str:
    return "\n\n".join(markdown.render(block) for block in _blocks(record))


def _with_table(draft: IssueDraft, record: Record) -> IssueDraft:
    return replace(draft, header=(*draft.header, *_blocks(record)))


def _with_line(text: str, record: Record) -> str:
    """Return a text with the record's line above its last one, which is the marker."""
    head, _, last = text.rpartition("\n")
    return f"{head}\n{record.line}\n{last}"
