"""Which report is a case, who wrote it, and what was it answered?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.errors import IllegalMove
from secbridge.model.case import Case, CaseStatus, IssueRef, Route
from secbridge.model.delivery import Delivery, Incoming, Move, OutgoingState, State
from secbridge.store import ids, incoming, journal, moves
from secbridge.store.database import Transaction
from secbridge.store.keys import BOUND, binding_of
from secbridge.store.moves import route_of, route_text
from secbridge.store.prepared import Prepared, driver_of
from secbridge.store.room import StoreRoom
from secbridge.store.schema import case_years, cases, deliveries, key_bindings, outgoing

SELECT = select(*cases.c, *BOUND).outerjoin(key_bindings, key_bindings.c.case_id == cases.c.id)
"""Rows from which ``case_by`` makes a Case."""

_GET = Prepared(SELECT.where(cases.c.id == bindparam("wanted")))
_OF_ROUTE = Prepared(
    SELECT.where(
        cases.c.mail_id == bindparam("mail"),
        cases.c.tracker == bindparam("on_tracker"),
        cases.c.project == bindparam("in_project"),
    )
)
_LONGEST_LANGUAGE = 35
"""Characters of a language tag (RFC 5646 section 4.4.1) that are kept."""

OF_ALIAS = (cases.c.alias == bindparam("for_alias")) | (
    select(deliveries.c.id)
    .where(deliveries.c.case_id == cases.c.id, deliveries.c.alias == bindparam("for_alias"))
    .exists()
)
"""What holds for the cases in which an alias has a part; asked with ``for_alias``."""
_BY_TOKEN = Prepared(SELECT.where(cases.c.token == bindparam("wanted"), OF_ALIAS))
_LINKED = Prepared(
    select(cases.c.id)
    .where(cases.c.mail_id == bindparam("mail"), cases.c.id != bindparam("itself"))
    .order_by(cases.c.opened_at, cases.c.id)
)
_MAIL_OF = Prepared(
    select(deliveries.c.mail_id, deliveries.c.received_at).where(
        deliveries.c.id == bindparam("wanted")
    )
)
_INSERT = Prepared(
    insert(cases),
    "id",
    "mail_id",
    "token",
    "marker",
    "alias",
    "tracker",
    "project",
    "route",
    "reporter",
    "must_encrypt",
    "opened_at",
    "language",
    "status",
    "on_hold",
    "handler",
    "contacted_by",
)
_NEXT_NUMBER = Prepared(
    insert(case_years)
    .on_conflict_do_update(index_elements=["year"], set_={"last": case_years.c.last + 1})
    .returning(case_years.c.last),
    "year",
    "last",
)
_JOIN = Prepared(
    update(deliveries)
    .where(deliveries.c.id == bindparam("wanted"))
    .values(case_id=bindparam("new_case"))
)
_ATTEMPTED = Prepared(
    select(func.max(deliveries.c.attempted_at)).where(
        deliveries.c.mail_id == bindparam("mail"),
        deliveries.c.case_id == bindparam("in_case"),
        deliveries.c.id != bindparam("itself"),
    )
)
_AT_AN_ANSWER = tuple(
    (deliveries.c.state == state.value)
    | ((deliveries.c.state == State.DEFERRED.value) & (deliveries.c.resume == state.value))
    for state in (State.FILED, State.COMMENTED)
)
_TELLING = Prepared(
    select(func.max(deliveries.c.attempted_at)).where(
        deliveries.c.case_id == bindparam("of_case"), _AT_AN_ANSWER[0] | _AT_AN_ANSWER[1]
    )
)
_ENCRYPT = (
    update(cases)
    .where(cases.c.id == bindparam("wanted"), cases.c.must_encrypt.is_(False))
    .values(must_encrypt=True)
)
_STEPS = Prepared(
    select(outgoing.c.step)
    .join(deliveries, deliveries.c.id == outgoing.c.delivery_id)
    .join(cases, cases.c.id == outgoing.c.case_id)
    .where(
        deliveries.c.case_id == bindparam("of_case"),
        outgoing.c.case_id == bindparam("of_case"),
        outgoing.c.recipient != cases.c.alias,  # its copy tells nothing of the reporter's mail
        outgoing.c.state != OutgoingState.OUTDATED.value,
    )
    .distinct()
)
_OUTDATED = Prepared(
    select(outgoing.c.step)
    .where(
        outgoing.c.case_id == bindparam("of_case"),
        outgoing.c.state == OutgoingState.OUTDATED.value,
    )
    .distinct()
)
_HELD = Prepared(
    select(deliveries.c.id)
    .where(
        deliveries.c.case_id == bindparam("of_case"),
        deliveries.c.state == State.HELD.value,
        deliveries.c.id != bindparam("besides"),
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class _Opening:
    """A case about to be opened, or found."""

    delivery_id: str
    route: Route
    reporter: str | None
    must_encrypt: bool
    language: str
    incoming: Incoming | None
    now: datetime

    def after(
        self, transaction: Transaction, made: Sequence[Move]
    ) -> tuple[tuple[Delivery, bool], Case]:
        """Apply moves to the delivery, then open its case, or find it."""
        recorded = moves.record_and_tell(transaction, self.delivery_id, tuple(made), self.now)
        return recorded, self._case(transaction)

    def _case(self, transaction: Transaction) -> Case:
        """Return the case of the delivery's mail on this route."""
        driver = transaction.driver
        mail = _MAIL_OF.one(driver, {"wanted": self.delivery_id})
        if mail is None:
            raise IllegalMove("there is no such delivery")
        mail_id = mail.mail_id
        case_id = self._found(transaction, mail_id) or self._opened(transaction, mail_id)
        incoming.keep(transaction, case_id, self.incoming, mail.received_at)
        _JOIN.run(driver, {"wanted": self.delivery_id, "new_case": case_id})
        others = {"mail": mail_id, "in_case": case_id, "itself": self.delivery_id}
        attempted_at = _ATTEMPTED.scalar(driver, others)
        return replace(required(transaction.connection, case_id), attempted_at=attempted_at)

    def _found(self, transaction: Transaction, mail_id: int) -> str | None:
        wanted = {
            "mail": mail_id,
            "on_tracker": self.route.tracker,
            "in_project": self.route.project,
        }
        row = _OF_ROUTE.one(transaction.driver, wanted)
        if row is None:
            return None
        if self.must_encrypt:
            _require_encryption(transaction, row.id, self.now)
        case_id: str = row.id
        return case_id

    def _opened(self, transaction: Transaction, mail_id: int) -> str:
        given: dict[str, Any] = {
            "mail_id": mail_id,
            "reporter": self.reporter,
            "must_encrypt": self.must_encrypt,
            "language": self.language[:_LONGEST_LANGUAGE],
        }
        case_id = add(transaction, self.route, self.now, **given)
        facts: journal.Facts = {
            "delivery": self.delivery_id,
            "tracker": self.route.tracker,
            "project": self.route.project,
            "must-encrypt": int(self.must_encrypt),
        }
        journal.append(transaction, self.now, case_id, "case.opened", facts)
        return case_id


