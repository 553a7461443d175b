"""What did the team decide about a case?  Where it stands, who has it, and whom it is answered to.

Each decision is one commit with its entry in the journal, and none when it is no news, so that a
command that is done again after a crash leaves one trace.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, delete, func, select, update
from sqlalchemy.sql.dml import Update

from secbridge.model.case import Case, CaseStatus, IssueRef, Route
from secbridge.rules.structure import folded
from secbridge.store import cases as known_cases
from secbridge.store import journal, queue
from secbridge.store.database import Transaction
from secbridge.store.deliveries import wake
from secbridge.store.room import StoreRoom
from secbridge.store.schema import cases, key_bindings, key_changes

_WITH_ISSUE = (
    select(cases.c.id)
    .where(
        cases.c.issue_id == bindparam("issue"),
        func.coalesce(cases.c.issue_tracker, cases.c.tracker) == bindparam("on_tracker"),
        func.coalesce(cases.c.issue_project, cases.c.project) == bindparam("in_project"),
    )
    .order_by(cases.c.opened_at, cases.c.id)
    .limit(1)
)
_UNBIND = delete(key_bindings).where(
    key_bindings.c.case_id == bindparam("of_case"), key_bindings.c.address != bindparam("keep")
)
_WITHDRAW = delete(key_changes).where(
    key_changes.c.case_id == bindparam("of_case"),
    key_changes.c.address != bindparam("keep"),
    key_changes.c.accepted_at.is_(None),
)


class DecisionsRoom(StoreRoom):
    """What the port ``Cases`` says of the team's decisions.  IllegalMove where there is no case."""

    async def set_status(self, case_id: str, status: CaseStatus, *, by: str) -> bool:
        """Record where a case stands; return whether that is news."""
        change = _change(case_id, cases.c.status != status.value).values(status=status.value)
        facts: journal.Facts = {"status": status.value, "by": by}
        return await self._decide(case_id, change, "case.status", facts)

    async def take_case(self, case_id: str, handler: str, *, by: str) -> bool:
        """Record who handles a case; return whether that is news."""
        change = _change(case_id, cases.c.handler != handler).values(handler=handler)
        facts: journal.Facts = {"handler": handler, "by": by}
        return await self._decide(case_id, change, "case.taken", facts)

    async def record_contact(self, case_id: str, *, by: str, at: datetime) -> bool:
        """Record that a person answered the reporter; the first one counts.  Return if it is it."""
        change = _change(case_id, cases.c.contacted_at.is_(None))
        change = change.values(contacted_at=at, contacted_by=by)
        return await self._decide(case_id, change, "case.contacted", {"by": by})

    async def _decide(self, case_id: str, change: Update, event: str, facts: journal.Facts) -> bool:
        now = self._clock.now()

        def decide(transaction: Transaction) -> bool:
            known_cases.required(transaction.connection, case_id)
            news = bool(transaction.connection.execute(change).rowcount)
            if news:
                journal.append(transaction, now, case_id, event, facts)
            return news

        return await self._db.write(decide)

    async def hold_mail(self, case_id: str, *, hold: bool, by: str) -> int:
        """Keep all mail of a case here, or let it go; return how many mails wait, or waited.

        A mail that is on its way to the relay when the hold begins may leave; if it does not, it
        waits like all others.  A mail and the alias's copy of it are one.
        """
        now = self._clock.now()
        change = _change(case_id, cases.c.on_hold != hold).values(on_hold=hold)

        def decide(transaction: Transaction) -> int:
            known_cases.required(transaction.connection, case_id)
            news = bool(transaction.connection.execute(change).rowcount)
            if hold:
                count = queue.hold(transaction, case_id)
            else:
                count = queue.let_go(transaction, case_id, now)
            if news:
                facts: journal.Facts = {"by": by, "mails": count}
                event = "case.mail-held" if hold else "case.mail-let-go"
                journal.append(transaction, now, case_id, event, facts)
            return count

        counted = await self._db.write(decide)
        if not hold:
            self._outgoing_bell.set()
        return counted

    async def attach_reporter(self, case_id: str, address: str, *, by: str) -> bool:
        """Set or change to whom a case's mail goes; return whether that is news.

        What names another address goes with it: the binding of a key, and keys that wait for the
        team's word.  Held answers of the case are due, since they may have waited for this.
        """
        now = self._clock.now()
        local, at, domain = address.rpartition("@")
        reporter = f"{local}{at}{domain.lower()}"
        differs = cases.c.reporter.is_distinct_from(reporter)
        change = _change(case_id, differs).values(reporter=reporter)

        def decide(transaction: Transaction) -> bool:
            known_cases.required(transaction.connection, case_id)
            if not transaction.connection.execute(change).rowcount:
                return False
            others = {"of_case": case_id, "keep": folded(reporter)}
            unbound = transaction.connection.execute(_UNBIND, others).rowcount
            transaction.connection.execute(_WITHDRAW, others)
            facts: journal.Facts = {"by": by, "keys-unbound": unbound}
            journal.append(transaction, now, case_id, "case.reporter-attached", facts)
            wake(transaction, now, case_id=case_id)
            return True

        attached = await self._db.write(decide)
        self._delivery_bell.set()
        return attached

    async def adopt_case(self, route: Route, issue: IssueRef, *, by: str) -> Case:
        """Return the case of an issue that was born in the tracker, opening it once.

        A case that has this issue already is that case, whoever opened it.
        """
        now = self._clock.now()

        def adopt(transaction: Transaction) -> Case:
            connection = transaction.connection
            place = {"on_tracker": issue.tracker, "in_project": issue.project, "issue": issue.id}
            case_id = connection.execute(_WITH_ISSUE, place).scalar_one_or_none()
            if case_id is None:
                case_id = _adopted(transaction, route, issue, by, now)
            return known_cases.required(connection, case_id)

        return await self._db.write(adopt)


def _adopted(
    transaction: Transaction, route: Route, issue: IssueRef, by: str, now: datetime
) -> str:
    case_id = known_cases.add(transaction, route, now)
    where_it_is = update(cases).where(cases.c.id == case_id)
    transaction.connection.execute(
        where_it_is.values(
            issue_id=issue.id,
            issue_number=issue.number,
            issue_url=issue.url,
            issue_tracker=issue.tracker,
            issue_project=issue.project,
        )
    )
    facts: journal.Facts = {
        "tracker": issue.tracker,
        "project": issue.project,
        "issue": issue.number,
        "by": by,
    }
    journal.append(transaction, now, case_id, "case.adopted", facts)
    return case_id


def _change(case_id: str, differs: ColumnElement[bool]) -> Update:
    return update(cases).where(cases.c.id == case_id, differs)
