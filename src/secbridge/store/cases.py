"""Which report does a mail belong to, who wrote it, and with which key do we answer?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.errors import IllegalMove
from secbridge.model.case import Case, IssueRef, KeyBinding, Route
from secbridge.model.message import CertificateSource
from secbridge.ports import OwnMail
from secbridge.store import ids, journal
from secbridge.store.database import Transaction
from secbridge.store.moves import route_of, route_text
from secbridge.store.prepared import Prepared, driver_of
from secbridge.store.room import StoreRoom
from secbridge.store.schema import case_years, cases, deliveries, key_bindings, outgoing

_MOST_IDS = 1000
"""Message-IDs looked up for one mail; a References field beyond this is no thread of ours."""

_BOUND = (key_bindings.c.address, key_bindings.c.fingerprint, key_bindings.c.source)
_SELECT = select(*cases.c, *_BOUND, key_bindings.c.bound_at).outerjoin(
    key_bindings, key_bindings.c.case_id == cases.c.id
)
_GET = Prepared(_SELECT.where(cases.c.id == bindparam("wanted")))
_OF_ROUTE = Prepared(
    _SELECT.where(
        cases.c.mail_id == bindparam("mail"),
        cases.c.tracker == bindparam("on_tracker"),
        cases.c.project == bindparam("in_project"),
    )
)
_OF_ALIAS = (cases.c.alias == bindparam("for_alias")) | (
    select(deliveries.c.id)
    .where(deliveries.c.case_id == cases.c.id, deliveries.c.alias == bindparam("for_alias"))
    .exists()
)
_BY_TOKEN = Prepared(_SELECT.where(cases.c.token == bindparam("wanted"), _OF_ALIAS))
_BY_MESSAGE_IDS = (
    _SELECT.join(outgoing, outgoing.c.case_id == cases.c.id)
    .where(outgoing.c.message_id.in_(bindparam("wanted", expanding=True)), _OF_ALIAS)
    .order_by(outgoing.c.id.desc())
    .limit(1)
)
_LINKED = Prepared(
    select(cases.c.id)
    .where(cases.c.mail_id == bindparam("mail"), cases.c.id != bindparam("itself"))
    .order_by(cases.c.opened_at, cases.c.id)
)
_MAIL_OF = Prepared(select(deliveries.c.mail_id).where(deliveries.c.id == bindparam("wanted")))
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
_ENCRYPT = (
    update(cases)
    .where(cases.c.id == bindparam("wanted"), cases.c.must_encrypt.is_(False))
    .values(must_encrypt=True)
)
_BIND = insert(key_bindings).on_conflict_do_nothing(index_elements=["case_id"])
_KEY_FOR = Prepared(
    select(*_BOUND, key_bindings.c.bound_at)
    .where(
        key_bindings.c.alias == bindparam("for_alias"),
        key_bindings.c.address == bindparam("wanted"),
    )
    .order_by(key_bindings.c.id.desc())
    .limit(1)
)
_OWN = Prepared(
    select(outgoing.c.case_id, outgoing.c.step, outgoing.c.body_hash)
    .where(outgoing.c.message_id.in_((bindparam("bare"), bindparam("bracketed"))))
    .order_by(outgoing.c.id)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class _Opening:
    """A case about to be opened, or found."""

    delivery_id: str
    route: Route
    reporter: str | None
    must_encrypt: bool
    now: datetime

    def __call__(self, transaction: Transaction) -> Case:
        """Return the case of the delivery's mail on this route."""
        driver = transaction.driver
        mail_id = _MAIL_OF.scalar(driver, {"wanted": self.delivery_id})
        if mail_id is None:
            raise IllegalMove("there is no such delivery")
        case_id = self._found(transaction, mail_id) or self._opened(transaction, mail_id)
        _JOIN.run(driver, {"wanted": self.delivery_id, "new_case": case_id})
        others = {"mail": mail_id, "in_case": case_id, "itself": self.delivery_id}
        attempted_at = _ATTEMPTED.scalar(driver, others)
        return replace(_required(transaction.connection, case_id), attempted_at=attempted_at)

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
        year = self.now.year
        first = {"year": year, "last": 1}
        number = _NEXT_NUMBER.scalar(transaction.driver, first)
        case_id = f"SB-{year}-{number:04d}"
        _INSERT.run(transaction.driver, self._row(case_id, mail_id))
        facts: journal.Facts = {
            "delivery": self.delivery_id,
            "tracker": self.route.tracker,
            "project": self.route.project,
            "must-encrypt": int(self.must_encrypt),
        }
        journal.append(transaction, self.now, case_id, "case.opened", facts)
        return case_id

    def _row(self, case_id: str, mail_id: int) -> dict[str, Any]:
        return {
            "id": case_id,
            "mail_id": mail_id,
            "token": ids.new_token(),
            "marker": ids.new_marker(),
            "alias": self.route.alias,
            "tracker": self.route.tracker,
            "project": self.route.project,
            "route": route_text(self.route),
            "reporter": self.reporter,
            "must_encrypt": self.must_encrypt,
            "opened_at": self.now,
        }