def add(
    transaction: Transaction,
    route: Route,
    now: datetime,
    *,
    mail_id: int | None = None,
    reporter: str | None = None,
    must_encrypt: bool = False,
    language: str = "",
) -> str:
    """Write a new case and return its id; its journal is the caller's."""
    number = _NEXT_NUMBER.scalar(transaction.driver, {"year": now.year, "last": 1})
    row = {
        "id": f"SB-{now.year}-{number:04d}",
        "mail_id": mail_id,
        "token": ids.new_token(),
        "marker": ids.new_marker(),
        "alias": route.alias,
        "tracker": route.tracker,
        "project": route.project,
        "route": route_text(route),
        "reporter": reporter,
        "must_encrypt": must_encrypt,
        "opened_at": now,
        "language": language,
        "status": CaseStatus.NEW.value,
        "on_hold": False,
        "handler": "",
        "contacted_by": "",
    }
    _INSERT.run(transaction.driver, row)
    return str(row["id"])


class CasesRoom(StoreRoom):
    """The port ``Cases``."""

    async def open_case(
        self,
        delivery_id: str,
        route: Route,
        *,
        reporter: str | None,
        must_encrypt: bool,
        language: str = "",
        incoming: Incoming | None = None,
        moves: Sequence[Move] = (),
    ) -> tuple[Delivery, Case]:
        """Apply moves, and return the delivery and the case of its mail on this route, opened once.

        A case that is there keeps its route, its reporter and its language; ``must_encrypt`` can
        only become True.  Raises IllegalMove when there is no such delivery.
        """
        now = self._clock.now()
        opening = _Opening(delivery_id, route, reporter, must_encrypt, language, incoming, now)
        recorded, case = await self._db.write(lambda t: opening.after(t, moves))
        delivery, is_free = recorded
        if is_free:
            self._delivery_bell.set()
        return delivery, case

    async def get_case(self, case_id: str) -> Case | None:
        """Return a case by its id, or None."""
        row = await self._db.ask_one(_GET, {"wanted": case_id})
        if row is None:
            return None
        return _case(row, await self._db.ask(_LINKED, {"mail": row.mail_id, "itself": row.id}))

    async def case_by_token(self, alias: str, token: str) -> Case | None:
        """Return the case whose address token this is, or None."""
        return await self._db.look(lambda c: case_by(c, _BY_TOKEN, for_alias=alias, wanted=token))

    async def require_encryption(self, case_id: str) -> None:
        """Set ``must_encrypt`` for good."""
        now = self._clock.now()
        await self._db.write(lambda t: _require_encryption(t, case_id, now))

    async def answers_of(self, case_id: str) -> frozenset[str]:
        """Return the steps for which the reporter was written to, whatever became of the mails.

        An outdated one is none: it never left, and another takes its place.
        """
        wanted = {"of_case": case_id}
        rows = await self._db.ask(_STEPS, wanted)
        return frozenset(row.step for row in rows)

    async def outdated_answers(self, case_id: str) -> frozenset[str]:
        """Return the steps of mails that our guard did not let out, since something had changed."""
        wanted = {"of_case": case_id}
        rows = await self._db.ask(_OUTDATED, wanted)
        return frozenset(row.step for row in rows)

    async def telling_since(self, case_id: str) -> datetime | None:
        """Return when a mail of the case last began to tell its issue of an answer, or None.

        Only attempts without an outcome count, whichever mail's they are.
        """
        wanted = {"of_case": case_id}
        row = await self._db.ask_one(_TELLING, wanted)
        found: datetime | None = None if row is None else row[0]
        return found

    async def is_answer_held(self, case_id: str, *, besides: str) -> bool:
        """Return whether another delivery of the case than ``besides`` holds its answer."""
        wanted = {"of_case": case_id, "besides": besides}
        return bool(await self._db.ask(_HELD, wanted))

    async def note(self, case_id: str, event: str, facts: dict[str, str | int]) -> None:
        """Append an entry to the journal of the case; a text among the facts becomes its length."""
        now = self._clock.now()
        await self._db.write(lambda t: journal.append(t, now, case_id, event, facts))


