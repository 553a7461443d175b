"""What did people do in a GitHub since the last look?  Lists by time of change, never a search.

The lists are of one repository, sorted by time, oldest change first.  A look begins a little before
the end of the last one, because what two servers wrote in one second may be listed later; what was
told before is known by its name and time, and not told again.  After many changes a look ends where
its pages end, and the next one goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.case import IssueRef
from secbridge.model.issue import CommentWritten, IssueChanged, IssueState, TrackerEvent
from secbridge.ports import Clock
from secbridge.trackers import github_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.github_advisories import PAGES, AdvisoryDesk, SeenAdvisory
from secbridge.trackers.github_advisories import state_of as advisory_state
from secbridge.trackers.github_answers import Account
from secbridge.trackers.github_desk import GitHubDesk, SeenIssue, state_of
from secbridge.trackers.github_rooms import AdvisoryRoom, CompanionRoom, advisory_of

PAGES_OF_CHANGES = 5
"""Pages of issues, and of comments, in one look."""

OVERLAP = timedelta(seconds=30)
"""How far before the end of the last look the next one begins."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far was read: until when, and what of the time since then was told already."""

    since: datetime
    told: frozenset[str] = frozenset()

    def written(self) -> str:
        """Return the cursor as text."""
        return json.dumps({"since": self.since.isoformat(), "told": sorted(self.told)})


def read_cursor(written: str | None, now: datetime) -> Cursor:
    """Return a cursor from its text; what is none of ours stands for "from now on"."""
    try:
        kept = json.loads(written or "")
        return Cursor(datetime.fromisoformat(kept["since"]), frozenset(map(str, kept["told"])))
    except (KeyError, TypeError, ValueError):
        return Cursor(now)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event with the name of this very version of it."""

    event: TrackerEvent
    name: str


@dataclass(frozen=True, slots=True)
class Read:
    """What one look found, and until when that is all; ``is_cut``: there is more after that."""

    heard: Sequence[Heard]
    until: datetime
    is_cut: bool


_Known = dict[str, SeenIssue | None]
"""Issues by their number; None stands for one that is not ours."""


class Changes:
    """The changes of one private repository's issues.

    ``labels`` are those of the aliases that file here: an issue that a person opened with one of
    them is one of ours, too.
    """

    def __init__(self, desk: GitHubDesk, labels: Sequence[str], *, clock: Clock) -> None:
        self._desk = desk
        self._labels = {label.casefold() for label in labels}
        self._clock = clock

    async def since(self, written: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what was done since a cursor, oldest first, and the next cursor."""
        cursor = read_cursor(written, self._clock.now())
        if written is None:
            return (), cursor.written()
        read = await self.read(cursor)
        return _told(cursor, read.heard, read.until)

    async def read(self, cursor: Cursor) -> Read:
        """Return what changed, as far as the pages of one look go."""
        since, path = answers.stamp(cursor.since - OVERLAP), self._desk.place.path
        issues, more_issues = await self._desk.door.some_pages(
            "list issues", f"{path}/issues", **_pages(since), state="all"
        )
        comments, more_comments = await self._desk.door.some_pages(
            "list notes", f"{path}/issues/comments", **_pages(since)
        )
        if not issues and not comments:
            return Read((), cursor.since, is_cut=False)
        known = await self._ours(issues)
        heard = [
            _changed(item, state_of(seen))
            for item in issues
            if (seen := known[str(item.get("number", ""))]) is not None
        ]
        heard += [one for item in comments if (one := await self._written(item, known))]
        lists = ((issues, more_issues), (comments, more_comments))
        if cut := [_last(items) for items, more in lists if more]:
            return Read(heard, min(cut), is_cut=True)
        return Read(heard, max(_last(items) for items, _ in lists if items), is_cut=False)

    async def _ours(self, items: Sequence[Mapping[str, Json]]) -> _Known:
        secret, me = await self._desk.place.keeps_secrets(), await self._desk.people.myself()
        known: _Known = {}
        for item in items:
            seen = self._desk.seen(item, secret=secret)
            labelled = not self._labels.isdisjoint(label.casefold() for label in seen.labels)
            ours = me.is_(item.get("user")) or labelled
            known[seen.ref.number] = seen if ours and answers.is_issue(item) else None
        return known

    async def _written(self, item: Mapping[str, Json], known: _Known) -> Heard | None:
        """Return a comment if it is a person's on an issue of ours."""
        me, number = await self._desk.people.myself(), answers.issue_number(item)
        if me.is_(item.get("user")) or not number:
            return None
        if number not in known:
            known |= await self._fetched(number)
        seen = known[number]
        return None if seen is None else _comment(item, seen.ref, me, "comment")

    async def _fetched(self, number: str) -> _Known:
        """Return an issue that is not in the list; one that cannot be read is not ours any more."""
        path = f"{self._desk.place.path}/issues/{segment(number)}"
        try:
            item = answers.as_object(await self._desk.door.get("read issue", path))
        except PermanentFault:
            return {number: None}
        return await self._ours([item])


