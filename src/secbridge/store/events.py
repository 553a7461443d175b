"""How far did we read what people do in each tracker, and which of their commands are done?

The text of a comment is never kept, only a digest that tells whether it was edited.  A cursor moves
on only when every command before it has an outcome, so after a crash the tracker tells the same
comments again; those that are done are known by their keys, and the one in the middle is done
again, which its effects allow.
"""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.ports import HeardBefore, HeardState
from secbridge.store import journal
from secbridge.store.database import Transaction
from secbridge.store.room import StoreRoom
from secbridge.store.schema import cases, issue_states, tracker_cursors, tracker_events

_WHERE_IT_IS = func.coalesce(cases.c.issue_project, cases.c.project)


class EventsRoom(StoreRoom):
    """The port ``Events``."""

    async def cursor(self, tracker: str, project: str) -> str | None:
        """Return how far a project was read, or None when it never was."""
        wanted = select(tracker_cursors.c.cursor).where(
            tracker_cursors.c.tracker == tracker, tracker_cursors.c.project == project
        )
        return await self._db.read(lambda c: c.execute(wanted).scalar_one_or_none())

    async def move_cursor(self, tracker: str, project: str, cursor: str) -> None:
        """Record that everything before ``cursor`` has an outcome."""
        row = {
            "tracker": tracker,
            "project": project,
            "cursor": cursor,
            "changed_at": self._clock.now(),
        }
        changed = {"cursor": cursor, "changed_at": row["changed_at"]}
        statement = (
            insert(tracker_cursors)
            .values(row)
            .on_conflict_do_update(index_elements=["tracker", "project"], set_=changed)
        )

        def move(transaction: Transaction) -> None:
            transaction.connection.execute(statement)

        await self._db.write(move)

    async def case_of_issue(self, tracker: str, project: str, issue_id: str) -> str | None:
        """Return the id of the case whose issue this is, or None.

        ``project`` is where the issue is by now, or through which it is heard of: where the case
        was routed to.
        """
        known = cases.c.issue_id == issue_id
        case_id = await self._case_at(tracker, project, known)
        return case_id or await self._case_at(tracker, project, known, cases.c.project)

    async def case_of_number(self, tracker: str, project: str, number: str) -> str | None:
        """Return the id of the case whose issue people call so, with or without ``#``, or None.

        ``#12``, ``12`` and ``PROJ-12`` as people type them, in letters of either case.
        """
        wanted = number.strip().removeprefix("#")
        if not wanted:
            return None
        called_so = func.lower(cases.c.issue_number) == func.lower(wanted)
        return await self._case_at(tracker, project, called_so)

    async def _case_at(
        self,
        tracker: str,
        project: str,
        wanted: ColumnElement[bool],
        place: ColumnElement[str] = _WHERE_IT_IS,
    ) -> str | None:
        """Return the oldest case with such an issue, looked for where issues are by now."""
        statement = (
            select(cases.c.id)
            .where(
                wanted,
                func.coalesce(cases.c.issue_tracker, cases.c.tracker) == tracker,
                place == project,
            )
            .order_by(cases.c.opened_at, cases.c.id)
            .limit(1)
        )
        return await self._db.read(lambda c: c.execute(statement).scalar_one_or_none())

    async def hear(
        self,
        tracker: str,
        project: str,
        key: str,
        *,
        case_id: str,
        command: str,
        digest: bytes = b"",
    ) -> HeardBefore:
        """Record that a command is about to be done; return what is known of it from before.

        The first digest stays, and one that differs from it tells that the text was edited.
        """
        now = self._clock.now()
        place = {"tracker": tracker, "project": project, "key": key}
        row = place | {
            "case_id": case_id,
            "command": command,
            "seen_at": now,
            "digest": digest or None,
        }
        new = insert(tracker_events).values(row).on_conflict_do_nothing()
        same = [tracker_events.c[name] == value for name, value in place.items()]
        known = select(
            tracker_events.c.attempted_at, tracker_events.c.done_at, tracker_events.c.digest
        ).where(*same)

        def heard(transaction: Transaction) -> HeardBefore:
            transaction.connection.execute(new)
            before = transaction.connection.execute(known).one()
            if before.done_at is None:
                attempt = update(tracker_events).where(*same).values(attempted_at=now)
                transaction.connection.execute(attempt)
            changed = bool(digest and before.digest) and digest != before.digest
            return HeardBefore(before.attempted_at, before.done_at is not None, changed)

        return await self._db.write(heard)

    async def is_begun(self, tracker: str, project: str, key: str) -> bool:
        """Return whether a command was begun whose outcome nobody recorded."""
        begun = select(tracker_events.c.key).where(
            tracker_events.c.tracker == tracker,
            tracker_events.c.project == project,
            tracker_events.c.key == key,
            tracker_events.c.done_at.is_(None),
        )
        return await self._db.read(lambda c: c.execute(begun).first() is not None)

    async def undo_hear(self, tracker: str, project: str, key: str, attempted_at: datetime) -> None:
        """Put back when a command was begun: the last try left nothing that is not known."""
        put_back = (
            update(tracker_events)
            .where(
                tracker_events.c.tracker == tracker,
                tracker_events.c.project == project,
                tracker_events.c.key == key,
                tracker_events.c.done_at.is_(None),
            )
            .values(attempted_at=attempted_at)
        )

        def undo(transaction: Transaction) -> None:
            transaction.connection.execute(put_back)

        await self._db.write(undo)

    async def heard_state(self, case_id: str) -> HeardState | None:
        """Return what an issue was like when we last heard of it, or None for the first time."""
        wanted = select(issue_states).where(issue_states.c.case_id == case_id)
        row = await self._db.read(lambda c: c.execute(wanted).one_or_none())
        if row is None:
            return None
        labels, assignees = json.loads(row.labels), json.loads(row.assignees)
        return HeardState(row.open, tuple(labels), tuple(assignees), row.turn)

    async def keep_state(self, case_id: str, state: HeardState) -> None:
        """Record what an issue is like, once all that follows from it is done."""
        changed = {
            "open": state.open,
            "labels": json.dumps(state.labels),
            "assignees": json.dumps(state.assignees),
            "turn": state.turn,
            "heard_at": self._clock.now(),
        }
        statement = (
            insert(issue_states)
            .values(case_id=case_id, **changed)
            .on_conflict_do_update(index_elements=["case_id"], set_=changed)
        )

        def keep(transaction: Transaction) -> None:
            transaction.connection.execute(statement)

        await self._db.write(keep)

    async def heard(
        self, tracker: str, project: str, key: str, *, case_id: str, by: str, outcome: str
    ) -> None:
        """Record a command's outcome, a code of ours, with its entry in the case's journal."""
        now = self._clock.now()
        done = (
            update(tracker_events)
            .where(
                tracker_events.c.tracker == tracker,
                tracker_events.c.project == project,
                tracker_events.c.key == key,
                tracker_events.c.done_at.is_(None),
            )
            .values(done_at=now, outcome=outcome)
            .returning(tracker_events.c.command)
        )

        def finish(transaction: Transaction) -> None:
            command = transaction.connection.execute(done).scalar_one_or_none()
            if command is not None:
                facts: journal.Facts = {"command": command, "by": by, "outcome": outcome}
                journal.append(transaction, now, case_id, "case.command", facts)

        await self._db.write(finish)