class CasesRoom(StoreRoom):
    """The port ``Cases``."""

    async def open_case(
        self, delivery_id: str, route: Route, *, reporter: str | None, must_encrypt: bool
    ) -> Case:
        """Return the case of this mail on this route, opening it once.

        A case that is there keeps its route and its reporter; ``must_encrypt`` can only become
        True.  Raises IllegalMove when there is no such delivery.
        """
        now = self._clock.now()
        return await self._db.write(_Opening(delivery_id, route, reporter, must_encrypt, now))

    async def get_case(self, case_id: str) -> Case | None:
        """Return a case by its id, or None."""
        return await self._db.look(lambda c: _case(c, _GET, wanted=case_id))

    async def case_by_token(self, alias: str, token: str) -> Case | None:
        """Return the case whose address token this is, or None."""
        return await self._db.look(lambda c: _case(c, _BY_TOKEN, for_alias=alias, wanted=token))

    async def case_by_message_ids(self, alias: str, message_ids: Sequence[str]) -> Case | None:
        """Return the case for which we issued one of these Message-IDs, or None.

        With and without angle brackets they are the same; of several the newest of ours counts.
        """
        wanted = _with_and_without_brackets(message_ids)
        return await self._db.read(
            lambda c: _case(c, _BY_MESSAGE_IDS, for_alias=alias, wanted=wanted)
        )

    async def own_mail(self, message_id: str) -> OwnMail | None:
        """Return what we sent under this Message-ID, or None."""
        bare = message_id.strip().strip("<>")
        wanted = {"bare": bare, "bracketed": f"<{bare}>"}
        row = await self._db.look(lambda c: _OWN.one(driver_of(c), wanted))
        return None if row is None else OwnMail(row.case_id, row.step, row.body_hash)

    async def require_encryption(self, case_id: str) -> None:
        """Set ``must_encrypt`` for good."""
        now = self._clock.now()
        await self._db.write(lambda t: _require_encryption(t, case_id, now))

    async def bind_key(self, case_id: str, binding: KeyBinding) -> None:
        """Bind a certificate to the case and its reporter, unless one is bound already."""
        now = self._clock.now()

        def bind(transaction: Transaction) -> None:
            case = _required(transaction.connection, case_id)
            if case.key is not None:
                return
            row = {
                "case_id": case_id,
                "alias": case.route.alias,
                "address": _address(binding.address),
                "fingerprint": binding.fingerprint,
                "source": binding.source.value,
                "bound_at": binding.bound_at,
            }
            transaction.connection.execute(_BIND, row)
            facts = {"fingerprint": binding.fingerprint, "source": binding.source.value}
            journal.append(transaction, now, case_id, "case.key-bound", facts)

        await self._db.write(bind)

    async def key_for(self, alias: str, address: str) -> KeyBinding | None:
        """Return the newest binding of this address under this alias, or None."""
        wanted = {"for_alias": alias, "wanted": _address(address)}
        row = await self._db.look(lambda c: _KEY_FOR.one(driver_of(c), wanted))
        return None if row is None else _binding(row)

    async def note(self, case_id: str, event: str, facts: dict[str, str | int]) -> None:
        """Append an entry to the journal of the case; a text among the facts becomes its length."""
        now = self._clock.now()
        await self._db.write(lambda t: journal.append(t, now, case_id, event, facts))


def _require_encryption(transaction: Transaction, case_id: str, now: datetime) -> None:
    if transaction.connection.execute(_ENCRYPT, {"wanted": case_id}).rowcount:
        journal.append(transaction, now, case_id, "case.must-encrypt", {})


def _required(connection: Connection, case_id: str) -> Case:
    case = _case(connection, _GET, wanted=case_id)
    if case is None:
        raise IllegalMove("there is no such case")
    return case


def _case(connection: Connection, statement: Any, **wanted: Any) -> Case | None:
    if isinstance(statement, Prepared):
        row = statement.one(driver_of(connection), wanted)
    else:
        row = connection.execute(statement, wanted).one_or_none()
    if row is None:
        return None
    others = _LINKED.all(driver_of(connection), {"mail": row.mail_id, "itself": row.id})
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
        key=None if row.fingerprint is None else _binding(row),
        linked=tuple(other.id for other in others),
    )


def _issue(row: Any, route: Route) -> IssueRef | None:
    if row.issue_id is None:
        return None
    return IssueRef(route.tracker, route.project, row.issue_id, row.issue_number, row.issue_url)


def _binding(row: Any) -> KeyBinding:
    return KeyBinding(row.address, row.fingerprint, CertificateSource(row.source), row.bound_at)


def _address(address: str) -> str:
    """Lower-case the domain alone: the local part is its owner's (RFC 5321 section 2.4)."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain.lower()}"


def _with_and_without_brackets(message_ids: Sequence[str]) -> list[str]:
    bare = {message_id.strip().strip("<>") for message_id in message_ids[-_MOST_IDS:]}
    return [form for name in bare if name for form in (name, f"<{name}>")]
