"""What did people do in a GitLab since we last looked?  Lists by time of change, with an overlap.

Two lists are read: the issues of our own account, and confidential ones with a label of an alias,
which people opened by hand.  Of each issue that changed, its newest notes are read.  What was moved
to another project is remembered in the cursor and read there, too.

Two things may happen in the same instant, what is committed late bears an early time, and a note
moves the time of its issue at most once a minute.  So each look begins ``OVERLAP`` before the lists
of the one before were read, and the cursor names what was handed up from that span: an event may
come twice (after very many at once), and none is left out.  All times are the tracker's own; our
clock only measures how long the lists took.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Self

from secbridge import maillog
from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.case import IssueRef
from secbridge.model.issue import CommentWritten, IssueChanged, IssueState, TrackerEvent
from secbridge.ports import Clock
from secbridge.trackers import gitlab_answers as answers
from secbridge.trackers.door import Json
from secbridge.trackers.gitlab_answers import Account
from secbridge.trackers.gitlab_desk import GitLabDesk
from secbridge.trackers.gitlab_door import PER_PAGE

OVERLAP = timedelta(seconds=90)
"""How far each look reaches back behind the end of the last one.

A note written within a minute of its issue's last change leaves the issue's time as it is (GitLab's
``ThrottledTouch``), so less than that would lose comments.
"""

ROUNDS = 8
"""Pages of each list in one call; the next call goes on from there."""

NOTE_PAGES = 100
"""Pages of new notes of one issue.

GitLab takes 5,000 comments on an issue, its own notes apart.  With less than that, a flood of mails
in one case would end every look, and nobody in the project would be heard any more.
"""

FIRST_LOOK = timedelta(days=1)
"""How far an empty project's first cursor reaches back, so that clocks need not agree."""

SEEN = 2000
"""Events that a cursor names; what is older may come again."""

FOLLOWED = 500
"""Moved issues that a cursor names; then the ones that moved first are not read any more."""