def _require_encryption(transaction: Transaction, case_id: str, now: datetime) -> None:
    if transaction.connection.execute(_ENCRYPT, {"wanted": case_id}).rowcount:
        journal.append(transaction, now, case_id, "case.must-encrypt", {})


def find(connection: Connection, case_id: str) -> Case | None:
    """Return a case by its id, or None; for other rooms of the store."""
    return case_by(connection, _GET, wanted=case_id)


def required(connection: Connection, case_id: str) -> Case:
    """Return a case by its id.  Raises IllegalMove when there is none."""
    case = find(connection, case_id)
    if case is None:
        raise IllegalMove("there is no such case")
    return case


def case_by(connection: Connection, statement: Any, **wanted: Any) -> Case | None:
    """Return the case that a statement over ``SELECT`` finds, or None."""
    if isinstance(statement, Prepared):
        row = statement.one(driver_of(connection), wanted)
    else:
        row = connection.execute(statement, wanted).one_or_none()
    if row is None:
        return None
    wanted = {"mail": row.mail_id, "itself": row.id}
    return _case(row, _LINKED.all(driver_of(connection), wanted))


def _case(row: Any, others: Sequence[Any]) -> Case:
    route = route_of(row.route)
    return Case(
        id=row.id,
        token=row.token,
        marker=row.marker,
        route=route,
        reporter=row.reporter,
        must_encrypt=row.must_encrypt,
        opened_at=row.opened_at,
        issue=_issue(row, route),
        key=None if row.fingerprint is None else binding_of(row),
        linked=tuple(other.id for other in others),
        language=row.language,
        status=CaseStatus(row.status),
        on_hold=row.on_hold,
        handler=row.handler,
        contacted_at=row.contacted_at,
        contacted_by=row.contacted_by,
        adopted=row.mail_id is None,
    )


def _issue(row: Any, route: Route) -> IssueRef | None:
    if row.issue_id is None:
        return None
    return IssueRef(
        row.issue_tracker or route.tracker,
        row.issue_project or route.project,
        row.issue_id,
        row.issue_number,
        row.issue_url,
    )
