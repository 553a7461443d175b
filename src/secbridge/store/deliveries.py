"""Which accepted mail has something to do now, and where does each one stand?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, case, exists, func, select, update

from secbridge.errors import Refusal
from secbridge.model.delivery import Delivery, Move, State
from secbridge.store import journal, moves, queue
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared, driver_of
from secbridge.store.room import StoreRoom
from secbridge.store.schema import cases, deliveries, mails
from secbridge.store.spool import raw

_DUE_NOW = deliveries.c.due_at <= bindparam("now")
_ANY_DUE = Prepared(select(deliveries.c.id).where(_DUE_NOW).limit(1))
_DUE = Prepared(
    moves.SELECT.where(_DUE_NOW)
    .order_by(deliveries.c.due_at, deliveries.c.id)
    .limit(bindparam("most"))
)
_NEXT = select(func.min(deliveries.c.due_at)).where(deliveries.c.due_at.is_not(None))
_GET = moves.SELECT.where(deliveries.c.id == bindparam("wanted"))
_NEWEST = moves.SELECT.order_by(deliveries.c.id.desc()).limit(bindparam("most"))
_NEWEST_IN = _NEWEST.where(deliveries.c.state == bindparam("state"))
_COUNTS = select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
_RELEASE = (
    update(deliveries)
    .where(deliveries.c.owner == bindparam("mine"))
    .values(
        owner=None,
        due_at=bindparam("now"),
        attempts=case(
            (deliveries.c.begun, deliveries.c.attempts),
            (deliveries.c.attempts > 0, deliveries.c.attempts - 1),
            else_=0,
        ),
    )
)
_FREE = (
    update(deliveries)
    .where(deliveries.c.owner == bindparam("mine"))
    .values(owner=None, due_at=bindparam("now"))
)
_OF_ADDRESS = exists().where(
    cases.c.id == deliveries.c.case_id,
    func.lower(cases.c.reporter) == func.lower(bindparam("of_address")),
    (cases.c.alias == bindparam("of_alias")) | bindparam("of_alias").is_(None),
)
_WAKE = Prepared(
    update(deliveries)
    .where(
        deliveries.c.state == State.HELD.value,
        (deliveries.c.case_id == bindparam("of_case")) | _OF_ADDRESS,
    )
    .values(wait_until=bindparam("new_wait"), due_at=bindparam("new_due"))
)
_MAIL_OF = Prepared(
    select(mails.c.id, mails.c.purged_at, mails.c.size)
    .join(deliveries, deliveries.c.mail_id == mails.c.id)
    .where(deliveries.c.id == bindparam("wanted"))
)
_NEEDED = exists().where(
    deliveries.c.mail_id == mails.c.id,
    (deliveries.c.state != State.DONE.value) | (deliveries.c.changed_at >= bindparam("before")),
)
_PURGEABLE = (
    select(mails.c.id)
    .where(mails.c.purged_at.is_(None), mails.c.received_at < bindparam("before"), ~_NEEDED)
    .limit(bindparam("most"))
)
_PURGED = update(mails).where(mails.c.id == bindparam("mail")).values(purged_at=bindparam("now"))
_SMALL = 1 << 16
"""Octets of a mail up to which reading it is as short as any look."""
_AT_ONCE = 100
"""Mails purged in one commit, so that no accept waits long behind it."""


class DeliveriesRoom(StoreRoom):
    """The port ``Deliveries``."""

    async def claim(self, now: datetime, *, limit: int, lease: timedelta) -> Sequence[Delivery]:
        """Lease up to ``limit`` deliveries that have something to do now, oldest first."""
        self._delivery_bell.clear()
        if not await self._db.ask(_ANY_DUE, {"now": now}):
            return ()
        owner = self._owner

        def lease_due(transaction: Transaction) -> list[Delivery]:
            wanted = {"now": now, "most": limit}
            rows = _DUE.all(transaction.driver, wanted)
            leased = [
                moves.Recording(transaction, row, now).lease(owner, now + lease) for row in rows
            ]
            return [delivery for delivery in leased if delivery is not None]

        claimed = await self._db.write(lease_due)
        return sorted(claimed, key=lambda delivery: delivery.id)

    async def release_leases(self) -> None:
        """Give up this process's leases, so that a restart need not wait for them."""
        if self._ownership is None:
            return
        owner, now = self._ownership.name, self._clock.now()

        def release(transaction: Transaction) -> None:
            transaction.connection.execute(_RELEASE, {"mine": owner, "now": now})
            queue.release(transaction, owner, now)

        await self._db.write(release)
        self._signal()

    async def get(self, delivery_id: str) -> Delivery | None:
        """Return one delivery, or None."""
        found = await self._deliveries(_GET, wanted=delivery_id)
        return found[0] if found else None

    async def find(self, *, state: State | None = None, limit: int = 1000) -> Sequence[Delivery]:
        """Return deliveries, newest first."""
        if state is None:
            return await self._deliveries(_NEWEST, most=limit)
        return await self._deliveries(_NEWEST_IN, most=limit, state=state.value)

    async def _deliveries(self, statement: Any, **wanted: Any) -> Sequence[Delivery]:
        return await self._db.read(
            lambda c: [moves.delivery_of(row) for row in c.execute(statement, wanted).mappings()]
        )

    async def content(self, delivery_id: str) -> bytes:
        """Return the raw mail as it was accepted.

        Raises Refusal when there is no such delivery or its bytes went after the retention time.
        """

        def query(connection: Connection, *, at_most: int | None = None) -> bytes | None:
            mail = _MAIL_OF.one(driver_of(connection), {"wanted": delivery_id})
            if mail is None:
                raise Refusal("no-such-delivery", "There is no delivery with this id.")
            if mail.purged_at is not None:
                raise Refusal("mail-purged", "The raw mail was deleted after its retention time.")
            return None if at_most and mail.size > at_most else raw.read(connection, mail.id)

        found = await self._db.look(partial(query, at_most=_SMALL))
        if found is None:
            found = await self._db.read(query)
        return found or b""

    async def record(self, delivery_id: str, *moves_made: Move) -> Delivery:
        """Apply moves by the table, with all that belongs to them, in one commit.

        Raises IllegalMove, also for a delivery that does not exist; then nothing changed.
        """
        now = self._clock.now()
        recorded = await self._db.write(
            lambda t: moves.record_and_tell(t, delivery_id, moves_made, now)
        )
        delivery, is_free = recorded
        if is_free:
            self._delivery_bell.set()
        if delivery.state in {State.ANSWERED, State.HELD}:
            self._outgoing_bell.set()
        return delivery

    async def wake_held(self, *, case_id: str | None = None, address: str | None = None) -> int:
        """Make held answers of a case, or to a reporter's address, due now; return how many."""
        now = self._clock.now()
        woken = await self._db.write(lambda t: wake(t, now, case_id=case_id, address=address))
        if woken:
            self._delivery_bell.set()
        return woken

    async def next_due(self) -> datetime | None:
        """Return when ``claim`` will next find something, which may be past, or None for never."""
        return await self._db.read(lambda c: c.execute(_NEXT).scalar())

    async def wait_for_work(self, timeout: float) -> bool:  # noqa: ASYNC109 - a sleep to be woken
        """Return True as soon as something changed since the last ``claim`` began, else False.

        One task at a time should wait: a wake-up that was returned is used up.
        """
        return await self._rung(self._delivery_bell, timeout)

    async def counts(self) -> Mapping[State, int]:
        """Return how many deliveries are in each state; every state is named, with 0 too."""
        counted = await self._db.read(lambda c: {row[0]: row[1] for row in c.execute(_COUNTS)})
        return {state: counted.get(state.value, 0) for state in State}

    async def purge(self, before: datetime) -> int:
        """Delete the raw bytes of mails all of whose deliveries were done before then.

        Those of our own that left, or never will, before then go as well: their hashes and
        Message-IDs still tell them when they come back.  The pages are overwritten, and what the
        -wal file still held of them goes at its next checkpoint.
        """
        purged = 0
        while number := await self._db.write(lambda t: _purge_some(t, before, self._clock.now())):
            purged += number
        while await self._db.write(lambda t: queue.forget_contents(t, before, most=_AT_ONCE)):
            pass
        return purged


def _purge_some(transaction: Transaction, before: datetime, now: datetime) -> int:
    connection = transaction.connection
    found = connection.execute(_PURGEABLE, {"before": before, "most": _AT_ONCE}).scalars().all()
    for mail_id in found:
        raw.delete(connection, mail_id)
        connection.execute(_PURGED, {"mail": mail_id, "now": now})
        journal.append(transaction, now, f"mail-{mail_id}", "mail.purged", {"mail": mail_id})
    return len(found)


def wake(
    transaction: Transaction,
    now: datetime,
    *,
    case_id: str | None = None,
    address: str | None = None,
    alias: str | None = None,
) -> int:
    """Make held answers due: those of a case, and those to an address (under one alias, if given).

    Return how many.
    """
    wanted = {"of_case": case_id, "of_address": address, "of_alias": alias}
    moved = {"new_wait": now, "new_due": now}
    return _WAKE.run(transaction.driver, {**wanted, **moved}).rowcount


def free_leases(transaction: Transaction, owner: str, now: datetime) -> None:
    """Give back what a dead process had leased; its attempts count."""
    transaction.connection.execute(_FREE, {"mine": owner, "now": now})
    queue.free(transaction, owner, now)