_UNSEEN = frozenset({"tracker-not-found", "tracker-forbidden"})
"""How GitLab says that an issue, or the project that it was moved to, is not shown to us."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

Item = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Moved:
    """An issue in another project; its notes up to ``at`` came along when it was moved there."""

    project: int
    number: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far was read.  Issues from ``since`` on are listed, notes from ``floor`` on count.

    The two differ while a look did not reach the end.  ``seen`` holds the versions of events that
    were handed up, with their times.
    """

    since: datetime
    floor: datetime
    seen: Mapping[str, datetime] = field(default_factory=dict)
    moved: Sequence[Moved] = ()

    def written(self) -> str:
        """Return the cursor as the text that is kept."""
        return json.dumps(
            {
                "since": self.since.isoformat(),
                "floor": self.floor.isoformat(),
                "seen": {version: at.isoformat() for version, at in self.seen.items()},
                "moved": [[one.project, one.number, one.at.isoformat()] for one in self.moved],
            }
        )

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the cursor that ``written`` made.  Raises ValueError, KeyError or TypeError."""
        kept, time = json.loads(text), datetime.fromisoformat
        return cls(
            time(kept["since"]),
            time(kept["floor"]),
            {version: time(at) for version, at in kept["seen"].items()},
            tuple(Moved(project, number, time(at)) for project, number, at in kept["moved"]),
        )


@dataclass(slots=True)
class _Look:
    """One look: what was found, by version, and what it tells of the next one."""

    cursor: Cursor
    me: Account
    found: dict[str, TrackerEvent] = field(default_factory=dict)
    moved: list[Moved] = field(default_factory=list)
    newest: datetime | None = None
    reached: datetime | None = None
    took: timedelta = timedelta(0)

    def add(self, event: TrackerEvent, version: str) -> None:
        """Take what happened after the last look."""
        self.found[version] = event

    def next(self) -> Cursor:
        """Return where the next look begins: behind the end of this one, or where it stopped."""
        cursor = self.cursor
        end = max((self.newest or cursor.since) - OVERLAP - self.took, cursor.since)
        since = end if self.reached is None else max(self.reached, cursor.since)
        floor = end if self.reached is None else cursor.floor
        versions = {**cursor.seen, **{name: event.at for name, event in self.found.items()}}
        latest = sorted(versions.items(), key=lambda one: one[1], reverse=True)
        seen = {name: at for name, at in islice(latest, SEEN) if at >= floor}
        return Cursor(since, floor, seen, (*cursor.moved, *self.moved)[-FOLLOWED:])

    def events(self) -> Sequence[TrackerEvent]:
        """Return what was not handed up before, oldest first."""
        new = [event for name, event in self.found.items() if name not in self.cursor.seen]
        return sorted(new, key=lambda event: event.at)


class Events:
    """The events of one project; ``labels`` are those by which people mark a report."""

    def __init__(self, desk: GitLabDesk, labels: Sequence[str], clock: Clock) -> None:
        self._desk = desk
        self._labels = labels
        self._clock = clock
        self._out_of_sight: set[str] = set()

    async def since(self, text: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return the events since a cursor, oldest first, and the next cursor."""
        me = await self._desk.people.myself()
        cursor = _known(text)
        look = _Look(cursor or await self._beginning(me), me)
        await self._look(look)
        return look.events() if cursor else (), look.next().written()

    async def _beginning(self, me: Account) -> Cursor:
        """Return a cursor at the newest change, by the tracker's own clock."""
        times = [self._clock.now() - FIRST_LOOK]
        for query in self._lists(me):
            newest = await self._page(self._desk.places.root, query, sort="desc", per_page=1)
            times += [at for item in newest if (at := answers.moment(item, "updated_at"))]
        start = times[0] if len(times) == 1 else max(times[1:]) - OVERLAP
        return Cursor(start, start)

    async def _look(self, look: _Look) -> None:
        began = self._clock.now()
        changed: list[tuple[Item, datetime | None]] = []
        for query in self._lists(look.me):
            items = await self._changed(look, self._desk.places.root, query)
            changed += [(item, None) for item in items if self._is_ours(item, look.me)]
        for project, arrived in _by_project(look.cursor.moved):
            query = {"iids[]": list(arrived), "scope": "all"}
            with self._unless_unseen(f"in project {project}"):
                items = await self._changed(look, f"/projects/{project}", query)
                changed += [(item, arrived.get(item.get("iid", 0))) for item in items]
        look.took = self._clock.now() - began
        for item, arrival in changed:
            with self._unless_unseen(str(item.get("iid", ""))):
                await self._issue(look, item, after=arrival)

    @contextmanager
    def _unless_unseen(self, what: str) -> Iterator[None]:
        """Pass over what is deleted, or where we are no member any more: the others are read on."""
        try:
            yield
        except PermanentFault as error:
            if error.code not in _UNSEEN:
                raise
            self._lose_sight(what)

    def _lose_sight(self, what: str) -> None:
        if what not in self._out_of_sight:
            self._out_of_sight.add(what)
            maillog.out_of_sight(self._desk.name, what)

    def _lists(self, me: Account) -> Sequence[Item]:
        """Return the questions for issues of ours, and for those that people may have marked so.

        GitLab's filter by label wants all of them, and several aliases may file in one project.
        """
        ours = {"author_id": me.id, "scope": "all"}
        return (ours, {"confidential": "true", "scope": "all"}) if self._labels else (ours,)

    def _is_ours(self, item: Item, me: Account) -> bool:
        """Whether an issue is of our account, or bears a label of an alias that files here."""
        wanted = {label.casefold() for label in self._labels}
        have = {label.casefold() for label in self._desk.seen(item).labels}
        return answers.author_id(item) == me.id or bool(wanted & have)

    async def _page(self, root: str, query: Item, **more: Json) -> Sequence[Item]:
        asked = {"state": "all", "order_by": "updated_at", "sort": "asc", **query, **more}
        return await self._desk.door.page("list changed issues", f"{root}/issues", **asked)

    async def _changed(self, look: _Look, root: str, query: Item) -> Sequence[Item]:
        """Return the issues that changed, each once; a list that goes on is told to ``look``.

        The list is continued by time and not by page: what changes meanwhile moves to its end, and
        another one would slip over the border between two pages.
        """
        found: dict[Json, Item] = {}
        after, page = look.cursor.since, 1
        for _ in range(ROUNDS):
            items = await self._page(root, query, updated_after=_text(after), page=page)
            found |= {item.get("id"): item for item in items}
            times = [at for item in items if (at := answers.moment(item, "updated_at"))]
            look.newest = max([*times, *([look.newest] if look.newest else ())], default=None)
            if len(items) < PER_PAGE:
                return tuple(found.values())
            last = max(times, default=after)
            after, page = (last, 1) if last > after else (after, page + 1)
        look.reached = min(after, look.reached or after)
        return tuple(found.values())

    # ── One issue ─────────────────────────────────────────────────────────────────────────────────

    async def _issue(self, look: _Look, item: Item, *, after: datetime | None = None) -> None:
        """Take an issue and its new notes; ``after``: when it was moved to where it is."""
        at = answers.moment(item, "updated_at")
        ref = self._desk.places.ref(item)
        if at is None:
            raise TransientFault("tracker-answer-unreadable", "The tracker names no time.")
        there: Item | None = item
        if answers.is_number(item.get("moved_to_id")):
            there = await self._moved(look, item, ref)
        if there is not None:
            state = self._desk.state(there)
            version = f"issue-{ref.id}@{at.isoformat()}-{_digest(state)}"
            look.add(IssueChanged(version, ref, at, state), version)
        await self._notes(look, item, ref, after)

    async def _moved(self, look: _Look, item: Item, ref: IssueRef) -> Item | None:
        """Return a moved issue where it is now, after reading its notes there; None if unseen."""
        try:
            there = await self._desk.places.read(ref)
        except PermanentFault as error:
            if error.code != "tracker-moved-away":
                raise
            self._lose_sight(ref.number)
            return None
        place = int(there["project_id"]), int(there["iid"])
        if place not in {(one.project, one.number) for one in (*look.cursor.moved, *look.moved)}:
            at = await self._came_along(item, there)
            look.moved.append(Moved(*place, at))
            await self._notes(look, there, self._desk.places.ref(there), at)
        return there

    async def _came_along(self, item: Item, there: Item) -> datetime:
        """Return when the last note was written that a move copied.

        A copy has another number, so it would be a new event; but it keeps author and time.
        """
        left = await self._desk.door.pages("list notes", _path(item))
        came = await self._desk.door.pages("list notes", _path(there))
        before = {_writing(note) for note in left if note.get("system") is not True}
        times = [answers.moment(note, "created_at") for note in came if _writing(note) in before]
        return max((time for time in times if time), default=_LONG_AGO)

    async def _notes(self, look: _Look, item: Item, ref: IssueRef, after: datetime | None) -> None:
        """Take the new notes of an issue; one that says that it has none is not asked."""
        if item.get("user_notes_count") == 0:
            return
        for page in range(1, NOTE_PAGES + 1):
            notes = await self._desk.door.page(
                "list new notes", _path(item), order_by="updated_at", sort="desc", page=page
            )
            times = [self._note(look, note, item, ref, after) for note in notes]
            if len(notes) < PER_PAGE or min(times) < look.cursor.floor:
                return
        raise TransientFault("tracker-list-endless", "A list of the tracker does not end.")

    def _note(
        self, look: _Look, note: Item, item: Item, ref: IssueRef, after: datetime | None
    ) -> datetime:
        """Take a person's note that is new, and return when a note was changed last."""
        at, began = answers.moment(note, "updated_at"), answers.moment(note, "created_at")
        if at is None or began is None:
            raise TransientFault("tracker-answer-unreadable", "The tracker names no time.")
        author = self._desk.people.actor(note, look.me)
        is_news = at >= look.cursor.floor and (after is None or began > after)
        if is_news and note.get("system") is not True and author and author.id != str(look.me.id):
            key = f"note-{note.get('id')}"
            event = CommentWritten(
                key=key,
                issue=ref,
                author=author,
                at=at,
                text=answers.text(note, "body"),
                comment_id=str(note.get("id", "")),
                public=bool(answers.text(item, "service_desk_reply_to")) and not _internal(note),
            )
            look.add(event, f"{key}@{at.isoformat()}")
        return at


def _known(text: str | None) -> Cursor | None:
    """Return the cursor that a text holds; one that nobody can read begins anew."""
    try:
        return Cursor.read(text) if text else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _by_project(moved: Sequence[Moved]) -> Iterator[tuple[int, Mapping[int, datetime]]]:
    """Return each project with the numbers of the issues that came there, and when they came."""
    for project in dict.fromkeys(one.project for one in moved):
        yield project, {one.number: one.at for one in moved if one.project == project}


def _digest(state: IssueState) -> str:
    """Return a short name of a state: two changes may bear the same time."""
    return sha256(repr(state).encode()).hexdigest()[:12]


def _path(item: Item) -> str:
    """Return the path of an issue's notes in the API."""
    return f"/projects/{item.get('project_id', '')}/issues/{item.get('iid', '')}/notes"


def _writing(note: Item) -> tuple[int | None, str]:
    """Return by whom and when a note was written, which a copy of it keeps."""
    return answers.author_id(note), answers.text(note, "created_at")


def _internal(note: Item) -> bool:
    return note.get("internal") is True or note.get("confidential") is True


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
