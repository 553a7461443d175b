"""What did people do in a Jira?  Asked of its search, again and again, with much overlap.

The search is an index that may be minutes behind, so each call asks for everything that changed
since ``OVERLAP`` before the last one, and the cursor remembers what was told of that time.  The
index only says *which* issues changed: what they and their comments say is read from themselves.
Spans are asked for in minutes before Jira's own present, so that neither its clock nor the time
zone of the bot's account matters.

A cursor is JSON: ``since``, when the last call began, and ``seen``, the keys of that time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from secbridge.errors import PermanentFault
from secbridge.model.issue import Actor, CommentWritten, IssueChanged, TrackerEvent
from secbridge.ports import Clock
from secbridge.trackers import jira_answers as answers
from secbridge.trackers.door import Json
from secbridge.trackers.jira_answers import PROPERTY, Account, Facts
from secbridge.trackers.jira_desk import JiraDesk, SeenIssue, state
from secbridge.trackers.jira_door import issue_path

OVERLAP = timedelta(minutes=10)
"""How far behind the index may be."""

SKEW = timedelta(hours=1)
"""How far Jira's clock may be from ours: comments of that time before the last call are looked at.

The first call therefore remembers what there is of that time, so that it is not told as new.
"""

LISTED = 500
"""New changes that one call asks for; what is beyond them comes with the next calls."""

READ = 100
"""Changed issues that one call reads."""

COMMENTS = 100
"""Comments of an issue that are read at once, the newest first."""

PAGES = 20
"""So often, until they are older than what is told of: many mails may join between two looks."""

REMEMBERED = 2_000
"""Keys in a cursor."""

_GONE = frozenset({"tracker-not-found", "tracker-forbidden", "tracker-hides-issue"})
"""What it means that an issue is deleted, or hidden from us, by now."""

_INDEXED = "project,labels,security,creator,updated"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far was read.  ``seen`` keys in order, the newest last."""

    since: datetime
    seen: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None, now: datetime) -> Cursor:
        """Return the cursor that a text says; None, or what nobody wrote here, is from now on."""
        try:
            said = json.loads(text or "")
            since = datetime.fromisoformat(said["since"]).astimezone(UTC)
            return cls(since, tuple(map(str, said["seen"])))
        except (ValueError, TypeError, KeyError):
            return cls(now)

    def written(self) -> str:
        """Return the cursor as a text."""
        seen = list(self.seen[-REMEMBERED:])
        return json.dumps({"since": self.since.isoformat(), "seen": seen})


@dataclass(slots=True)
class _Told:
    """What one call has found."""

    events: list[TrackerEvent] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


