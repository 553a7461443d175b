"""Where is the issue of each case, does it keep its secret, and may anything be filed there?

An issue may be elsewhere than the route of its case leads: in the embedded tracker while the
team's own cannot keep a secret, or where somebody moved it.  What looks at issues and what takes
them home records here what it saw and what it is about to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.errors import IllegalMove
from secbridge.model.case import Case, IssueRef, Route
from secbridge.model.delivery import Delivery
from secbridge.model.issue import IssueState, Standing
from secbridge.ports import Leaving, ProjectCheck, Watched
from secbridge.store import cases as known_cases
from secbridge.store import journal, moves
from secbridge.store.database import Transaction
from secbridge.store.room import StoreRoom
from secbridge.store.schema import cases, deliveries, issue_moves, issue_watch, project_checks

_TO_LOOK_AT = (
    select(cases.c.id, issue_watch.c.standing)
    .outerjoin(issue_watch, issue_watch.c.case_id == cases.c.id)
    .where(cases.c.issue_id.is_not(None))
    .order_by(
        func.coalesce(issue_watch.c.open, True).desc(),
        func.coalesce(issue_watch.c.looked_at, 0),
        cases.c.id,
    )
    .limit(bindparam("most"))
)
_SEEN = select(issue_watch.c.standing).where(issue_watch.c.case_id == bindparam("wanted"))
_WATCH = insert(issue_watch)
_LOOK = _WATCH.on_conflict_do_update(
    index_elements=["case_id"],
    set_={name: _WATCH.excluded[name] for name in ("looked_at", "standing", "open")},
)
_PASS_OVER = _WATCH.on_conflict_do_update(
    index_elements=["case_id"], set_={"looked_at": _WATCH.excluded.looked_at}
)
_others = cases.alias("others")
_IS_AT = func.coalesce(cases.c.issue_tracker, cases.c.tracker)
_AWAY = (
    select(cases.c.id, issue_moves.c.begun_at, issue_moves.c.left_number)
    .outerjoin(issue_moves, issue_moves.c.case_id == cases.c.id)
    .where(
        cases.c.issue_id.is_not(None),
        ((bindparam("at") == _IS_AT) & (cases.c.tracker != bindparam("at")))
        | issue_moves.c.left_number.is_not(None),
    )
    .order_by(cases.c.id)
)
_SET_ISSUE = (
    update(cases)
    .where(cases.c.id == bindparam("wanted"))
    .values(
        issue_id=bindparam("new_id"),
        issue_number=bindparam("new_number"),
        issue_url=bindparam("new_url"),
        issue_tracker=bindparam("new_tracker"),
        issue_project=bindparam("new_project"),
    )
)
_TAKEN = (
    select(_others.c.id)
    .where(
        _others.c.mail_id == cases.c.mail_id,
        _others.c.id != cases.c.id,
        _others.c.tracker == bindparam("new_tracker"),
        _others.c.project == bindparam("new_project"),
    )
    .exists()
)
_REROUTE = (
    update(cases)
    .where(cases.c.id == bindparam("wanted"), cases.c.issue_id.is_(None), ~_TAKEN)
    .values(
        tracker=bindparam("new_tracker"),
        project=bindparam("new_project"),
        route=bindparam("new_route"),
    )
)
_OF_CASE = moves.SELECT.where(deliveries.c.case_id == bindparam("wanted")).order_by(
    case((deliveries.c.mail_id == bindparam("first"), 0), else_=1), deliveries.c.id
)
_CHECKED = insert(project_checks)
_CHECK = _CHECKED.on_conflict_do_update(
    index_elements=["tracker", "project"],
    set_={
        "checked_at": _CHECKED.excluded.checked_at,
        "refused_since": case(
            (_CHECKED.excluded.refused_since.is_(None), None),
            else_=func.coalesce(project_checks.c.refused_since, _CHECKED.excluded.refused_since),
        ),
    },
)
_CHECKS = select(project_checks).order_by(project_checks.c.tracker, project_checks.c.project)


class PlacesRoom(StoreRoom):
    """The port ``Places``."""

    async def reroute(self, case_id: str, route: Route) -> bool:
        """Give a case without an issue another route, unless a case of its mail has that place."""
        now = self._clock.now()
        row = {
            "wanted": case_id,
            "new_tracker": route.tracker,
            "new_project": route.project,
            "new_route": moves.route_text(route),
        }

        def reroute(transaction: Transaction) -> bool:
            known = known_cases.find(transaction.connection, case_id)
            if known is not None and known.issue is None and known.route == route:
                return True  # done before: a delivery that is tried again asks again
            if not transaction.connection.execute(_REROUTE, row).rowcount:
                return False
            facts: journal.Facts = {"tracker": route.tracker, "project": route.project}
            journal.append(transaction, now, case_id, "case.rerouted", facts)
            return True

        return await self._db.write(reroute)

    # ── Whether they keep their secret ────────────────────────────────────────────────────────────

    async def issues_to_look_at(self, *, limit: int) -> Sequence[Watched]:
        """Return cases with an issue, open ones first, of these the longest not looked at first."""

        def read(connection: Connection) -> Sequence[Watched]:
            rows = connection.execute(_TO_LOOK_AT, {"most": limit}).all()
            return [Watched(_case(connection, row.id), _standing(row.standing)) for row in rows]

        return await self._db.read(read)

    async def looked(self, case_id: str, standing: Standing, *, state: IssueState | None) -> bool:
        """Record what a look saw, and where the issue is by now; return whether it is news."""
        now = self._clock.now()

        def look(transaction: Transaction) -> bool:
            connection = transaction.connection
            known = _case(connection, case_id)
            if state is not None and known.issue and state.ref.tracker != known.issue.tracker:
                return False  # the case was taken home while we looked at the issue that it left
            before = _standing(connection.execute(_SEEN, {"wanted": case_id}).scalar_one_or_none())
            row = {
                "case_id": case_id,
                "looked_at": now,
                "standing": standing.value,
                "open": state is None or state.open,
            }
            connection.execute(_LOOK, row)
            if state is not None and state.ref != known.issue:
                _set_issue(transaction, case_id, state.ref, now)
            news = standing is not (before or Standing.KEPT)
            if news:
                journal.append(transaction, now, case_id, f"case.issue-{standing.value}", {})
            return news

        return await self._db.write(look)

    async def passed_over(self, case_id: str) -> None:
        """Record that an issue could not be looked at, so that others come before it."""
        row = {
            "case_id": case_id,
            "looked_at": self._clock.now(),
            "standing": Standing.KEPT.value,  # as it was filed, where no look has seen it yet
            "open": True,
        }

        def pass_over(transaction: Transaction) -> None:
            transaction.connection.execute(_PASS_OVER, row)

        await self._db.write(pass_over)

    # ── Taking them home ──────────────────────────────────────────────────────────────────────────

    async def away_from_home(self, tracker: str) -> Sequence[Leaving]:
        """Return the cases whose issue is in ``tracker`` though their route leads elsewhere.

        Those that have just left it, and are not settled, are among them.
        """

        def read(connection: Connection) -> Sequence[Leaving]:
            rows = connection.execute(_AWAY, {"at": tracker}).all()
            return [
                Leaving(_case(connection, row.id), row.begun_at, row.left_number) for row in rows
            ]

        return await self._db.read(read)

    async def begin_move(self, case_id: str) -> None:
        """Record that the effects of a move are about to begin."""
        await self._keep_move(case_id, begun_at=self._clock.now())

    async def undo_begin(self, case_id: str, begun_at: datetime | None) -> None:
        """Put back when a move was begun: nothing happened whose outcome is not known."""
        await self._keep_move(case_id, begun_at=begun_at)

    async def move_issue(self, case_id: str, issue: IssueRef) -> None:
        """Record that the case's issue is another one now, and which one it has left."""
        now = self._clock.now()

        def move(transaction: Transaction) -> None:
            left = _case(transaction.connection, case_id).issue
            if left is None:
                raise IllegalMove("a case without an issue has none to leave")
            _set_issue(transaction, case_id, issue, now)
            _keep(transaction.connection, case_id, begun_at=now, left_number=left.number)

        await self._db.write(move)

    async def settle_move(self, case_id: str) -> None:
        """Record that nothing is left to do about the issue that a case has left."""
        await self._keep_move(case_id, begun_at=None, left_number=None)

    async def _keep_move(self, case_id: str, **columns: Any) -> None:
        await self._db.write(lambda t: _keep(t.connection, case_id, **columns))

    async def mails_of(self, case_id: str) -> Sequence[Delivery]:
        """Return the deliveries of a case, the one that opened it first."""
        first = select(cases.c.mail_id).where(cases.c.id == case_id)

        def read(connection: Connection) -> Sequence[Delivery]:
            wanted = {"wanted": case_id, "first": connection.execute(first).scalar_one_or_none()}
            return [
                moves.delivery_of(row._asdict()) for row in connection.execute(_OF_CASE, wanted)
            ]

        return await self._db.read(read)

    # ── Whether anything may be filed there ───────────────────────────────────────────────────────

    async def record_check(self, tracker: str, project: str, *, refused: bool) -> None:
        """Record how the check of a project ended; the first refusal of several is remembered."""
        now = self._clock.now()
        row = {
            "tracker": tracker,
            "project": project,
            "checked_at": now,
            "refused_since": now if refused else None,
        }

        def record(transaction: Transaction) -> None:
            transaction.connection.execute(_CHECK, row)

        await self._db.write(record)

    async def project_checks(self) -> Sequence[ProjectCheck]:
        """Return how the last check of each project ended."""

        def read(connection: Connection) -> Sequence[ProjectCheck]:
            return [ProjectCheck(**row._asdict()) for row in connection.execute(_CHECKS)]

        return await self._db.read(read)


def _case(connection: Connection, case_id: str) -> Case:
    found = known_cases.find(connection, case_id)
    if found is None:
        raise IllegalMove("there is no such case")
    return found


def _standing(value: str | None) -> Standing | None:
    return None if value is None else Standing(value)


def _set_issue(transaction: Transaction, case_id: str, issue: IssueRef, now: datetime) -> None:
    row = {
        "wanted": case_id,
        "new_id": issue.id,
        "new_number": issue.number,
        "new_url": issue.url,
        "new_tracker": issue.tracker,
        "new_project": issue.project,
    }
    transaction.connection.execute(_SET_ISSUE, row)
    facts: journal.Facts = {
        "tracker": issue.tracker,
        "project": issue.project,
        "issue": issue.number,
    }
    journal.append(transaction, now, case_id, "case.issue-moved", facts)


def _keep(connection: Connection, case_id: str, **columns: Any) -> None:
    """Write some columns of a case's move, making its row when there is none."""
    statement = insert(issue_moves).values(case_id=case_id, **columns)
    connection.execute(statement.on_conflict_do_update(index_elements=["case_id"], set_=columns))
