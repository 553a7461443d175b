"""How far did we read what people do in each tracker, and which of their commands are done?

The text of a comment is never kept.  A cursor moves on only when every command before it has an
outcome, so after a crash the tracker tells the same comments again; those that are done are known
by their keys, and the one in the middle is done again, which its effects allow.
"""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.ports import HeardBefore
from secbridge.store import journal
from secbridge.store.database import Transaction
from secbridge.store.room import StoreRoom
from secbridge.store.schema import cases, tracker_cursors, tracker_events


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
        """Return the id of the case whose issue this is, or None."""
        where_it_is = (
            func.coalesce(cases.c.issue_tracker, cases.c.tracker) == tracker,
            func.coalesce(cases.c.issue_project, cases.c.project) == project,
        )
        wanted = select(cases.c.id).where(cases.c.issue_id == issue_id, *where_it_is)
        return await self._db.read(lambda c: c.execute(wanted.limit(1)).scalar_one_or_none())

    async def hear(
        self, tracker: str, project: str, key: str, *, case_id: str, command: str
    ) -> HeardBefore:
        """Record that a command is about to be done; return what is known of it from before."""
        now = self._clock.now()
        place = {"tracker": tracker, "project": project, "key": key}
        row = place | {"case_id": case_id, "command": command, "seen_at": now}
        new = insert(tracker_events).values(row).on_conflict_do_nothing()
        same = [tracker_events.c[name] == value for name, value in place.items()]
        known = select(tracker_events.c.attempted_at, tracker_events.c.done_at).where(*same)

        def heard(transaction: Transaction) -> HeardBefore:
            transaction.connection.execute(new)
            before = transaction.connection.execute(known).one()
            if before.done_at is None:
                attempt = update(tracker_events).where(*same).values(attempted_at=now)
                transaction.connection.execute(attempt)
            return HeardBefore(before.attempted_at, done=before.done_at is not None)

        return await self._db.write(heard)

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