class Events:
    """The events of one project, and of what was moved out of it.

    ``labels`` are those of the aliases that file here: an issue of the project with one of them
    and a security level is ours to hear of, whoever made it.
    """

    def __init__(self, desk: JiraDesk, clock: Clock, labels: Sequence[str]) -> None:
        self._desk = desk
        self._clock = clock
        self._labels = tuple(labels)

    async def since(self, text: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what was done since a cursor, oldest first, and the next cursor."""
        now = self._clock.now()
        cursor = Cursor.parse(text, now)
        span = OVERLAP + (SKEW if text is None else now - cursor.since)
        most = LISTED + len(cursor.seen)
        listed = await self._changed(max(span, OVERLAP), most)
        told, seen = _Told(), frozenset(cursor.seen)
        new = [item for item in listed if _key(item) not in seen]
        for item in new[:READ]:
            await self._read(item, cursor, seen, told)
        is_all = len(new) <= READ and len(listed) < most
        kept = dict.fromkeys([*cursor.seen, *told.keys])
        then = Cursor(now if is_all else cursor.since, tuple(kept)).written()
        if text is None:
            return (), then
        return sorted(told.events, key=lambda event: event.at), then

    async def _changed(self, span: timedelta, most: int) -> Sequence[Mapping[str, Json]]:
        """Return issues of ours that the index says changed, oldest change first."""
        project = json.dumps(self._desk.project)
        names = ", ".join(json.dumps(label) for label in self._labels)
        labels = f" AND labels in ({names})" if names else ""
        jql = (
            f"(creator = currentUser() OR project = {project} AND level is not EMPTY{labels}) "
            f'AND updated >= "-{math.ceil(span / timedelta(minutes=1))}m" ORDER BY updated ASC'
        )
        items = await self._desk.door.search(
            "list changes", jql, fields=_INDEXED, properties=PROPERTY, most=most
        )
        me = await self._desk.people.myself()
        return [item for item in items if self._may_be_ours(item, me)]

    def _may_be_ours(self, item: Mapping[str, Json], me: Account) -> bool:
        """Whether the index says that it is ours, or leaves out where we filed it."""
        found = answers.facts(item)
        if self._is_ours(found, me):
            return True
        return answers.is_by(found.creator, me) and "properties" not in item

    def _is_ours(self, found: Facts, me: Account) -> bool:
        """Whether we made it, for this project, or it stands here as a security issue does."""
        if answers.is_by(found.creator, me):
            return self._desk.project in {found.project, found.filed_in}
        have = {label.casefold() for label in found.labels}
        labelled = not self._labels or any(label.casefold() in have for label in self._labels)
        return found.project == self._desk.project and found.level is not None and labelled

    async def _read(
        self, item: Mapping[str, Json], cursor: Cursor, seen: frozenset[str], told: _Told
    ) -> None:
        """Read one changed issue and its comments; one that is gone is passed over."""
        told.keys.append(_key(item))
        try:
            seen_issue = await self._desk.read_issue(self._desk.ref_of(answers.facts(item)))
            comments = await self._comments(seen_issue, cursor)
        except PermanentFault as error:
            if error.code in _GONE:
                return
            raise
        found = seen_issue.facts
        if not self._is_ours(found, await self._desk.people.myself()):
            return
        key, at = f"{found.id}@{found.updated}", found.updated or cursor.since
        told.keys.append(key)
        told.events.append(IssueChanged(key, seen_issue.ref, at, state(seen_issue)))
        for comment in comments:
            self._hear(comment, seen_issue, cursor, seen, told)

    async def _comments(self, issue: SeenIssue, cursor: Cursor) -> Sequence[Mapping[str, Json]]:
        """Return the newest comments of an issue, as far back as those that may be new."""
        path, found = f"{issue_path(issue.ref.id)}/comment", list[Mapping[str, Json]]()
        for _ in range(PAGES):
            answer = await self._desk.door.get(
                "read comments",
                path,
                orderBy="-created",
                startAt=len(found),
                maxResults=COMMENTS,
                expand="properties",
            )
            page = answers.items(answer, "comments")
            found += page
            oldest = answers.moment(page[-1].get("created")) if page else None
            if len(page) < COMMENTS or oldest is None or oldest < _horizon(cursor):
                break
        return found

    def _hear(
        self,
        comment: Mapping[str, Json],
        issue: SeenIssue,
        cursor: Cursor,
        seen: frozenset[str],
        told: _Told,
    ) -> None:
        """Add a comment that is new or edited, and a person's; who edited it answers for it."""
        number, author = answers.text(comment, "id"), answers.account(comment.get("author"))
        editor = answers.account(comment.get("updateAuthor")) or author
        at = answers.moment(comment.get("updated")) or answers.moment(comment.get("created"))
        key = f"comment {number}@{at}"
        if not (author and editor and at) or at < _horizon(cursor) or key in seen:
            return
        told.keys.append(key)
        if any(one.is_machine or one.id == self._desk.people.my_id for one in (author, editor)):
            return
        told.events.append(
            CommentWritten(
                key=number,
                issue=issue.ref,
                author=Actor(editor.id, editor.name, account=editor.id),
                at=at,
                text=self._desk.dialect.words(comment.get("body")),
                comment_id=number,
                public=self._desk.wishes.service_desk and answers.is_public(comment),
            )
        )


def _horizon(cursor: Cursor) -> datetime:
    """Return from when on what people wrote may be new."""
    return cursor.since - OVERLAP - SKEW


def _key(item: Mapping[str, Json]) -> str:
    """Return the key of an issue as the index shows it."""
    found = answers.facts(item)
    return f"{found.id}@{found.updated}"