class AdvisoryChanges:
    """The changes of a repository's advisories, with their comments wherever those are."""

    def __init__(self, desk: AdvisoryDesk, *, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock

    async def since(self, written: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what was done since a cursor, oldest first, and the next cursor."""
        cursor = read_cursor(written, self._clock.now())
        if written is None:
            return (), cursor.written()
        ours, room = await self._ours(), self._desk.room
        heard = [_changed(item, advisory_state(seen)) for item, seen in ours]
        heard = [one for one in heard if one.event.at >= cursor.since - OVERLAP]
        until = max((one.event.at for one in heard), default=cursor.since)
        if isinstance(room, AdvisoryRoom):
            heard += await self._comments([seen for _, seen in ours if seen.open], cursor)
            until = max((one.event.at for one in heard), default=until)
        if isinstance(room, CompanionRoom):
            beside = await self._beside(room.desk, [seen for _, seen in ours], cursor)
            heard += beside.heard
            until = beside.until if beside.is_cut else max(until, beside.until)
        return _told(cursor, heard, until)

    async def _ours(self) -> Sequence[tuple[Mapping[str, Json], SeenAdvisory]]:
        """Return our advisories among those that changed last; strangers can report some, too."""
        items, _ = await self._desk.door.some_pages(
            "list advisories", self._desk.path, most=PAGES, sort="updated", direction="desc"
        )
        me = await self._desk.people.myself()
        return [(item, self._desk.seen(item)) for item in items if me.is_(item.get("author"))]

    async def _comments(self, open_ones: Sequence[SeenAdvisory], cursor: Cursor) -> list[Heard]:
        """Ask each open advisory: whether a comment changes its time, GitHub does not say."""
        me, since = await self._desk.people.myself(), answers.stamp(cursor.since - OVERLAP)
        heard: list[Heard] = []
        for seen in open_ones:
            path = f"{self._desk.path}/{segment(seen.ref.number)}/comments"
            items = await self._desk.door.pages("list advisory comments", path, since=since)
            heard += [
                _comment(item, seen.ref, me, "advisory-comment")
                for item in items
                if not me.is_(answers.writer(item))
            ]
        return heard

    async def _beside(self, desk: GitHubDesk, ours: Sequence[SeenAdvisory], cursor: Cursor) -> Read:
        """Return the comments on the issues beside our advisories, as comments on the latter."""
        read = await Changes(desk, (), clock=self._clock).read(cursor)
        advisories = {seen.ref.number: seen.ref for seen in ours}
        found: list[Heard] = []
        known: dict[str, IssueRef | None] = {}
        for one in read.heard:
            if not isinstance(one.event, CommentWritten):
                continue
            issue = one.event.issue
            if issue.number not in known:
                advisory = advisory_of(await desk.read_issue(issue))
                known[issue.number] = advisories.get(advisory)
            if (ref := known[issue.number]) is not None:
                found.append(Heard(replace(one.event, issue=ref), one.name))
        return replace(read, heard=found)


# ── Events of answers ────────────────────────────────────────────────────────────────────────────


def _pages(since: str) -> dict[str, Any]:
    """Return what asks for the oldest changes first."""
    return {"most": PAGES_OF_CHANGES, "since": since, "sort": "updated", "direction": "asc"}


def _changed(item: Mapping[str, Json], state: IssueState) -> Heard:
    at = _time(item)
    name = f"issue-{state.ref.id}@{at.isoformat()}-{_digest(state)}"
    return Heard(IssueChanged(name, state.ref, at, state), name)


def _digest(state: IssueState) -> str:
    """Return a short name of a state: GitHub's times are whole seconds, and two may be equal."""
    return sha256(repr(state).encode()).hexdigest()[:12]


def _comment(item: Mapping[str, Json], issue: IssueRef, me: Account, kind: str) -> Heard:
    at, number = _time(item), str(item.get("id", ""))
    event = CommentWritten(
        key=f"{kind}-{number}",
        issue=issue,
        author=answers.actor(answers.writer(item), me),
        at=at,
        text=answers.text(item, "body"),
        comment_id=number,
    )
    return Heard(event, f"{event.key}@{at.isoformat()}")


def _told(
    cursor: Cursor, heard: Sequence[Heard], until: datetime
) -> tuple[Sequence[TrackerEvent], str]:
    """Return what was not told before, oldest first, and the cursor after it."""
    complete = sorted((one for one in heard if one.event.at <= until), key=_at)
    end = max(until, cursor.since)
    again = frozenset(one.name for one in complete if one.event.at >= end - OVERLAP)
    new = [one.event for one in complete if one.name not in cursor.told]
    return new, Cursor(end, again).written()


def _at(one: Heard) -> datetime:
    return one.event.at


def _last(items: Sequence[Mapping[str, Json]]) -> datetime:
    return _time(items[-1])


def _time(item: Mapping[str, Json]) -> datetime:
    """Return when an item changed last.  Raises TransientFault where it does not say."""
    found = answers.moment(item.get("updated_at"))
    if found is None:
        raise TransientFault("tracker-answer-unreadable", "An item of the tracker has no time.")
    return found
